# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
"""Boxes at fault that are not in ``tests/annotations/test_files.py``: wrong systems, wrong images, wrong amounts."""

from __future__ import annotations

import json

import pytest
import torch
from monai.data import MetaTensor

from monai_bbox_mil.annotations import interface, read_boxes, survey_boxes
from monai_bbox_mil.annotations.interface import MAX_BOXES
from monai_bbox_mil.boxes import boxes_to_mask, pack_boxes
from monai_bbox_mil.losses import GeneralizedMILLoss
from monai_bbox_mil.transforms import PackBoxes
from tests.robustness.cases import content

AFFINE = torch.tensor([[-2.0, 0, 0, 138], [0, 2, 0, 110], [0, 0, 3, 205], [0, 0, 0, 1]], dtype=torch.float64)
VOLUME = MetaTensor(torch.zeros(1, 20, 16, 12), affine=AFFINE, meta={"filename_or_obj": "/data/case1.nii.gz"})
FLAT = MetaTensor(torch.zeros(1, 20, 16), meta={"filename_or_obj": "/data/case1.png"})
COCO = {"images": [{"id": 1, "file_name": "case1.png"}], "annotations": [], "categories": [{"id": 0, "name": "organ"}]}
CSV = "image,x_min,y_min,x_max,y_max,label\n"


def coco(**annotation):
    return {**COCO, "annotations": [{"image_id": 1, "bbox": [1, 2, 3, 4], "category_id": 0, **annotation}]}


FILES = {
    "blank": ("a.json", " \n", VOLUME, "expected JSON, got an empty file"),
    "null": ("a.json", "null", VOLUME, "expected a list, got None"),
    "a word": ("a.json", '"boxes"', VOLUME, "expected a list, got 'boxes'"),
    "two documents": ("a.json", "[] []", VOLUME, "expected JSON, got an error in line 1: Extra data"),
    "bytes of an image": (
        "a.json",
        b"\x89PNG\r\n\xff\xfe",
        VOLUME,
        "expected a text file, got bytes that are not UTF-8",
    ),
    "UTF-16 cut short": ("a.csv", "x_min,y_min".encode("utf-16")[:-1], FLAT, "got bytes that are not UTF-16; save it"),
    "Latin-1": ("a.csv", CSV.encode() + "p\xe9,1,1,4,4,0".encode("latin-1"), FLAT, "bytes that are not UTF-8; save it"),
    "csv named json": ("a.json", CSV, FLAT, "expected JSON, got an error in line 1"),
    "json named csv": ("a.csv", '{"box": [[1, 2, 3, 4]]}', FLAT, "expected the columns x_min"),
    "json named yolo": ("a.txt", '{"box": [[1, 2, 3, 4]]}', FLAT, "line 1, after the class: expected 4 "),
    "yolo named csv": ("a.csv", "0 0.5 0.5 0.1 0.1", FLAT, "expected the columns x_min"),
    "bars": ("a.csv", "x_min|y_min|x_max|y_max\n1|2|3|4\n", FLAT, "expected the columns x_min"),
    "decimal commas between semicolons": (
        "a.csv",
        "x_min;y_min;x_max;y_max\n1,5;2;3;4\n",
        FLAT,
        r"row 2: expected 4 finite numbers, got \['1,5', .*; write a decimal point instead of a comma",
    ),
    "decimal commas": (
        "a.csv",
        CSV + "case1,1,5,2,3,4,organ\n",
        FLAT,
        "row 2: expected 6 values as in the header, got 7",
    ),
    "words for numbers": ("a.csv", CSV + "case1,one,2,3,4,organ\n", FLAT, "row 2: expected 4 finite numbers"),
    "NaN in a table": ("a.csv", CSV + "case1,nan,2,3,4,organ\n", FLAT, "row 2: expected 4 finite numbers"),
    "infinite in a table": ("a.csv", CSV + "case1,1,2,inf,4,organ\n", FLAT, "row 2: expected 4 finite numbers"),
    "a table of another patient": (
        "a.csv",
        CSV + "case2,1,2,3,4,organ\n",
        FLAT,
        "expected /data/case1.png in the column",
    ),
    "coco of another patient": ("a.json", {**COCO, "images": []}, FLAT, "once among the images, got 0"),
    "coco of another size": (
        "a.json",
        {**COCO, "images": [{"id": 1, "file_name": "case1.png", "width": 9, "height": 9}]},
        FLAT,
        r"to have width and height \(20, 16\), got \(9, 9\)",
    ),
    "coco of negative width": ("a.json", coco(bbox=[5, 5, -2, 3]), FLAT, r"annotations\[0\]: expected min < max"),
    "coco with NaN": ("a.json", json.dumps(coco(bbox=[float("nan"), 1, 2, 3])), FLAT, "expected 4 finite numbers"),
    "coco of an unknown category": ("a.json", coco(category_id=9), FLAT, r"a category_id among \['0'\], got 9"),
    "coco outside": ("a.json", coco(bbox=[50, 50, 2, 2]), FLAT, "expected a box that meets /data/case1.png"),
    "yolo in pixels": ("a.txt", "0 10 8 4 4", FLAT, "expected fractions of the image between 0 and 1"),
    "yolo in percent": ("a.txt", "0 50 50 10 10", FLAT, "expected fractions of the image between 0 and 1"),
    "yolo with NaN": ("a.txt", "0 nan 0.5 0.1 0.1", FLAT, "expected 4 finite numbers"),
    "yolo of negative width": ("a.txt", "0 0.5 0.5 -0.1 0.1", FLAT, "expected fractions of the image between 0 and 1"),
    "a yolo outline of two points": ("a.txt", "0 0.1 0.1 0.9 0.1 0.9", FLAT, "or x and y of at least 3 points, got 5"),
    "a yolo outline in pixels": ("a.txt", "0 1 1 9 1 9 9", FLAT, "expected fractions of the image between 0 and 1"),
    "a yolo outline without extent": ("a.txt", "0 0.1 0.1 0.1 0.5 0.1 0.9", FLAT, "expected min < max on every axis"),
    "too many yolo boxes a line": ("a.txt", "0 0.5 0.5 0.1 0.1 0 0.5 0.5 0.1 0.1", FLAT, "3 points, got 9"),
    "a markup of a point": ("a.json", {"markups": [{"type": "Fiducial"}]}, VOLUME, "expected a markup of type 'ROI'"),
    "a ROI elsewhere": (
        "a.json",
        {"markups": [{"type": "ROI", "center": [0, 0, 0], "size": [5, 5, 5]}]},
        VOLUME,
        "expected a box that meets .*is the coordinate system right",
    ),
}


