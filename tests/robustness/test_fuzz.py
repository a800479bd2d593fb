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
from monai_bbox_mil.annotations.guard import UnforeseenContentError
from monai_bbox_mil.boxes import split_codes
from monai_bbox_mil.data import load_datalist
from monai_bbox_mil.losses import BoxSelfTrainingLoss, GeneralizedMILLoss
from monai_bbox_mil.transforms import LoadCheckedImage
from tests.strategies import label_studio_tasks

EXAMPLES = int(os.environ.get("FUZZ_EXAMPLES", "25"))
fuzzed = settings(
    max_examples=EXAMPLES,
    derandomize="FUZZ_EXAMPLES" not in os.environ,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)

numbers = st.one_of(
    st.integers(-3, 12), st.floats(-3, 12), st.sampled_from([float("nan"), float("inf"), 1e300, 10**400])
)
KEYS = """box label ignored ignore attributes rotation bbox_mode segmentation box_mode space coordinate_system
images annotations categories id file_name image_id bbox
category_id name width height iscrowd markups type center size orientation coordinateSystem coordinateUnits insideOut
controlPoints position description training validation test image mask patient"""
keys = st.sampled_from(KEYS.split())
words = st.one_of(
    st.sampled_from(["index", "world", "LPS", "xyzxyz", "ROI", "mm", "a.nii", "organ", "", "0", "\ud800", "\u0663"]),
    st.text(max_size=4),
)
values = st.recursive(
    st.one_of(st.none(), st.booleans(), numbers, words),
    lambda inner: st.one_of(st.lists(inner, max_size=6), st.dictionaries(keys, inner, max_size=5)),
    max_leaves=25,
)
rows = st.lists(st.lists(numbers, min_size=3, max_size=7), max_size=3)
rows_of_four = [st.lists(numbers, min_size=4, max_size=4)]
documents = st.one_of(
    values,
    st.fixed_dictionaries(
        {"box": st.one_of(rows, values)}, optional={"label": values, "box_mode": words, "space": words}
    ),
    st.fixed_dictionaries({"markups": st.lists(st.dictionaries(keys, values, max_size=6), max_size=2)}),
    st.fixed_dictionaries(
        {
            "images": st.lists(st.fixed_dictionaries({"id": values, "file_name": words}), max_size=2),
            "annotations": st.lists(
                st.fixed_dictionaries(
                    {"image_id": values, "bbox": st.one_of(values, *rows_of_four), "category_id": values},
                    optional={"iscrowd": values, "attributes": values, "bbox_mode": values, "segmentation": values},
                )
            ),
        },
        optional={"categories": values},
    ),
    label_studio_tasks(values, numbers),
)
IMAGES = [
    MetaTensor(torch.zeros(1, *shape), meta={"filename_or_obj": "/data/a.nii"})
    for shape in ((8, 9), (8, 9, 1), (8, 9, 5))
]
images = st.sampled_from(IMAGES)
classes = st.sampled_from([None, ("organ",), ("organ", "0"), (1,)])


def check_boxes_hold(source, image, names, foreseen=True, **options):
    """Either reader refuses by an error that names the annotation, or gives finite boxes that lie in the image.

    What our own checks do not foresee is a fault of theirs, unless a library decodes the file as it is read.
    """
    for read in (read_boxes, survey_boxes):
        try:
            found = read(source, image, names, **options)
        except (ValueError, OSError) as error:
            assert ("inline annotation of" if isinstance(source, (dict, list)) else str(source)) in str(error)
            assert len(str(error)) < 2000
            assert not (foreseen and isinstance(error, UnforeseenContentError)), error
            continue
        if read is read_boxes:
            boxes, codes = found
            channels, _ = split_codes(codes)
            dims = image.ndim - 1
            assert len(boxes) == len(codes) and torch.isfinite(boxes).all()
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


