# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
"""Regions that an annotation marks as neither positive nor negative, from their file to the loss's box tensor."""

from __future__ import annotations

import pytest
import torch
from monai.transforms import Compose, SpatialCrop

from monai_bbox_mil.annotations import read_boxes, survey_boxes
from monai_bbox_mil.transforms import LoadBoxes, LoadBoxesd, PackBoxes, PackBoxesd, UnpackBoxesd
from tests.annotations.annotations import coco, make_image, write

SHAPE = (20, 16)
FIRST, SECOND = [4, 3, 10, 8], [1, 2, 18, 15]


def crowd(**flags):
    second = {"image_id": 1, "bbox": [1, 2, 17, 13], "category_id": 0}
    return {**coco(), "annotations": [*coco()["annotations"], {**second, **flags}]}


MARKED = {
    "COCO iscrowd": ("a.json", crowd(iscrowd=1)),
    "COCO iscrowd as text": ("a.json", crowd(iscrowd="1")),
    "COCO ignore": ("a.json", crowd(iscrowd=0, ignore=True)),
    "JSON": ("a.json", {"box": [FIRST, SECOND], "label": [0, 0], "ignored": [False, True]}),
    "JSON of 0 and 1": ("a.json", {"box": [FIRST, SECOND], "ignored": [0, 1]}),
    "CSV": ("a.csv", "x_min,y_min,x_max,y_max,ignored\n4,3,10,8,\n1,2,18,15,true\n"),
    "CSV of 0 and 1": ("a.csv", "ignored,x_min,y_min,x_max,y_max\n0,4,3,10,8\n1,1,2,18,15\n"),
}


@pytest.mark.parametrize("name", MARKED)
def test_every_way_to_mark_a_region(tmp_path, name):
    path, image = write(tmp_path / MARKED[name][0], MARKED[name][1]), make_image(SHAPE)
    boxes, codes = read_boxes(path, image)
    assert boxes.tolist() == [FIRST, SECOND] and codes.tolist() == [0, -2]
    survey = survey_boxes(path, image)
    assert survey.classes.tolist() == [0, 0] and survey.ignored.tolist() == [False, True]


@pytest.mark.parametrize("flag", [0, "0", False, None, "", 0.0])
def test_what_is_not_marked_is_a_box(tmp_path, flag):
    _, codes = read_boxes(write(tmp_path / "a.json", crowd(iscrowd=flag)), make_image(SHAPE))
    assert codes.tolist() == [0, 0]


def test_the_class_of_a_region_is_kept():
    found = read_boxes({"box": [FIRST, SECOND], "label": ["b", "b"], "ignored": [0, 1]}, make_image(SHAPE), ("a", "b"))
    assert found[1].tolist() == [1, -3]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.json", crowd(iscrowd="some"), r"annotations\[1\]: expected iscrowd to be 0 or 1, got 'some'"),
        ("a.json", {"box": [FIRST], "ignored": []}, r"a\.json: expected one ignored per box \(1\), got 0"),
        ("a.json", {"box": [FIRST], "ignored": [2]}, r"box\[0\]: expected ignored to be 0 or 1, got 2"),
        ("a.csv", "x_min,y_min,x_max,y_max,ignored\n4,3,10,8,perhaps\n", "row 2: expected ignored to be 0 or 1"),
    ],
)
def test_other_marks_are_refused(tmp_path, name, content, message):
    with pytest.raises(ValueError, match=message):
        read_boxes(write(tmp_path / name, content), make_image(SHAPE))


def test_the_mark_reaches_the_box_tensor(tmp_path):
    path, image = write(tmp_path / "a.json", crowd(iscrowd=1)), make_image(SHAPE)
    expected = [[*FIRST, 0], [*SECOND, -2]]
    assert PackBoxes()(*LoadBoxes()(path, image), SHAPE).tolist() == expected
    data = {"image": image, "box": str(path)}
    assert Compose([LoadBoxesd(), PackBoxesd()])(data)["label"].tolist() == expected
    there_and_back = Compose([LoadBoxesd(), PackBoxesd(), UnpackBoxesd(), PackBoxesd()])
    assert there_and_back(data)["label"].tolist() == expected


def test_marks_beside_the_classes_count_too():
    packed = PackBoxes()(torch.tensor([FIRST, SECOND, FIRST]), torch.tensor([0, -3, 1]), SHAPE, [True, False, False])
    assert packed[:, -1].tolist() == [-2, -3, 1]
    with pytest.raises(ValueError, match="classes must be 0-based output channels, got -1"):
        PackBoxes()(torch.tensor([FIRST]), torch.tensor([-1]), SHAPE)


def test_a_crop_that_cuts_a_box_away_keeps_marks_with_their_boxes(tmp_path):
    content = {"box": [[0, 0, 2, 2], SECOND, FIRST], "ignored": [1, 1, 0]}
    image = make_image(SHAPE)
    cropped = SpatialCrop(roi_start=(3, 3), roi_end=(20, 16))(image)
    with pytest.warns(UserWarning, match=r"1 of 3 boxes lie outside .* dropped: box\[0\]"):
        _, codes = read_boxes(write(tmp_path / "a.json", content), cropped)
    assert codes.tolist() == [-2, 0]
