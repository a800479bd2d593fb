# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
"""Several annotation files of one image: their boxes are put together."""

from __future__ import annotations

import pytest
import torch

from monai_bbox_mil.annotations import interface, read_boxes, survey_boxes
from monai_bbox_mil.transforms import LoadBoxesd
from tests.annotations.annotations import BOX, CLASSES, make_image, roi, write

OTHER = [12, 1, 0, 14, 3, 2]


@pytest.fixture
def files(tmp_path):
    """One box in mm and one in voxels, in files of different formats."""
    first = write(tmp_path / "case1_prostate.mrk.json", roi(name="prostate"))
    second = write(tmp_path / "case1.json", {"box": [OTHER], "label": ["tumour"]})
    return [first, second]


def test_boxes_and_classes_of_all_files(files):
    boxes, classes = read_boxes(files, make_image(), CLASSES)
    torch.testing.assert_close(boxes, torch.tensor([BOX, OTHER]).float())
    assert classes.tolist() == [0, 1]


def test_in_the_transform_and_in_another_order(files):
    item = {"image": make_image(), "box": tuple(map(str, reversed(files)))}
    found = LoadBoxesd("box", classes=CLASSES)(item)
    assert found["box"].round().int().tolist() == [OTHER, BOX] and found["box_class"].tolist() == [1, 0]


def test_a_survey_names_the_files_and_gives_one_space(files, tmp_path):
    files.append(write(tmp_path / "third.json", {"box": [BOX, [5, 5, 5, 1, 1, 1]], "label": ["prostate", "tumour"]}))
    survey = survey_boxes(files, make_image(), CLASSES)
    assert survey.space == "index"
    torch.testing.assert_close(survey.given, torch.tensor([BOX, OTHER, BOX]).double())
    torch.testing.assert_close(survey.boxes, torch.tensor([BOX, OTHER, BOX]).double())
    assert survey.places == ["case1_prostate.mrk.json, markups[0]", "case1.json, box[0]", "third.json, box[0]"]
    assert [(fault.place, fault.kind) for fault in survey.faults] == [("third.json, box[1]", "min_not_below_max")]
    assert survey.classes.tolist() == [0, 1, 0] and survey.ignored.tolist() == [False] * 3


def test_a_survey_of_one_kind_keeps_its_space(tmp_path):
    files = [write(tmp_path / f"{name}.mrk.json", roi(name=name)) for name in CLASSES]
    survey = survey_boxes(files, make_image(), CLASSES)
    assert survey.space == "world" and survey.given[0].tolist() == [19, -5, 9.5, 31, 5, 21.5]


def test_an_empty_list_has_no_box_and_an_absent_file_is_named(files, tmp_path):
    assert read_boxes([], make_image())[0].shape == (0, 6)
    with pytest.raises(FileNotFoundError, match="absent"):
        read_boxes([*files, tmp_path / "absent.json"], make_image(), CLASSES)
    with pytest.raises(ValueError, match=r"case1\.json, box\[0\]: expected one of the classes \('prostate',\)"):
        read_boxes(files, make_image(), ["prostate"])


def test_the_limit_counts_all_files(files, tmp_path, monkeypatch):
    monkeypatch.setattr(interface, "MAX_BOXES", 1)
    with pytest.raises(ValueError, match=r"case1\.json, box\[0\]: expected at most 1 boxes"):
        read_boxes(files, make_image(), CLASSES)
