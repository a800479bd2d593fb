# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
"""Boxes that a crop cuts, against crops of index arrays."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from monai.transforms import CenterSpatialCrop, ResizeWithPadOrCropd

from monai_bbox_mil.transforms import CropWithCountd, crop_count


def naive_count(boxes, shape, size):
    """Fill each box, crop, and look which of its voxels are left; try one size after the other."""
    left, whole, fitting = [], [], [[] for _ in shape]
    for box in boxes:
        low, high = box[: len(shape)], box[len(shape) :]
        filled = np.zeros((1, *shape), dtype=np.uint8)
        filled[(0, *(slice(a, b) for a, b in zip(low, high)))] = 1
        left.append(int(np.asarray(CenterSpatialCrop(size)(filled)).sum()))
        whole.append(int(filled.sum()))
        for axis, length in enumerate(shape):
            line = filled.any(axis=tuple(i + 1 for i in range(len(shape)) if i != axis))[None, 0]
            sizes = [s for s in range(1, length + 1) if np.asarray(CenterSpatialCrop(s)(line)).sum() == line.sum()]
            fitting[axis].append(sizes[0])
    cut = sum(0 < kept < all_ for kept, all_ in zip(left, whole))
    return len(boxes), cut, left.count(0), tuple(max(sizes) for sizes in fitting)


def draw(seed, dims):
    rng = np.random.default_rng(seed)
    shape = tuple(rng.integers(5, 12, dims).tolist())
    size = tuple(int(rng.integers(2, n + 3)) if rng.random() < 0.8 else -1 for n in shape)
    boxes = []
    for _ in range(4):
        low = [int(rng.integers(0, n)) for n in shape]
        boxes.append([*low, *(int(rng.integers(a + 1, n + 1)) for a, n in zip(low, shape))])
    return shape, size, boxes


@pytest.mark.parametrize("seed", range(40))
@pytest.mark.parametrize("dims", [2, 3])
def test_boxes_of_an_annotation_are_counted(seed, dims):
    shape, size, boxes = draw(seed, dims)
    image = MetaTensor(torch.zeros(1, *shape), meta={"original_affine": torch.eye(4)})
    item = {"image": image, "box": {"box": boxes, "label": [0] * len(boxes)}}
    cropped = CropWithCountd("image", size)(item)
    if all(s < 0 or s >= n for s, n in zip(size, shape)):
        assert crop_count(cropped["image"]) is None
    else:
        assert tuple(crop_count(cropped["image"])) == naive_count(boxes, shape, size)
    assert cropped["box"] == item["box"]
    assert "crop_count" not in image.meta


@pytest.mark.parametrize("seed", range(20))
def test_the_crop_is_monai_s(seed):
    shape, size, _ = draw(seed, 3)
    item = {"image": MetaTensor(torch.rand(1, *shape)), "mask": MetaTensor(torch.rand(1, *shape).round())}
    transform = CropWithCountd(["image", "mask"], size)
    ours = transform(item)
    theirs = ResizeWithPadOrCropd(["image", "mask"], size)(item)
    for key in item:
        assert torch.equal(ours[key], theirs[key])
        assert torch.equal(ours[key].affine, theirs[key].affine)
    assert transform.inverse(ours)["image"].shape == item["image"].shape


def mask_item(*blocks, shape=(1, 20, 20, 3)):
    mask = torch.zeros(shape)
    for x0, x1, y0, y1, z in blocks:
        mask[0, x0:x1, y0:y1, z] = 1
    return {"image": MetaTensor(torch.zeros(shape)), "mask": MetaTensor(mask)}


def test_objects_of_a_mask_are_counted_slice_by_slice():
    item = mask_item((2, 8, 9, 11, 0), (7, 11, 9, 11, 1), (0, 3, 0, 3, 1), (16, 17, 9, 11, 2))
    crop = {"keys": ["image", "mask"], "spatial_size": (10, 10, -1)}
    count = crop_count(CropWithCountd(**crop, slice_dim=-1)(item)["image"])
    assert tuple(count) == (4, 1, 2, (20, 20, 3))
    # Of two pixels, the last is no object.
    count = crop_count(CropWithCountd(**crop, slice_dim=-1, min_size=3)(item)["image"])
    assert tuple(count) == (3, 1, 1, (20, 20, 2))
    # As one volume, the second slice continues the first.
    assert crop_count(CropWithCountd(**crop)(item)["image"]).total == 3


def test_nothing_is_counted_where_no_object_is_cut():
    item = mask_item((6, 9, 6, 9, 0))
    assert crop_count(CropWithCountd(["image", "mask"], (10, 10, -1))(item)["image"]) is None
    assert crop_count(CropWithCountd(["image", "mask"], (20, 20, -1))(item)["image"]) is None


def test_a_mask_that_stays_whole_is_not_counted():
    """As in an evaluation, where predictions come back to the mask."""
    item = mask_item((0, 3, 0, 3, 0))
    assert crop_count(CropWithCountd("image", (10, 10, -1))(item)["image"]) is None


def test_classes_of_annotations_are_known():
    image = MetaTensor(torch.zeros(1, 20, 20), meta={"original_affine": torch.eye(4)})
    boxes = {"box": [[0, 0, 3, 3], [9, 9, 11, 11]], "label": ["a", "b"]}
    transform = CropWithCountd("image", (10, 10), classes=["a", "b"])
    assert tuple(crop_count(transform({"image": image, "box": boxes})["image"])) == (2, 0, 1, (20, 20))
