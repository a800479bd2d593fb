# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
"""Outlines and runs, and the pixels that they enclose."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from monai_bbox_mil.exports.outlines import outline, rings
from monai_bbox_mil.exports.run_lengths import brush_runs, counts
from tests.exports.predictions import filled, picture


def random_objects():
    for seed in range(40):
        rng = np.random.default_rng(seed)
        components, count = ndimage.label(rng.random((13, 9)) < rng.uniform(0.4, 0.9))
        for number in range(1, count + 1):
            yield components == number


def test_an_outline_encloses_the_pixels_of_its_object():
    for region in random_objects():
        polygon = outline(region)
        assert np.array_equal(filled(polygon, region.shape), region)
        assert (np.abs(np.diff(polygon, axis=0, append=polygon[:1])) > 0).sum(axis=1).tolist() == [1] * len(polygon)
        assert [*polygon.min(axis=0), *polygon.max(axis=0)] == [
            *np.argwhere(region).min(axis=0),
            *(np.argwhere(region).max(axis=0) + 1),
        ]


def test_the_area_of_an_outline_is_the_number_of_pixels():
    """Also where edges touch, which a test of pixel centres cannot see."""
    for region in random_objects():
        x, y = outline(region).T
        assert (x @ np.roll(y, -1) - y @ np.roll(x, -1)) / 2 == region.sum()


def test_an_object_has_one_outer_ring_and_a_ring_per_hole():
    for region in random_objects():
        outside, count = ndimage.label(np.pad(~region, 1, constant_values=True), np.ones((3, 3)))
        assert len(rings(region)) == count


def test_a_pinched_hole_stays_two_pixels():
    region = np.ones((4, 4), dtype=bool)
    region[1, 1] = region[2, 2] = False
    assert np.array_equal(filled(outline(region), (4, 4)), region)


def decoded_brush(data: list[int]) -> np.ndarray:
    """Bytes of an RGBA picture, as Label Studio unpacks them."""
    bits, at = "".join(f"{byte:08b}" for byte in data), 0

    def read(count: int) -> int:
        nonlocal at
        at += count
        return int(bits[at - count : at], 2)

    size, word, lengths = read(32), read(5) + 1, [read(4) + 1 for _ in range(4)]
    values: list[int] = []
    while len(values) < size:
        repeated, length = read(1), read(lengths[read(2)]) + 1
        values += [read(word)] * length if repeated else [read(word) for _ in range(length)]
    return np.array(values)


@pytest.mark.parametrize("shape", [(1, 1), (7, 5), (300, 260)])
def test_a_brush_holds_the_mask_row_by_row(shape):
    mask = np.random.default_rng(0).random(shape) < 0.5
    mask[: shape[0] // 2] = True
    picture_bytes = decoded_brush(brush_runs(mask)).reshape(shape[1], shape[0], 4)
    assert np.array_equal(picture_bytes[..., 3] > 0, mask.T)


def test_runs_begin_with_zeros_and_go_down_the_columns():
    mask = picture() > 0
    values = np.repeat(np.arange(len(counts(mask))) % 2, counts(mask))
    assert np.array_equal(values.reshape(mask.shape) > 0, mask)
    assert counts(np.ones((2, 3), dtype=bool)) == [0, 6] and counts(np.zeros((2, 3), dtype=bool)) == [6]
