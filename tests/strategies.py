# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
"""Random boxes, objects and logits for property tests."""

from __future__ import annotations

import numpy as np
import torch
from hypothesis import strategies as st


@st.composite
def boxes(draw, shape):
    """Draw one box inside an image of this shape: ``2*D`` whole numbers."""
    low = [draw(st.integers(0, size - 1)) for size in shape]
    return low + [draw(st.integers(a + 1, size)) for a, size in zip(low, shape)]


@st.composite
def targets(draw, shape, num_classes, batch=2, max_boxes=3):
    """Draw a batch's rows as a nested list, with padding and ignored regions among them."""
    codes = st.sampled_from([*range(num_classes), -1, *(-2 - c for c in range(num_classes))])
    rows = draw(st.integers(1, max_boxes))
    return [[[*draw(boxes(shape)), draw(codes)] for _ in range(rows)] for _ in range(batch)]


shapes = st.one_of(
    st.tuples(st.integers(1, 9), st.integers(1, 9)),
    st.tuples(st.integers(1, 4), st.integers(1, 4), st.integers(1, 4)),
)
_ANGLES = (-75.0, -60.0, -45.0, -40.0, -20.0, 10.0, 20.0, 40.0, 45.0, 60.0, 80.0)
# Increasing, so that a list of three is not read as a range; with 0, so that every box has lines.
angle_sets = st.lists(st.sampled_from(_ANGLES), max_size=3, unique=True).map(lambda angles: sorted([0.0, *angles]))
seeds = st.integers(0, 2**31 - 1)


def random_logits(seed, *shape, scale=2.0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, dtype=torch.float64, generator=generator) * scale


def random_object(seed, size):
    """Return the voxels of a 4-connected object (6-connected in 3D), by a random walk inside a box of ``size``."""
    rng = np.random.default_rng(seed)
    place = [int(rng.integers(s)) for s in size]
    visited = {tuple(place)}
    for _ in range(int(rng.integers(1, 6 * max(size)))):
        axis = int(rng.integers(len(size)))
        place[axis] = int(np.clip(place[axis] + rng.choice([-1, 1]), 0, size[axis] - 1))
        visited.add(tuple(place))
    return visited


def tight_box(voxels):
    points = np.array(sorted(voxels))
    return [*points.min(0).tolist(), *(points.max(0) + 1).tolist()]


def label_studio_tasks(values, numbers):
    """Lists of tasks for the image ``a.nii``, with any values and numbers in any place."""
    kinds = st.sampled_from(["rectanglelabels", "polygonlabels", "ellipselabels", "brushlabels", "labels", "rectangle"])
    sides = {key: st.one_of(numbers, values) for key in ("x", "y", "width", "height", "radiusX", "radiusY")}
    others = dict.fromkeys(("points", "rotation", "rle", "format", "rectanglelabels", "polygonlabels"), values)
    regions = st.fixed_dictionaries(
        {"type": st.one_of(kinds, values), "value": st.one_of(values, st.fixed_dictionaries(sides, optional=others))},
        optional=dict.fromkeys(("id", "original_width", "original_height", "image_rotation"), values),
    )
    annotations = st.lists(st.fixed_dictionaries({"result": st.one_of(values, st.lists(regions))}), max_size=2)
    data = st.one_of(values, st.just({"image": "/data/a.nii"}))
    task = {"data": data, "annotations": st.one_of(values, annotations)}
    return st.lists(st.fixed_dictionaries(task, optional={"predictions": values}), max_size=2)
