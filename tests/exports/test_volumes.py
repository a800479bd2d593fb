# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
"""Exports in millimetres, read back by our own readers."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from monai.transforms import LoadImage

from monai_bbox_mil.annotations.frame import WORLD_IS_AMBIGUOUS
from monai_bbox_mil.exports import Prediction
from monai_bbox_mil.transforms import LoadCheckedImage
from tests.exports.predictions import (
    AFFINES,
    CLASSES,
    EMPTY,
    VALUES,
    as_image,
    expected_boxes,
    export,
    found_boxes,
    predict,
    volume,
)

NAME = "Fall 1 (größer), #2.nii.gz"


@pytest.mark.parametrize("matrix", AFFINES.values(), ids=AFFINES)
@pytest.mark.parametrize("labels", [volume(), EMPTY, volume()[..., 2:3], volume()[..., 2]])
def test_slicer_rois_are_read_back(tmp_path, matrix, labels):
    prediction = predict(labels, tmp_path / NAME, matrix)
    export("slicer_rois", tmp_path, prediction)
    path = tmp_path / "slicer_rois" / NAME.replace(".nii.gz", ".mrk.json")
    assert found_boxes(path, prediction, matrix) == expected_boxes(prediction)


def test_an_roi_is_a_rotation_with_its_class_confidence_and_colour(tmp_path):
    prediction = predict(volume(), tmp_path / "a.nii.gz", AFFINES["oblique and left-handed"])
    export("slicer_rois", tmp_path, prediction)
    markups = json.loads((tmp_path / "slicer_rois/a.mrk.json").read_text())["markups"]
    assert [each["name"] for each in markups] == [CLASSES[found.channel] for found in prediction.objects]
    assert [each["controlPoints"][0]["label"] for each in markups[:2]] == [f"{CLASSES[0]}-1", f"{CLASSES[0]}-2"]
    for each, found in zip(markups, prediction.objects, strict=True):
        axes = np.reshape(each["orientation"], (3, 3))
        np.testing.assert_allclose(axes @ axes.T, np.eye(3), atol=1e-12)
        assert np.linalg.det(axes) == pytest.approx(1)
        np.testing.assert_allclose(each["size"], (np.array(found.high) - found.low) * (0.7, 1.3, 4.0))
        assert each["controlPoints"][0]["description"] == f"confidence {found.confidence:.3f}"
    assert len({tuple(each["display"]["color"]) for each in markups}) == 2


def test_an_affine_that_rounding_left_askew_gives_exact_boxes(tmp_path):
    labels = np.zeros((300, 300, 40), dtype=np.int32)
    labels[3:297, 2:290, 1:39] = VALUES[0]
    matrix = AFFINES["oblique"].clone()
    matrix[:3, :3] += torch.as_tensor(np.random.default_rng(0).uniform(-1e-4, 1e-4, (3, 3)))
    prediction = predict(labels, tmp_path / "a.nii.gz", matrix, sure=False)
    export("slicer_rois", tmp_path, prediction)
    assert found_boxes(tmp_path / "slicer_rois/a.mrk.json", prediction, matrix) == expected_boxes(prediction)


def sheared() -> torch.Tensor:
    matrix = AFFINES["as DICOM"].clone()
    matrix[1, 2] = 0.9
    return matrix


def test_slicer_rois_refuse_a_tilted_gantry(tmp_path):
    with pytest.raises(ValueError, match=r"axes are at right angles.*a\.nii\.gz.*Export seg_nrrd instead"):
        export("slicer_rois", tmp_path, predict(volume(), tmp_path / "a.nii.gz", sheared()))


@pytest.mark.parametrize("matrix", [*AFFINES.values(), sheared()], ids=[*AFFINES, "sheared"])
@pytest.mark.parametrize("labels", [volume(), EMPTY, volume()[..., 2:3], volume()[..., 2]])
def test_seg_nrrd_is_read_back_voxel_by_voxel(tmp_path, matrix, labels):
    prediction = predict(labels, tmp_path / NAME, matrix)
    export("seg_nrrd", tmp_path, prediction)
    found = LoadCheckedImage()(tmp_path / "seg_nrrd" / NAME.replace(".nii.gz", ".seg.nrrd"))
    assert np.array_equal(found.numpy().reshape(labels.shape), labels)
    np.testing.assert_allclose(found.affine, matrix, atol=1e-9)


def header(path) -> dict[str, str]:
    """Return the fields of a NRRD file, as 3D Slicer reads them."""
    text = path.read_bytes().split(b"\n\n")[0].decode("utf-8")
    lines = [line for line in text.splitlines()[1:] if not line.startswith("#")]
    return dict(line.split(":=" if ":=" in line else ": ", 1) for line in lines)


def test_seg_nrrd_names_its_segments(tmp_path):
    prediction = predict(volume(), tmp_path / "a.nii.gz", AFFINES["oblique"])
    export("seg_nrrd", tmp_path, prediction)
    fields = header(tmp_path / "seg_nrrd/a.seg.nrrd")
    assert fields["space"] == "left-posterior-superior" and fields["type"] in ("unsigned short", "uint16")
    assert fields["Segmentation_ContainedRepresentationNames"] == "Binary labelmap|"
    for channel, (name, value) in enumerate(zip(CLASSES, VALUES, strict=True)):
        assert fields[f"Segment{channel}_Name"] == name
        assert fields[f"Segment{channel}_LabelValue"] == str(value)
        where = np.argwhere(volume() == value)
        ends = np.stack([where.min(axis=0), where.max(axis=0)], axis=1).ravel().tolist()
        assert fields[f"Segment{channel}_Extent"].split() == [*map(str, ends)]
    assert fields["Segment0_Color"] != fields["Segment1_Color"]


@pytest.mark.parametrize("name", ["slicer_rois", "seg_nrrd"])
def test_a_place_that_programs_disagree_on_is_refused(tmp_path, name):
    label_map = as_image(volume(), tmp_path / "a.nii.gz", AFFINES["straight"])
    label_map.meta[WORLD_IS_AMBIGUOUS] = "its sform and qform differ."
    with pytest.raises(ValueError, match=rf"export {name}: .*a\.nii\.gz: its sform and qform differ\."):
        export(name, tmp_path, Prediction(label_map, VALUES, CLASSES))


@pytest.mark.parametrize("name", ["slicer_rois", "seg_nrrd"])
def test_an_array_needs_an_affine(tmp_path, name):
    with pytest.raises(ValueError, match=rf"export {name}: .*a\.nii\.gz: its affine is unknown"):
        export(name, tmp_path, Prediction(volume()[None], VALUES, CLASSES, tmp_path / "a.nii.gz"))
    matrix = AFFINES["left-handed"]
    prediction = Prediction(volume()[None], VALUES, CLASSES, tmp_path / "a.nii.gz", affine=matrix)
    export(name, tmp_path, prediction)
    if name == "slicer_rois":
        assert found_boxes(tmp_path / "slicer_rois/a.mrk.json", prediction, matrix) == expected_boxes(prediction)


@pytest.mark.parametrize("value", [255, 256, 65_535, 65_536, 2**31, 2**32 - 1])
def test_seg_nrrd_holds_the_value_of_any_mask(tmp_path, value):
    labels = (volume() > 0).astype(np.int64) * value
    prediction = Prediction(labels[None], [value], ["a"], tmp_path / "a.nii.gz", affine=AFFINES["straight"])
    export("seg_nrrd", tmp_path, prediction)
    found = LoadImage(image_only=True, ensure_channel_first=True, dtype=None)(tmp_path / "seg_nrrd/a.seg.nrrd")
    assert np.array_equal(np.asarray(found)[0].astype(np.int64), labels)
