# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
"""Images that are made here, and their boxes."""

from __future__ import annotations

import numpy as np

SHAPE = (40, 48, 6)
AFFINE = np.array([[-1.5, 0, 0, 30], [0, 1.5, 0, -20], [0, 0, 4, 5], [0, 0, 0, 1.0]])  # x runs to the right: LPS
NAMES = ("a", "b", "c", "d", "e")


def make_case(number):
    """An image with one bright ellipsoid, and its mask, ``(40, 48, 6)``."""
    random = np.random.default_rng(number)
    centre, radius = random.uniform([14, 16, 2], [26, 32, 3]), random.uniform([6, 6, 2], [10, 11, 3])
    mask = (((np.indices(SHAPE).T - centre) / radius) ** 2).sum(-1).T < 1
    return (100 + 80 * mask + random.normal(0, 15, SHAPE)).astype(np.float32), mask.astype(np.uint8)


def slice_boxes(mask):
    """Tight box of each slice, half-open voxel indices."""
    boxes = []
    for z in np.flatnonzero(mask.any((0, 1))):
        x, y = (np.flatnonzero(mask[..., z].any(axis)) for axis in (1, 0))
        boxes.append([int(x[0]), int(y[0]), int(z), int(x[-1]) + 1, int(y[-1]) + 1, int(z) + 1])
    return boxes


def slicer_markups(boxes, affine=AFFINE):
    """The boxes as 3D Slicer writes regions of interest: centre and size, LPS mm."""
    ras_to_lps = np.diag([-1, -1, 1])
    markups = []
    for box in np.asarray(boxes, dtype=float):
        corners = np.stack([box[:3], box[3:]]) - 0.5  # edges, where voxel centres are whole numbers
        world = (corners @ affine[:3, :3].T + affine[:3, 3]) @ ras_to_lps
        markups.append(
            {
                "type": "ROI",
                "coordinateSystem": "LPS",
                "roiType": "Box",
                "center": world.mean(0).tolist(),
                "orientation": [1, 0, 0, 0, 1, 0, 0, 0, 1],
                "size": np.abs(world[1] - world[0]).tolist(),
            }
        )
    return {"markups": markups}


def mask_of(name):
    return make_case(NAMES.index(name))[1]


def dice(first, second):
    return 2 * np.logical_and(first, second).sum() / (np.sum(first > 0) + np.sum(second > 0))
