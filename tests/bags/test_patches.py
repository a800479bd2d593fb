# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st

from monai_bbox_mil.bags import BoxPatches
from monai_bbox_mil.bags.patches import LANES
from monai_bbox_mil.boxes import boxes_to_mask
from tests.strategies import shapes, targets

CPU = torch.device("cpu")


@given(data=st.data(), shape=shapes)
def test_the_slots_of_all_boxes_are_the_pixels_of_the_mask(data, shape):
    target = torch.tensor(data.draw(targets(shape, 2)), dtype=torch.float32)
    patches = BoxPatches(target, (2, 2, *shape), CPU)
    for ignored, slots in ((True, len(patches.pixel)), (False, patches.num_box_slots)):
        covered = torch.zeros(2, 2, *shape)
        covered.view(-1)[patches.pixel[:slots][patches.in_box[:slots] == 1]] = 1
        mask = boxes_to_mask(target, shape, 2, ignored=ignored)
        assert torch.equal(covered.bool(), mask)
        counted = torch.zeros(covered.numel()).index_add_(0, patches.pixel[:slots], patches.counted[:slots])
        assert torch.equal(counted, mask.flatten().float())
    everything = boxes_to_mask(target, shape, 2, ignored=True)
    assert torch.equal(patches.num_outside(), (~everything).transpose(0, 1).flatten(1).sum(1).float())
    nearest = torch.zeros(2, 2, *shape, dtype=torch.bool)
    nearest.view(-1)[patches.pixel_of_box] = True
    assert torch.equal(nearest, everything)


@given(data=st.data(), shape=shapes)
def test_rim_slots_know_whether_they_are_in_the_image(data, shape):
    target = torch.tensor(data.draw(targets(shape, 1)), dtype=torch.float32)
    patches = BoxPatches(target, (2, 1, *shape), CPU)
    for number, (low, size) in enumerate(zip(patches.low.tolist(), patches.size.tolist())):
        slots = int(patches.blocks[number]) * LANES
        first = int(patches.first_slot[number])
        inside = patches.in_image[first : first + slots].view(*(s + 2 for s in size[:-1]), -1)[..., : size[-1] + 2]
        expected = torch.ones(1)
        for axis, (a, n, edge) in enumerate(zip(low, size, shape)):
            on_axis = torch.tensor([float(0 <= a + i < edge) for i in range(-1, n + 1)])
            expected = expected * on_axis.view(*(-1 if i == axis else 1 for i in range(len(shape))))
        assert torch.equal(inside, expected)


def test_a_pixel_in_a_box_and_an_ignored_box_belongs_to_the_box():
    patches = BoxPatches(torch.tensor([[[0.0, 0, 2, 2, -2], [1.0, 1, 3, 3, 0]]]), (1, 1, 4, 4), CPU)
    assert patches.counted[: patches.num_box_slots].sum() == 4
    assert patches.counted.sum() == 4 + 3