DOCUMENTS = {
    "a.json": {"box": [[1, 2, 5, 6], [0, 0, 3, 3]], "label": ["organ", 0], "ignored": [0, 1], "box_mode": "xyxy"},
    "b.json": {
        "images": [{"id": 1, "file_name": "a.nii", "width": 8, "height": 9}],
        "annotations": [
            {"image_id": "1", "bbox": [1, 2, 3, 4], "category_id": 1, "iscrowd": 0, "attributes": {"rotation": 20.5}},
            {"image_id": 1, "bbox": [1, 2, 3, 4, 0.5], "category_id": 1, "segmentation": [[1, 1, 2, 2, 1, 2]]},
        ],
        "categories": [{"id": 1, "name": "organ"}],
    },
    "a.mrk.json": {
        "markups": [{
            "type": "ROI", "center": [-3, -3, 2], "size": [2, 2, 2], "orientation": [1, 0, 0, 0, 1, 0, 0, 0, 1],
            "coordinateSystem": "LPS", "coordinateUnits": "mm", "controlPoints": [{"label": "organ-1"}],
        }]
    },
    "a.csv": "case,image,x_min,y_min,x_max,y_max,label,ignored\np1,a.nii,1,2,5,6,organ,0\n,\"b.nii\",1,2,5,6,organ,\n",
    "a.txt": "0 0.5 0.5 0.25 0.25\n1 0.5 0.5 0.1 0.1\n0 0.1 0.1 0.9 0.1 0.9 0.9\n",
    "c.json": [{
        "data": {"image": "/data/upload/1/1a2b3c4d-a.nii"},
        "annotations": [{"result": [
            {"type": "rectanglelabels", "value": {"x": 10, "y": 20, "width": 30, "height": 40, "rotation": 5,
                                                  "rectanglelabels": ["organ"]}},
            {"type": "polygonlabels", "value": {"points": [[1, 2], [30, 4], [5, 60]], "polygonlabels": ["organ"]}},
            {"type": "ellipselabels", "value": {"x": 40, "y": 50, "radiusX": 9, "radiusY": 8, "ellipselabels": []}},
        ]}],
    }],
    "a.xml": (
        '<annotations><image name="a.nii" width="8" height="9"><box label="organ" xtl="1" ytl="2" xbr="5" ybr="6"/>'
        '<polygon label="organ" points="1,2;3,4;5,2"/><ellipse label="organ" cx="4" cy="4" rx="2" ry="1" rotation="3"/>'
        '<mask label="organ" rle="1, 2, 3" left="1" top="1" width="3" height="2"/></image></annotations>'
    ),
}  # fmt: skip


def damaged(content, places):
    """Bytes of a file, some of them others, or left out, or the file cut there."""
    content = bytearray(content)
    for place, byte in places:
        place %= max(1, len(content))
        if byte < 256:
            content[place : place + 1] = bytes([byte])
        elif byte == 256:
            del content[place : place + 1]
        elif byte == 257:
            del content[place:]
        else:
            content[place:place] = content[place : place + 40] * (byte - 257)
    return bytes(content)


damages = st.lists(st.tuples(st.integers(0, 100_000), st.integers(0, 260)), min_size=1, max_size=3)


@pytest.mark.filterwarnings("ignore")
@fuzzed
@given(st.sampled_from([*DOCUMENTS]), damages, images, classes)
def test_damaged_text_files(tmp_path, name, places, image, names):
    text = DOCUMENTS[name] if isinstance(DOCUMENTS[name], str) else json.dumps(DOCUMENTS[name])
    path = tmp_path / name
    path.write_bytes(damaged(text.encode(), places))
    check_boxes_hold(path, image, names)


@pytest.fixture(scope="module")
def dicom_files(tmp_path_factory):
    """An RTSTRUCT and SEGs of each kind, and the series that they were made on."""
    from monai.transforms import LoadImage

    from tests.dicom_files import write_rtstruct, write_seg, write_series
    from tests.dicom_scene import CLASSES, MASKS, SHAPE, contours

    folder = tmp_path_factory.mktemp("dicom")
    slices = write_series(folder / "image", np.zeros(SHAPE))
    write_rtstruct(folder / "rs.dcm", slices, contours(slices))
    for kind in ("BINARY", "FRACTIONAL"):
        write_seg(folder / f"{kind}.dcm", slices, MASKS, CLASSES, kind)
    image = LoadImage(ensure_channel_first=True)(folder / "image")
    # Most damage to a SEG's pixels changes nothing that could fail, so only what is before them is damaged.
    contents = {path.name: path.read_bytes() for path in sorted(folder.glob("*.dcm"))}
    return image, CLASSES, {name: (c, c.find(b"\xe0\x7f\x10\x00") + 1 or len(c)) for name, c in contents.items()}


@pytest.mark.filterwarnings("ignore")
@fuzzed
@given(st.sampled_from(["rs.dcm", "BINARY.dcm", "FRACTIONAL.dcm"]), damages)
def test_damaged_dicom_files(dicom_files, tmp_path, name, places):
    image, names, files = dicom_files
    content, end = files[name]
    path = tmp_path / name
    path.write_bytes(damaged(content, [(place % end, byte) for place, byte in places]))
    check_boxes_hold(path, image, names, foreseen=False)


HEADERS = [
    "x_min,y_min,x_max,y_max",
    "case;image;x_min;y_min;x_max;y_max;ignored",
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
