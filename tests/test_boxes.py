# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from monai_bbox_mil.boxes import (
    batch_box_tensors,
    boxes_to_mask,
    check_box_tensor,
    clip_boxes,
    pack_boxes,
    slice_box_tensor,
    snap_boxes,
    unpack_boxes,
)
from tests.strategies import targets


@given(rows=st.data())
def test_unpack_is_the_inverse_of_pack(rows):
    target = torch.tensor(rows.draw(targets((5, 6), 3, batch=1)), dtype=torch.float32)[0]
    boxes, classes, ignored = unpack_boxes(target)
    assert torch.equal(pack_boxes(boxes, classes, ignored), target[target[:, -1] != -1])


@pytest.mark.parametrize(
    ("boxes", "classes", "message"),
    [
        (torch.zeros(2, 5), torch.zeros(2), r"boxes must have the shape \(N, 4\) or \(N, 6\), got \(2, 5\)"),
        (torch.zeros(2, 4), torch.zeros(3), r"classes must hold one value a box \(2\), got 3"),
        (torch.zeros(1, 4), torch.tensor([-1]), "classes must be 0-based output channels, got -1"),
    ],
)
def test_pack_tells_what_is_wrong(boxes, classes, message):
    with pytest.raises(ValueError, match=message):
        pack_boxes(boxes, classes)


def test_snap_forgives_rounding_errors_only():
    boxes = torch.tensor([[0.9999999, 2.0000001, 4.0000001, 6.9999999], [0.9, 2.1, 4.1, 6.9]])
    assert snap_boxes(boxes).tolist() == [[1, 2, 4, 7], [0, 2, 5, 7]]


def test_clip_names_the_boxes_that_are_left():
    clipped, left = clip_boxes(torch.tensor([[-3.0, 1, 2, 9], [5.0, 0, 7, 2], [1.0, 1, 2, 2]]), (4, 5))
    assert clipped[left].tolist() == [[0, 1, 2, 5], [1, 1, 2, 2]]


def test_a_slice_gets_the_boxes_that_cover_it():
    volume = torch.tensor([[0.0, 1, 2, 3, 4, 5, 0], [1.0, 1, 4, 2, 2, 6, -2]])
    assert slice_box_tensor(volume, 2).tolist() == [[0, 1, 3, 4, 0]]
    assert slice_box_tensor(volume, 4).tolist() == [[0, 1, 3, 4, 0], [1, 1, 2, 2, -2]]
    assert slice_box_tensor(volume, 6).shape == (0, 5)
    assert slice_box_tensor(volume, 1, dim=0).tolist() == [[1, 2, 4, 5, 0], [1, 4, 2, 6, -2]]


def test_batches_keep_every_box():
    tensors = [torch.ones(3, 5), torch.empty(0, 5), 2 * torch.ones(1, 5)]
    batch = batch_box_tensors(tensors)
    assert batch.shape == (3, 3, 5)
    assert [int((rows[:, -1] != -1).sum()) for rows in batch] == [3, 0, 1]
    assert batch_box_tensors([torch.empty(0, 7)]).tolist() == [[[0, 0, 0, 0, 0, 0, -1]]]
    with pytest.raises(ValueError, match=r"all have 5 or all have 7 columns, got \[5, 7\]"):
        batch_box_tensors([torch.ones(1, 5), torch.ones(1, 7)])


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ([float("nan"), 0, 1, 1, 0], r"target\[0, 1\] must hold finite numbers"),
        ([2, 0, 2, 1, 0], r"target\[0, 1\] must hold min < max on every axis, got \[2.0, 0.0, 2.0, 1.0, 0.0\]"),
        ([-1, 0, 2, 1, 0], r"a box inside the image of size \(4, 5\)"),
        ([0, 0, 5, 1, 0], r"a box inside the image of size \(4, 5\)"),
        ([0, 0, 2, 1, 2], r"a class in 0..1, -1 or ignored"),
        ([0, 0, 2, 1, 0.5], r"a class in 0..1, -1 or ignored"),
        ([0, 0, 2, 1, -4], r"a class in 0..1, -1 or ignored"),
    ],
)
def test_check_names_the_row(row, message):
    target = torch.tensor([[[0.0, 0, 4, 5, 1], row], [[0.0, 0, 1, 1, -3], [9.0, 9, 9, 9, -1]]])
    with pytest.raises(ValueError, match=message):
        check_box_tensor(target, (4, 5), 2)


def test_masks_of_boxes():
    target = torch.tensor([[[0.0, 1, 2, 3, 0], [1.0, 2, 3, 4, 0], [0.0, 0, 1, 1, -2], [0.0, 0, 3, 1, 1]]])
    mask = boxes_to_mask(target, (3, 4), 2)[0].int()
    assert mask[0].tolist() == [[0, 1, 1, 0], [0, 1, 1, 1], [0, 0, 1, 1]]
    assert mask[1].tolist() == [[1, 0, 0, 0]] * 3
    assert boxes_to_mask(target, (3, 4), 2, ignored=True)[0, 0, 0].int().tolist() == [1, 1, 1, 0]
    with pytest.raises(ValueError, match=r"box_tensor must have the shape \(B, N, 7\), got \(1, 4, 5\)"):
        boxes_to_mask(target, (3, 4, 5), 2)
    with pytest.raises(ValueError, match=r"box_tensor holds class 1, expected 0..0"):
        boxes_to_mask(target, (3, 4), 1)