@pytest.mark.parametrize("case", FILES)
def test_annotation_files(tmp_path, case):
    name, data, image, message = FILES[case]
    path = content(name, data)(tmp_path)
    with pytest.raises(ValueError, match=message) as error:
        read_boxes(path, image, None if "coco" not in case else ("organ",))
    assert str(error.value).startswith(str(path))


WORLD_BOX = [108, 120, 214, 120, 130, 226]  # mm RAS, in the volume
INLINE = {
    "mm read as voxels": (
        {"box": [WORLD_BOX]},
        VOLUME,
        r"20, 16, 12\) voxels in its file, got \[108.*coordinate system",
    ),
    "voxels read as mm": (
        {"box": [[4, 3, 2, 10, 8, 6]], "space": "world"},
        VOLUME,
        "which spans .* mm RAS in its file",
    ),
    "RAS read as LPS": (
        {"box": [WORLD_BOX], "space": "world", "coordinate_system": "LPS"},
        VOLUME,
        r"got \[-120\.0, -130\.0, 214\.0.* mm RAS",
    ),
    "fractions read as voxels": (
        [[0.1, 0.2, 0.5, 0.6]],
        FLAT,
        "all lie in the first voxel of .*fractions of the image's",
    ),
    "fractions of a volume": ([[0.1, 0.2, 0.5, 0.6, 0.7, 1]], VOLUME, "all lie in the first voxel"),
    "width and height read as corners": ([[9, 8, 4, 5]], FLAT, "expected min < max on every axis"),
    "minima and maxima swapped": ([[9, 9, 2, 2]], FLAT, "expected min < max on every axis"),
    "no extent": ([[3, 3, 3, 6]], FLAT, "expected min < max on every axis"),
    "beyond the far side": ([[20, 0, 25, 5]], FLAT, "expected a box that meets"),
    "below zero": ([[-9, 0, -2, 5]], FLAT, "expected a box that meets"),
    "one number": ([7], FLAT, r"box\[0\]: expected a list, got 7"),
    "mappings": ([{"x": 1}], FLAT, r"box\[0\]: expected a list"),
    "infinite": ([[0, 0, float("inf"), 5]], FLAT, "finite numbers"),
    "huge": ([[1e300, 0, 1e301, 5]], FLAT, "expected a box that meets"),
    "an integer beyond floats": ([[0, 0, 10**400, 5]], FLAT, "finite numbers"),
    "3D for a picture": ([[1, 1, 1, 4, 4, 4]], FLAT, "expected a box with 2 axes"),
    "2D for a volume": ([[1, 1, 4, 4]], VOLUME, "a 2D box needs an image of one slice"),
    "labels of other length": ({"box": [[1, 1, 4, 4]], "label": []}, FLAT, r"expected one label per box \(1\), got 0"),
    "a negative label": ({"box": [[1, 1, 4, 4]], "label": [-2]}, FLAT, "a 0-based channel, got -2"),
    "a missing label": ({"box": [[1, 1, 4, 4]], "label": [None]}, FLAT, "a 0-based channel, got None"),
    "a million": ([[1, 1, 4, 4]] * 1_000_000, FLAT, rf"box\[{MAX_BOXES}\]: expected at most {MAX_BOXES} boxes for one"),
}


