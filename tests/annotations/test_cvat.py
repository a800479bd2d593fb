# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
"""CVAT XML 1.1 for images."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from monai_bbox_mil.annotations import read_boxes
from tests.annotations.annotations import CLASSES, SHAPE, make_image, write

FLAT = {"shape": (20, 16), "affine": torch.eye(4, dtype=torch.float64), "name": "/data/train/slice 1.png"}
BOX = '<box label="tumour" source="manual" occluded="0" xtl="4.00" ytl="3.00" xbr="10.00" ybr="8.00" z_order="0"/>'


def task(*shapes: str, image: str = 'name="train/slice 1.png" width="20" height="16"') -> str:
    return (
        '<?xml version="1.0" encoding="utf-8"?>\n<annotations><version>1.1</version><meta><task/></meta>'
        f'<image id="0" {image}>{"".join(shapes)}</image>'
        '<image id="1" name="train/slice 2.png" width="99" height="16"></image></annotations>'
    )


def test_boxes_tags_and_a_volume_of_one_slice(tmp_path):
    path = write(tmp_path / "a.xml", task('<tag label="good" source="manual"></tag>', BOX))
    boxes, classes = read_boxes(path, make_image(**FLAT), CLASSES)
    assert boxes.tolist() == [[4, 3, 10, 8]] and classes.tolist() == [1]
    boxes, _ = read_boxes(path, make_image(**{**FLAT, "shape": (20, 16, 1)}), CLASSES)
    assert boxes.tolist() == [[4, 3, 0, 10, 8, 1]]
    boxes, _ = read_boxes(path, make_image(**{**FLAT, "shape": (99, 16), "name": "/x/train/slice 2.png"}), CLASSES)
    assert boxes.shape == (0, 4)


def test_a_turned_box_is_the_box_around_it(tmp_path):
    turned = '<box label="tumour" xtl="4" ytl="8" xbr="12" ybr="10" rotation="90.0"/>'
    boxes, _ = read_boxes(write(tmp_path / "a.xml", task(turned)), make_image(**FLAT), CLASSES)
    torch.testing.assert_close(boxes, torch.tensor([[7.0, 5, 9, 13]]))


@pytest.mark.parametrize("degrees", [0, 30, 90, 215])
def test_an_ellipse_reaches_the_box_around_it(tmp_path, degrees):
    shape = f'<ellipse label="tumour" cx="9" cy="8" rx="6" ry="2" rotation="{degrees}"/>'
    boxes, _ = read_boxes(write(tmp_path / "a.xml", task(shape)), make_image(**FLAT), CLASSES)
    along = np.linspace(0, 2 * math.pi, 20_000)
    angle = math.radians(degrees)
    x = 9 + 6 * np.cos(along) * math.cos(angle) - 2 * np.sin(along) * math.sin(angle)
    y = 8 + 6 * np.cos(along) * math.sin(angle) + 2 * np.sin(along) * math.cos(angle)
    np.testing.assert_allclose(boxes[0].numpy(), [x.min(), y.min(), x.max(), y.max()], atol=1e-4)


def test_a_polygon_gives_the_box_around_it(tmp_path):
    polygon = '<polygon label="tumour" points="4.5,3;9,8.25;6,7"/>'
    boxes, _ = read_boxes(write(tmp_path / "a.xml", task(polygon)), make_image(**FLAT), CLASSES)
    assert boxes.tolist() == [[4.5, 3, 9, 8.25]]


def test_a_mask_gives_the_box_around_its_pixels(tmp_path):
    for seed in range(30):
        rng = np.random.default_rng(seed)
        mask = rng.random((4, 6)) < 0.25  # rows, columns
        mask[1, 2] = True
        flat = mask.ravel().astype(int)
        changes = np.flatnonzero(np.diff(flat)) + 1
        runs = np.diff([0, *changes, len(flat)]).tolist()
        rle = ", ".join(map(str, [0, *runs] if flat[0] else runs))
        shape = f'<mask label="tumour" rle="{rle}" left="3" top="2" width="6" height="4"/>'
        path = write(tmp_path / f"{seed}.xml", task(shape))
        (rows, columns), (box,) = np.nonzero(mask), read_boxes(path, make_image(**FLAT), CLASSES)[0].tolist()
        assert box == [3 + columns.min(), 2 + rows.min(), 4 + columns.max(), 3 + rows.max()]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "expected XML, got an empty file"),
        ("<annotations>", "expected XML, got an error: no element found"),
        ("<a/>", "expected the element 'annotations'"),
        ('<!DOCTYPE a [<!ENTITY b "b">]><annotations>&b;</annotations>', "expected XML without DOCTYPE and ENTITY"),
        ("<annotations><track/></annotations>", "got the tracks of a video; export the task"),
        ("<annotations/>", r"expected /data/train/slice 1.png once among the images, got 0 of 0"),
        (task(image='width="20"'), r"image\[0\]: expected the keys \['name'\]"),
        (
            task(image='name="train/slice 2.png"'),
            r"image\[1\]: expected a name for each image, got 'train/slice 2.png' ",
        ),
        (task(image='name="train/slice 1.png" width="20" height="17"'), "to have width and height"),
        (
            task('<polyline label="tumour" points="1,2;3,4"/>'),
            "expected a box, polygon, ellipse or mask, got 'polyline'",
        ),
        (task(BOX.replace('xtl="4.00"', "")), r"slice 1.png, box\[0\]: expected the keys"),
        (task(BOX.replace('xtl="4.00"', 'xtl="wide"')), r"box\[0\]: expected 4 finite numbers"),
        (task(BOX.replace('label="tumour"', "")), r"box\[0\]: expected the keys \['label'\]"),
        (task(BOX.replace("tumour", "cat")), r"box\[0\]: expected one of the classes .*got 'cat'"),
        (task(BOX.replace("10.00", "2.00")), r"box\[0\]: expected min < max"),
        (task('<polygon label="tumour" points=""/>'), r"polygon\[0\], points: expected 2 numbers"),
        (
            task('<mask label="tumour" rle="3, 2" left="0" top="0" width="2" height="2"/>'),
            "expected runs of 2 x 2 pixels",
        ),
        (
            task('<mask label="tumour" rle="4" left="0" top="0" width="2" height="2"/>'),
            "a mask with pixels, got an empty",
        ),
        (
            task('<mask label="tumour" rle="5,-1" left="0" top="0" width="2" height="2"/>'),
            "expected runs of 2 x 2 pixels",
        ),
    ],
)
def test_what_is_refused(tmp_path, content, message):
    path = write(tmp_path / "a.xml", content)
    with pytest.raises(ValueError, match=message) as caught:
        read_boxes(path, make_image(**FLAT), CLASSES)
    assert str(caught.value).startswith(str(path))


def test_a_volume_is_refused(tmp_path):
    path = write(tmp_path / "a.xml", task(BOX, image='name="train/slice 1.png"'))
    with pytest.raises(ValueError, match="a 2D box needs an image of one slice"):
        read_boxes(path, make_image(SHAPE, name=FLAT["name"]), CLASSES)
