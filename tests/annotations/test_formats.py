# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
"""Each annotation format, and boxes that are given inline."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from monai.transforms import (
    Flip,
)

from monai_bbox_mil.annotations import read_boxes
from tests.annotations.annotations import (
    AFFINE,
    BOX,
    CLASSES,
    CSV_HEADER,
    EXAMPLES,
    FILES,
    SHAPE,
    WHOLE,
    coco,
    make_image,
    roi,
    rotation,
    write,
)


@pytest.mark.parametrize("name", EXAMPLES)
def test_example_file(name):
    options, expected = EXAMPLES[name]
    boxes, classes = read_boxes(FILES / name, make_image(**options), CLASSES)
    assert boxes.dtype == torch.float32 and classes.dtype == torch.int64
    torch.testing.assert_close(boxes, torch.tensor(expected, dtype=torch.float32))
    assert classes.tolist() == [1, 0]


@pytest.mark.parametrize("name", EXAMPLES)
def test_example_file_follows_a_flip(name):
    options, expected = EXAMPLES[name]
    image = Flip(0)(make_image(**options))
    boxes, _ = read_boxes(str(FILES / name), image, CLASSES)
    flipped = torch.tensor(expected, dtype=torch.float32)
    dims = image.ndim - 1
    flipped[:, [0, dims]] = 20 - flipped[:, [dims, 0]]
    torch.testing.assert_close(boxes, flipped)


@pytest.mark.parametrize("name", ["coco.json", "yolo.txt", "cvat.xml", "label_studio.json"])
def test_2d_file_for_a_volume_of_one_slice(name):
    options, expected = EXAMPLES[name]
    boxes, _ = read_boxes(FILES / name, make_image(**{**options, "shape": (20, 16, 1)}), CLASSES)
    expected = [[x, y, 0, a, b, 1] for x, y, a, b in expected]
    torch.testing.assert_close(boxes, torch.tensor(expected, dtype=torch.float32))


@pytest.mark.parametrize(
    ("source", "classes", "expected"),
    [
        ([BOX], None, [0]),
        (torch.tensor([BOX]), None, [0]),
        (np.array([BOX, WHOLE], dtype=np.int16), None, [0, 0]),
        ({"box": [BOX]}, ("prostate",), [0]),
        ({"box": [BOX, WHOLE], "label": [1, 0]}, None, [1, 0]),
        ({"box": torch.tensor([BOX, WHOLE]), "label": torch.tensor([2, 1])}, (1, 2), [1, 0]),
        ({"box": [BOX], "label": ["1.0"]}, (0, 1), [1]),
        ({"box": [BOX], "label": np.array([1.0])}, ("1", "2"), [0]),
    ],
)
def test_inline(source, classes, expected):
    boxes, found = read_boxes(source, make_image(), classes)
    assert boxes.tolist() == [BOX, WHOLE][: len(expected)]
    assert found.tolist() == expected


def test_nothing_is_changed_in_place():
    image, source = Flip(0)(make_image()), {"box": torch.tensor([BOX]), "label": [0]}
    before = torch.as_tensor(image.affine).clone()
    read_boxes(source, image)
    assert torch.equal(torch.as_tensor(image.affine), before)
    assert source["box"].tolist() == [BOX] and source["label"] == [0]


MODES = {
    "xyzxyz": [4, 3, 2, 10, 8, 6],
    "xxyyzz": [4, 10, 3, 8, 2, 6],
    "xyxyzz": [4, 3, 10, 8, 2, 6],
    "xyzwhd": [4, 3, 2, 6, 5, 4],
    "cccwhd": [7, 5.5, 4, 6, 5, 4],
    "xyxy": [4, 3, 10, 8],
    "xxyy": [4, 10, 3, 8],
    "xywh": [4, 3, 6, 5],
    "ccwh": [7, 5.5, 6, 5],
}


@pytest.mark.parametrize("mode", MODES)
def test_every_box_mode(mode):
    shape = SHAPE if len(mode) == 6 else SHAPE[:2]
    boxes, _ = read_boxes({"box": [MODES[mode]], "box_mode": mode}, make_image(shape))
    assert boxes.tolist() == [BOX if len(mode) == 6 else [4, 3, 10, 8]]


def test_world_boxes_in_lps_and_ras():
    ras = {"box": [[19, -5, 9.5, 31, 5, 21.5]], "space": "world"}
    lps = {"box": [[-31, -5, 9.5, -19, 5, 21.5]], "space": "world", "coordinate_system": "LPS"}
    assert read_boxes(ras, make_image())[0].tolist() == [BOX]
    assert read_boxes(lps, make_image())[0].tolist() == [BOX]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.json", {"box": []}),
        ("a.json", {"box": [], "label": []}),
        ("a.json", []),
        ("a.json", coco(annotations=[])),
        ("a.json", {"markups": []}),
        ("a.txt", ""),
        ("a.txt", "\n\n"),
        ("a.csv", CSV_HEADER),
        ("a.csv", "image," + CSV_HEADER),
        ("a.csv", "image," + CSV_HEADER + "case1,,,,,,\ncase2,1,1,2,2,1,2\n"),
    ],
)
@pytest.mark.parametrize("shape", [(20, 16), SHAPE])
def test_zero_boxes(tmp_path, name, content, shape):
    boxes, classes = read_boxes(write(tmp_path / name, content), make_image(shape), CLASSES)
    assert boxes.shape == (0, 2 * len(shape)) and boxes.dtype == torch.float32
    assert classes.shape == (0,) and classes.dtype == torch.int64


def test_csv_slice_column(tmp_path):
    path = write(tmp_path / "a.csv", "Case, slice, x_min, y_min, x_max, y_max, Class\ncase1, 4, 1, 2, 3.5, 4, 2\n")
    boxes, classes = read_boxes(path, Flip(2)(make_image()), classes=(1, 2))
    assert boxes.tolist() == [[1, 2, 7, 3.5, 4, 8]] and classes.tolist() == [1]


def test_csv_without_image_column_needs_no_name(tmp_path):
    path = write(tmp_path / "a.csv", CSV_HEADER + "4,3,10,8,2,6\n")
    boxes, classes = read_boxes(path, make_image(name=None), classes=("prostate",))
    assert boxes.tolist() == [BOX] and classes.tolist() == [0]


@pytest.mark.parametrize(("classes", "expected"), [(None, 1), (("a", "b"), 1), ((1, 0), 0), ((5, 1), 1)])
def test_yolo_class_is_a_position_among_names(tmp_path, classes, expected):
    path = write(tmp_path / "a.txt", "1 0.5 0.5 0.5 0.5\n")
    assert read_boxes(path, make_image((20, 16)), classes)[1].tolist() == [expected]


@pytest.mark.parametrize("classes", [("tumour",), (3,), None])
def test_coco_category_by_name_or_number(tmp_path, classes):
    number = 0 if classes is None else 3
    content = coco(category_id=number, categories=[{"id": number, "name": "tumour"}])
    assert read_boxes(write(tmp_path / "a.json", content), make_image((20, 16)), classes)[1].tolist() == [0]


@pytest.mark.parametrize(
    "entry", ["case1.nii.gz", "case1.nii", "case1", "images/case1.nii.gz", "C:\\images\\case1.nii.gz"]
)
def test_image_names(tmp_path, entry):
    content = coco(images=[{"id": 0, "file_name": "case11.nii.gz"}, {"id": 1, "file_name": entry}])
    boxes, _ = read_boxes(write(tmp_path / "a.json", content), make_image((20, 16)))
    assert boxes.tolist() == [[4, 3, 10, 8]]


@pytest.mark.parametrize(
    ("changes", "classes", "expected"),
    [
        ({}, None, 0),
        ({"name": "R_3"}, None, 0),
        ({"label": {"value": 1}}, None, 1),
        ({"label": {"value": 2}, "name": "case1.nii.gz"}, (1, 2), 1),
        ({"name": "tumour"}, CLASSES, 1),
        ({"controlPoints": [{"label": "tumour-12"}]}, CLASSES, 1),
        ({"controlPoints": [{"label": "R-1", "description": "tumour"}]}, CLASSES, 1),
        ({}, ("prostate",), 0),
    ],
)
def test_slicer_class(changes, classes, expected):
    boxes, found = read_boxes(roi(**changes), make_image(), classes)
    assert boxes.tolist() == [BOX] and found.tolist() == [expected]


def test_slicer_defaults():
    """Without a coordinate system the file is LPS; without a centre the only control point is it."""
    source = roi(coordinateSystem=None, center=None, controlPoints=[{"position": [-25, 0, 15.5]}])
    assert read_boxes(source, make_image())[0].tolist() == [BOX]
    assert read_boxes(roi(coordinateUnits=["mm", "UCUM", "millimeter"]), make_image())[0].tolist() == [BOX]


@pytest.mark.parametrize("system", ["RAS", "LPS"])
def test_slicer_rotated_roi_gives_the_enclosing_box(system):
    """A square of 8 mm turned by 45 degrees reaches 8 / sqrt(2) mm to each side; its axes are the matrix' columns."""
    image = make_image((64, 64, 8), affine=torch.diag(torch.tensor([1.0, 1, 2, 1], dtype=torch.float64)))
    sign = 1 if system == "RAS" else -1
    half = math.sqrt(0.5)
    turned = roi(
        coordinateSystem=system,
        center=[sign * 31.5, sign * 31.5, 7],
        size=[8, 8, 4],
        orientation=[half, -half, 0, half, half, 0, 0, 0, 1],
    )
    reach = 8 / math.sqrt(2)
    expected = torch.tensor([[32 - reach, 32 - reach, 3, 32 + reach, 32 + reach, 5]])
    torch.testing.assert_close(read_boxes(turned, image)[0], expected)


def test_slicer_rotated_roi_on_an_equally_rotated_image_is_tight():
    """The corners go straight to the image; a detour over a world box would loosen this one."""
    affine = rotation(30) @ AFFINE
    center = (affine @ torch.tensor([6.5, 5, 3.5, 1], dtype=torch.float64))[:3].tolist()
    source = roi(center=center, orientation=rotation(30)[:3, :3].ravel().tolist())
    boxes, _ = read_boxes(source, make_image(affine=affine))
    torch.testing.assert_close(boxes, torch.tensor([BOX]).float())


def test_format_can_be_forced(tmp_path):
    path = write(tmp_path / "boxes.dat", "0 0.5 0.5 0.5 0.5\n")
    assert read_boxes(path, make_image((20, 16)), format="yolo")[0].tolist() == [[5, 4, 15, 12]]