@pytest.mark.parametrize("case", INLINE)
def test_inline_boxes(case):
    source, image, message = INLINE[case]
    with pytest.raises(ValueError, match=message) as error:
        read_boxes(source, image)
    assert str(error.value).startswith("inline annotation of /data/case1")


ROI = {"type": "ROI", "center": [-110, -125, 218], "size": [2, 2, 2]}
TOO_MANY = {
    "json": ("a.json", {"box": [[1, 1, 4, 4]] * 5}, FLAT, r"box\[4\]"),
    "coco": ("a.json", {**COCO, "annotations": coco()["annotations"] * 5}, FLAT, r"annotations\[4\]"),
    "slicer": ("a.mrk.json", {"markups": [ROI] * 5}, VOLUME, r"markups\[4\]"),
    "yolo": ("a.txt", "0 0.5 0.5 0.1 0.1\n" * 5, FLAT, "line 5"),
    "csv": ("a.csv", "x_min,y_min,x_max,y_max\n" + "1,1,4,4\n" * 5, FLAT, "row 6"),
}


@pytest.mark.parametrize("survey", [False, True])
@pytest.mark.parametrize("case", TOO_MANY)
def test_more_boxes_than_an_image_may_have(tmp_path, monkeypatch, case, survey):
    """At the first one too many, before the others of a million are placed."""
    name, data, image, place = TOO_MANY[case]
    path = content(name, data)(tmp_path)
    monkeypatch.setattr(interface, "MAX_BOXES", 5)
    assert len((survey_boxes if survey else read_boxes)(path, image)[0]) == 5
    monkeypatch.setattr(interface, "MAX_BOXES", 4)
    with pytest.raises(ValueError, match=f"{name}, {place}: expected at most 4 boxes for one image"):
        (survey_boxes if survey else read_boxes)(path, image)


def test_boxes_of_other_images_do_not_count(tmp_path, monkeypatch):
    rows = "other.png,1,1,4,4\n" * 9 + "case1.png,1,1,4,4\n"
    path = content("a.csv", "image,x_min,y_min,x_max,y_max\n" + rows)(tmp_path)
    monkeypatch.setattr(interface, "MAX_BOXES", 1)
    assert len(read_boxes(path, FLAT)[0]) == 1


@pytest.mark.parametrize("box", [[-3, 2, 5, 99], [0, 0, 20, 16], [19, 15, 20, 16]])
def test_boxes_that_reach_out_are_clipped(box):
    boxes, _ = read_boxes([box], FLAT)
    assert (boxes >= 0).all() and (boxes[0, 2:] <= torch.tensor([20.0, 16])).all()


def test_a_box_twice_counts_twice_and_covers_once():
    boxes, classes = read_boxes([[2, 2, 6, 6]] * 2, FLAT)
    target = pack_boxes(boxes, classes)[None]
    assert target.shape == (1, 2, 5)
    assert int(boxes_to_mask(target, (20, 16), 1).sum()) == 16
    logits = torch.zeros(1, 1, 20, 16)
    assert torch.isfinite(GeneralizedMILLoss()(logits, target))


TENSORS = {
    "NaN": ([[1.0, 1, float("nan"), 4]], "boxes must have finite corners, got .*nan"),
    "swapped": ([[5.0, 5, 1, 1]], r"boxes must hold minima, then maxima, got \[5\.0, 5\.0, 1\.0, 1\.0\]"),
    "swapped on one axis": ([[1.0, 5, 4, 1]], "boxes must hold minima, then maxima"),
}


@pytest.mark.parametrize("case", TENSORS)
def test_box_tensors_are_packed_whole_or_not_at_all(case):
    boxes, message = TENSORS[case]
    with pytest.raises(ValueError, match=message):
        PackBoxes()(torch.tensor(boxes), torch.tensor([0]), (8, 8))


def test_the_loss_names_a_class_that_the_network_has_no_channel_for():
    with pytest.raises(ValueError, match=r"target\[0, 0\] must have a class in 0\.\.0, .* got \[1.*, 3\.0\]"):
        GeneralizedMILLoss()(torch.zeros(1, 1, 8, 8), torch.tensor([[[1.0, 1, 4, 4, 3]]]))
