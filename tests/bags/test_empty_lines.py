# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from monai_bbox_mil.bags import BoxPatches, EmptyLines
from tests.reference.naive_mil import in_boxes
from tests.strategies import random_logits, seeds, shapes, targets

CPU = torch.device("cpu")


@given(data=st.data(), shape=shapes, seed=seeds)
def test_empty_lines_are_those_that_meet_no_box(data, shape, seed):
    target = data.draw(targets(shape, 2))
    image = random_logits(seed, 2, 2, *shape)
    lines = EmptyLines(BoxPatches(torch.tensor(target, dtype=torch.float32), image.shape, CPU))
    naive, per_class = [], [0, 0]
    for c in range(2):
        for axis in range(len(shape)):
            for b, rows in enumerate(target):
                for index in range(shape[axis]):
                    pixels = image[b, c].select(axis, index)
                    places = torch.cartesian_prod(*(torch.arange(n) for n in shape)).view(-1, len(shape)).tolist()
                    if not any(in_boxes(rows, place, c, True) for place in places if place[axis] == index):
                        naive.append(pixels.flatten())
                        per_class[c] += 1
    assert lines.per_class == per_class
    assert lines.size.tolist() == [len(line) for line in naive]
    assert torch.allclose(lines.sum(image), torch.stack([torch.zeros(()).double(), *(x.sum() for x in naive)])[1:])
    assert torch.equal(lines.max(image), torch.stack([torch.zeros(()).double(), *(x.max() for x in naive)])[1:])


def test_a_hand_drawn_scene():
    """Put a box in the lower right corner of a 3x3 image: row 0 and column 0 stay empty."""
    patches = BoxPatches(torch.tensor([[[1.0, 1, 3, 3, 0]]]), (1, 1, 3, 3), CPU)
    image = torch.arange(9.0).view(1, 1, 3, 3)
    assert EmptyLines(patches).sum(image).tolist() == [0 + 1 + 2, 0 + 3 + 6]
    assert EmptyLines(patches).max(image).tolist() == [2, 6]


@pytest.mark.parametrize("code", [0, -2])
def test_a_box_over_the_whole_image_leaves_no_empty_line(code):
    patches = BoxPatches(torch.tensor([[[0.0, 0, 3, 3, code]]]), (1, 1, 3, 3), CPU)
    assert EmptyLines(patches).sum(torch.ones(1, 1, 3, 3)).tolist() == []
