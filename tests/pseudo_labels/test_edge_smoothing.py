# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from itertools import product

import pytest
import torch

from monai_bbox_mil.pseudo_labels import joint_bilateral_filter, smooth_logits
from tests.reference.naive_pseudo_labels import joint_bilateral_at


@pytest.mark.parametrize(
    ("size", "spacing", "sigma"),
    [((7, 9), None, 1.5), ((7, 9), (1.0, 2.0), 1.0), ((5, 6, 4), (1.0, 1.0, 1.0), 1.0), ((5, 6, 4), (1, 1, 9), 1.5)],
)
def test_each_pixel_is_the_weighted_mean_of_its_neighbours(size, spacing, sigma):
    generator = torch.Generator().manual_seed(len(size))
    values, guide = (torch.randn(channels, *size, generator=generator) for channels in (2, 3))
    smoothed = joint_bilateral_filter(values, guide, sigma, 0.4, spacing)
    steps = [1.0] * len(size) if spacing is None else [s / min(spacing) for s in spacing]
    scaled = guide / guide.std(correction=0)
    for channel, place in product(range(2), product(*(range(n) for n in size))):
        expected = joint_bilateral_at(values[channel], scaled, place, sigma, 0.4, steps)
        assert float(smoothed[channel][place]) == pytest.approx(expected, abs=1e-5)


def test_nothing_crosses_an_edge_of_the_image():
    guide = torch.zeros(1, 8, 8)
    guide[..., 4:] = 1
    values = torch.rand(1, 8, 8)
    values[..., 4:] += 10
    smoothed = joint_bilateral_filter(values, guide, 1.5, 0.2)
    assert smoothed[..., :4].max() < 1.5
    assert smoothed[..., 4:].min() > 10


def test_slices_far_apart_and_unlike_units_do_not_matter():
    values, guide = torch.rand(1, 6, 6, 3), torch.rand(1, 6, 6, 3)
    apart = joint_bilateral_filter(values, guide, 1.0, 0.3, (1, 1, float("inf")))
    changed = values.clone()
    changed[..., 2] = 99
    assert torch.equal(apart[..., :2], joint_bilateral_filter(changed, guide, 1.0, 0.3, (1, 1, float("inf")))[..., :2])
    scale = guide.std(correction=0)
    for z in range(3):
        alone = joint_bilateral_filter(
            values[..., z], guide[..., z], 1.0, float(0.3 * scale / guide[..., z].std(correction=0))
        )
        torch.testing.assert_close(apart[..., z], alone)
    torch.testing.assert_close(joint_bilateral_filter(values, 1000 * guide, 1.0, 0.3, (1, 1, float("inf"))), apart)


def test_a_constant_image_and_a_constant_map_stay_finite_and_constant():
    smoothed = joint_bilateral_filter(torch.full((1, 5, 5), 3.0), torch.zeros(1, 5, 5))
    torch.testing.assert_close(smoothed, torch.full((1, 5, 5), 3.0))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"sigma": 0.0}, "sigma and intensity_sigma must be positive"),
        ({"intensity_sigma": -1.0}, "sigma and intensity_sigma must be positive"),
        ({"guide": torch.zeros(1, 4, 5)}, "guide must have the size"),
        ({"spacing": (1.0,)}, "spacing must hold 2 positive numbers"),
    ],
)
def test_what_is_refused(options, message):
    with pytest.raises(ValueError, match=message):
        joint_bilateral_filter(**{"values": torch.zeros(1, 4, 4), "guide": torch.zeros(1, 4, 4), **options})


@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("sigma", [0.7, 1.5])
def test_the_rectangle_around_boxes_is_smoothed_as_in_the_whole_image(dims, sigma):
    generator = torch.Generator().manual_seed(dims)
    logits, images = torch.randn(2, 2, 2, *(14, 15, 9)[:dims], generator=generator)
    ends = {2: [(4, 3, 9, 12), (5, 2, 7, 15)], 3: [(4, 3, 1, 9, 12, 4), (5, 2, 0, 7, 15, 9)]}[dims]
    target = torch.tensor([[[*box, 0.0], [-1.0] * (2 * dims + 1)] for box in ends])
    spacing = None if dims == 3 else (1.0, 1.2, 1.4)
    whole = smooth_logits(logits, images, sigma, 0.3, spacing)
    part = smooth_logits(logits, images, sigma, 0.3, spacing, target)
    for one, other, box in zip(whole, part, ends):
        inside = (slice(None), *map(slice, box[:dims], box[dims:]))
        assert torch.equal(one[inside], other[inside])
    assert torch.equal(part[..., :2, :2] if dims == 2 else part[:, :, :2, :2], logits[:, :, :2, :2])
    assert torch.equal(smooth_logits(logits, images, sigma, 0.3, spacing, -torch.ones_like(target)), logits)
