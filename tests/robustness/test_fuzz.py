# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
"""Readers and losses against generated nonsense: an error of theirs that says what came, or a result that holds.

``FUZZ_EXAMPLES=20000 python -m pytest tests/robustness/test_fuzz.py`` tries so many other examples for each target.
"""

from __future__ import annotations

import json
import os

import nibabel
import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from monai.data import MetaTensor

from monai_bbox_mil.annotations import read_boxes, survey_boxes
from monai_bbox_mil.data import load_datalist
from monai_bbox_mil.losses import BoxSelfTrainingLoss, GeneralizedMILLoss
from monai_bbox_mil.transforms import LoadCheckedImage

EXAMPLES = int(os.environ.get("FUZZ_EXAMPLES", "25"))
fuzzed = settings(
    max_examples=EXAMPLES,
    derandomize="FUZZ_EXAMPLES" not in os.environ,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)

numbers = st.one_of(
    st.integers(-3, 12), st.floats(-3, 12), st.sampled_from([float("nan"), float("inf"), 1e300, 10**400])
)
KEYS = """box label box_mode space coordinate_system images annotations categories id file_name image_id bbox
category_id name width height iscrowd markups type center size orientation coordinateSystem coordinateUnits insideOut
controlPoints position description training validation test image mask patient"""
keys = st.sampled_from(KEYS.split())
words = st.one_of(
    st.sampled_from(["index", "world", "LPS", "xyzxyz", "ROI", "mm", "a.nii", "organ", "", "0"]), st.text(max_size=4)
)
values = st.recursive(
    st.one_of(st.none(), st.booleans(), numbers, words),
    lambda inner: st.one_of(st.lists(inner, max_size=6), st.dictionaries(keys, inner, max_size=5)),
    max_leaves=25,
)
rows = st.lists(st.lists(numbers, min_size=3, max_size=7), max_size=3)
documents = st.one_of(
    values,
    st.fixed_dictionaries(
        {"box": st.one_of(rows, values)}, optional={"label": values, "box_mode": words, "space": words}
    ),
    st.fixed_dictionaries({"markups": st.lists(st.dictionaries(keys, values, max_size=6), max_size=2)}),
    st.fixed_dictionaries(
        {
            "images": st.lists(st.fixed_dictionaries({"id": values, "file_name": words}), max_size=2),
            "annotations": st.lists(st.fixed_dictionaries({"image_id": values, "bbox": values, "category_id": values})),
        },
        optional={"categories": values},
    ),
)
IMAGES = [
    MetaTensor(torch.zeros(1, *shape), meta={"filename_or_obj": "/data/a.nii"})
    for shape in ((8, 9), (8, 9, 1), (8, 9, 5))
]
images = st.sampled_from(IMAGES)
classes = st.sampled_from([None, ("organ",), ("organ", "0"), (1,)])


def check_boxes_hold(source, image, names, **options):
    """Either reader refuses by one of the documented errors, or gives finite boxes that lie in the image."""
    for read in (read_boxes, survey_boxes):
        try:
            found = read(source, image, names, **options)
        except (ValueError, TypeError) as error:
            assert str(error)
            continue
        if read is read_boxes:
            boxes, channels = found
            dims = image.ndim - 1
            assert len(boxes) == len(channels) and torch.isfinite(boxes).all()
            assert (boxes[:, :dims] < boxes[:, dims:]).all() and (boxes >= 0).all()
            assert (boxes[:, dims:] <= torch.tensor(image.shape[1:])).all()
            assert (channels >= 0).all()


@pytest.mark.filterwarnings("ignore")
@fuzzed
@given(documents, images, classes)
def test_boxes_in_memory(document, image, names):
    if isinstance(document, (dict, list)):
        check_boxes_hold(document, image, names)


@pytest.mark.filterwarnings("ignore")
@fuzzed
@given(documents, images, classes)
def test_boxes_in_json_files(tmp_path, document, image, names):
    path = tmp_path / "a.json"
    path.write_text(json.dumps(document))
    check_boxes_hold(path, image, names)


HEADERS = [
    "x_min,y_min,x_max,y_max",
    "x_min,y_min,x_max,y_max,slice,label",
    "image,x_min,y_min,x_max,y_max,z_min,z_max",
    "",
]
cells = st.one_of(numbers.map(str), words.map(lambda word: word.replace("\n", "")))


@pytest.mark.filterwarnings("ignore")
@fuzzed
@given(
    st.sampled_from([".csv", ".txt"]),
    st.sampled_from(HEADERS),
    st.lists(st.one_of(st.lists(cells, min_size=3, max_size=7), st.text(max_size=12).map(lambda t: [t])), max_size=4),
    images,
    classes,
)
def test_boxes_in_text_files(tmp_path, suffix, header, lines, image, names):
    separator = "," if suffix == ".csv" else " "
    text = "\n".join([*([header] if suffix == ".csv" else []), *(separator.join(line) for line in lines)])
    path = tmp_path / f"a{suffix}"
    path.write_text(text, encoding="utf-8", errors="replace")
    check_boxes_hold(path, image, names)


@fuzzed
@given(st.one_of(values, st.dictionaries(st.sampled_from(["training", "validation", "test"]), values)))
def test_data_lists(tmp_path, document):
    (tmp_path / "datalist.json").write_text(json.dumps(document))
    with pytest.raises(ValueError, match="datalist.json"):  # no file that it could name is there
        load_datalist(tmp_path)


@fuzzed
@given(st.binary(min_size=1, max_size=6), st.integers(0, 351), st.integers(0, 400))
def test_image_files(tmp_path, patch, place, cut):
    path = tmp_path / "a.nii"
    nibabel.save(nibabel.Nifti1Image(np.arange(24, dtype=np.int16).reshape(2, 3, 4), np.diag([2, 2, 3, 1.0])), path)
    content = path.read_bytes()
    content = content[:place] + patch + content[place + len(patch) :]
    path.write_bytes(content[: len(content) if cut > len(content) else len(content) - cut // 40])
    try:
        image = LoadCheckedImage()(path)
    except ValueError as error:
        assert str(path) in str(error)
    else:
        assert image.numel() and torch.isfinite(image).all() and torch.isfinite(image.affine).all()


corners = st.one_of(st.integers(-1, 9), st.floats(-1, 9), st.sampled_from([float("nan"), float("inf")]))
codes = st.one_of(st.integers(-4, 3), st.just(0.5))
scales = st.sampled_from([0.0, 1.0, 50.0, 1e4, 1e30, float("nan"), float("inf")])


@fuzzed
@given(
    st.lists(st.tuples(corners, corners, corners, corners, codes), min_size=1, max_size=4),
    scales,
    st.sampled_from(["alpha_softmax", "alpha_quasimax", "max"]),
    st.booleans(),
)
def test_losses(rows, scale, smooth_max, self_training):
    logits = (torch.randn(1, 2, 8, 7) * scale).requires_grad_()
    loss = GeneralizedMILLoss(smooth_max=smooth_max)
    if self_training:
        loss = BoxSelfTrainingLoss(loss)
    try:
        value = loss(logits, torch.tensor([rows], dtype=torch.float32))
    except ValueError as error:
        assert "must" in str(error)
        return
    value.backward()
    assert torch.isfinite(value) and torch.isfinite(logits.grad).all()
