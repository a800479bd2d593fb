# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
"""Turned boxes of COCO files become the upright boxes around them, or are refused where their meaning is not known."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image
from scipy import ndimage

from monai_bbox_mil.annotations import read_boxes
from tests.annotations.annotations import make_image, rotation

SHAPE = (100, 80)
OUTLINE = [[40, 20, 70, 30, 60, 50, 35, 41.5], [30, 25, 31, 25, 31, 26]]


def read(**annotation):
    annotation = {"image_id": 1, "category_id": 0, **annotation}
    content = {"images": [{"id": 1, "file_name": "case1"}], "annotations": [annotation]}
    return read_boxes(content, make_image(SHAPE, affine=torch.eye(4, dtype=torch.float64)))[0]


def turned_extent(x, y, width, height, degrees):
    """Extent of a filled box that Pillow turns clockwise about its centre, on a fine grid, in pixels."""
    fine = 8
    picture = np.zeros((SHAPE[1] * fine, SHAPE[0] * fine), dtype=np.uint8)
    picture[round(y * fine) : round((y + height) * fine), round(x * fine) : round((x + width) * fine)] = 255
    centre = ((x + width / 2) * fine, (y + height / 2) * fine)
    turned = np.asarray(Image.fromarray(picture).rotate(-degrees, center=centre))
    rows, columns = ndimage.find_objects((turned > 0).astype(int))[0]
    return [columns.start / fine, rows.start / fine, columns.stop / fine, rows.stop / fine]


@pytest.mark.parametrize("degrees", [30, -30, 45.0, 90, 117.5, 180, 359, "20"])
def test_cvat(degrees):
    found = read(bbox=[30, 34, 40, 12], attributes={"occluded": False, "rotation": degrees})
    np.testing.assert_allclose(found, [turned_extent(30, 34, 40, 12, float(degrees))], atol=0.3)


@pytest.mark.parametrize("rotation", [0, 0.0, 360, None, "portrait", True])
def test_no_turn(rotation):
    assert read(bbox=[30, 34, 40, 12], attributes={"rotation": rotation}, rotation=0).tolist() == [[30, 34, 70, 46]]


def test_detectron2():
    found = read(bbox=[50, 40, 40, 12, 30], bbox_mode=4)
    np.testing.assert_allclose(found, [turned_extent(30, 34, 40, 12, -30)], atol=0.3)


def test_the_corners_turn_the_right_way():
    """On an image that is turned as the box is, the box is upright again."""
    centre = torch.tensor([[1.0, 0, 0, 49.5], [0, 1, 0, 39.5], [0, 0, 1, 0], [0, 0, 0, 1]], dtype=torch.float64)
    content = {"images": [{"id": 1, "file_name": "case1"}]}
    content["annotations"] = [{"image_id": 1, "category_id": 0, "bbox": [30, 34, 40, 12]}]
    content["annotations"][0]["attributes"] = {"rotation": 25.0}
    image = make_image(SHAPE, affine=torch.eye(4, dtype=torch.float64))
    image.affine = centre @ rotation(25) @ torch.linalg.inv(centre)
    np.testing.assert_allclose(read_boxes(content, image)[0], [[30, 34, 70, 46]], atol=1e-4)


@pytest.mark.parametrize(
    "annotation",
    [{"bbox": [40, 20, 30, 20, 0.3]}, {"bbox": [40, 20, 30, 20], "rotation": 15}, {"bbox": [1, 2, 3, 4], "theta": 0.2}],
)
def test_an_outline_says_what_others_mean(annotation):
    assert read(**annotation, segmentation=OUTLINE).tolist() == [[30, 20, 70, 50]]
    with pytest.raises(ValueError, match=r"annotations\[0\]: expected an upright box, or attributes\.rotation as CVAT"):
        read(**annotation)


@pytest.mark.parametrize(
    ("annotation", "message"),
    [
        (
            {"bbox": [1, 2, 3, 4], "bbox_mode": 0},
            r"expected bbox_mode 1 \(x, y, width, height\) or 4 \(rotated\), got 0",
        ),
        ({"bbox": [1, 2, 3, 4], "bbox_mode": 4}, "expected 5 numbers, got 4"),
        ({"bbox": [1, 2, 3, 4], "attributes": {"rotation": float("nan")}}, "rotation: expected 1 finite numbers"),
        ({"bbox": [1, 2, 3, 4, 5], "segmentation": [[1, 2, 3]]}, "segmentation: expected pairs of x and y"),
        ({"bbox": [1, 2, 3, 4, 5], "segmentation": {"counts": "a", "size": [1, 2]}}, "got the five numbers"),
        ({"bbox": [1, 2, 0, 4], "attributes": {"rotation": 20}}, "expected min < max"),
    ],
)
def test_other_ways_are_refused(annotation, message):
    with pytest.raises(ValueError, match=message):
        read(**annotation)
