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
    check_exact_corners,
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
        (torch.zeros(2, 4), torch.zeros(3), r"classes must have one value per box \(2\), got 3"),
        (torch.zeros(1, 4), torch.tensor([-1]), "classes must be 0-based output channels, got -1"),
    ],
)
def test_pack_raises_an_error_that_names_the_argument(boxes, classes, message):
    with pytest.raises(ValueError, match=message):
        pack_boxes(boxes, classes)


def test_snap_tolerates_only_rounding_errors():
    boxes = torch.tensor([[0.9999999, 2.0000001, 4.0000001, 6.9999999], [0.9, 2.1, 4.1, 6.9]])
    assert snap_boxes(boxes).tolist() == [[1, 2, 4, 7], [0, 2, 5, 7]]


def test_clip_flags_the_boxes_that_remain():
    clipped, left = clip_boxes(torch.tensor([[-3.0, 1, 2, 9], [5.0, 0, 7, 2], [1.0, 1, 2, 2]]), (4, 5))
    assert clipped[left].tolist() == [[0, 1, 2, 5], [1, 1, 2, 2]]


def test_slicing_keeps_the_boxes_that_cover_the_slice():
    volume = torch.tensor([[0.0, 1, 2, 3, 4, 5, 0], [1.0, 1, 4, 2, 2, 6, -2]])
    assert slice_box_tensor(volume, 2).tolist() == [[0, 1, 3, 4, 0]]
    assert slice_box_tensor(volume, 4).tolist() == [[0, 1, 3, 4, 0], [1, 1, 2, 2, -2]]
    assert slice_box_tensor(volume, 6).shape == (0, 5)
    assert slice_box_tensor(volume, 1, dim=0).tolist() == [[1, 2, 4, 5, 0], [1, 4, 2, 6, -2]]


@pytest.mark.parametrize("dim", range(3))
def test_a_fractional_box_covers_the_same_slices_as_the_snapped_box(dim):
    generator = torch.Generator().manual_seed(0)
    low = 8 * torch.rand(50, 3, generator=generator)
    volume = pack_boxes(torch.cat([low, low + 0.1 + 4 * torch.rand(50, 3, generator=generator)], 1), torch.arange(50))
    filled = boxes_to_mask(volume[None], (13, 13, 13), 50)[0]
    for index in range(13):
        rows = slice_box_tensor(volume, index, dim)
        assert rows[:, -1].tolist() == filled.select(dim + 1, index).flatten(1).any(1).nonzero()[:, 0].tolist()


def test_mirrored_boxes_cover_mirrored_slices():
    volume = torch.tensor([[3.0, 3, 3.5, 5, 5, 7.5, 0], [3.0, 3, 2.9995, 5, 5, 7.0004, 1]])
    mirrored = volume.clone()
    mirrored[:, 2], mirrored[:, 5] = 11 - volume[:, 5], 11 - volume[:, 2]
    for index in range(11):
        assert torch.equal(slice_box_tensor(volume, index), slice_box_tensor(mirrored, 10 - index))


@pytest.mark.parametrize(
    ("dtype", "fits", "too_large"),
    [(torch.bfloat16, 256, 257), (torch.float16, 2048, 2049), (torch.uint8, 255, 256), (torch.int8, 127, 128)],
)
def test_types_that_cannot_represent_all_corners_are_rejected(dtype, fits, too_large):
    box = torch.tensor([[[0, 1, 100, 100, 0]]], dtype=dtype)
    for shape in ((fits, 100), (100, fits)):
        check_exact_corners(box, shape)
        assert boxes_to_mask(box, shape, 1).sum() == 9900
    for shape in ((too_large, 100), (100, too_large)):
        with pytest.raises(ValueError, match=rf"target must be float32 .*, got {dtype}, .* above {fits}\."):
            check_box_tensor(box, shape, 1)
        with pytest.raises(ValueError, match=rf"box_tensor must be float32 .*, got {dtype}, .* above {fits}\."):
            boxes_to_mask(box, shape, 1)
    for wide in (torch.float32, torch.float64, torch.int32, torch.int64):
        check_exact_corners(box.to(wide), (4096, 4096))


def test_a_batch_of_several_types_keeps_all_numbers_exact():
    whole, fraction = torch.tensor([[1, 2, 3, 4, 0]]), torch.tensor([[0.5, 1, 2, 3, 0]])
    for order in ([whole, fraction], [fraction, whole]):
        assert [float(rows[0, 0]) for rows in batch_box_tensors(order)] == [float(t[0, 0]) for t in order]


def test_batches_keep_every_box():
    tensors = [torch.ones(3, 5), torch.empty(0, 5), 2 * torch.ones(1, 5)]
    batch = batch_box_tensors(tensors)
    assert batch.shape == (3, 3, 5)
    assert [int((rows[:, -1] != -1).sum()) for rows in batch] == [3, 0, 1]
    assert batch_box_tensors([torch.empty(0, 7)]).tolist() == [[[0, 0, 0, 0, 0, 0, -1]]]
    with pytest.raises(ValueError, match=r"box_tensors must all have 5 columns .* got \[5, 7\]"):
        batch_box_tensors([torch.ones(1, 5), torch.ones(1, 7)])


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ([float("nan"), 0, 1, 1, 0], r"target\[0, 1\] must contain finite numbers"),
        ([2, 0, 2, 1, 0], r"target\[0, 1\] must have min < max on every axis, got \[2.0, 0.0, 2.0, 1.0, 0.0\]"),
        ([-1, 0, 2, 1, 0], r"must lie inside the image of size \(4, 5\)"),
        ([0, 0, 5, 1, 0], r"must lie inside the image of size \(4, 5\)"),
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
    with pytest.raises(ValueError, match=r"box_tensor must have classes 0..0, got 1"):
        boxes_to_mask(target, (3, 4), 1)
