# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
"""Pixel labels in one call."""

from __future__ import annotations

import pytest
import torch

from monai_bbox_mil.pseudo_labels import UNKNOWN, BoxHeights, PseudoLabelFitter, fit_pseudo_labels, smooth_logits


@pytest.mark.parametrize("size", [(12, 14), (10, 12, 6)])
@pytest.mark.parametrize("sigma", [0, 1.0])
def test_one_call_equals_its_parts(size, sigma):
    generator = torch.Generator().manual_seed(len(size))
    logits, images = torch.randn(2, 2, 2, *size, generator=generator)
    low, high = [2.0] * len(size), [6.0] * len(size)
    target = torch.tensor([[[*low, *high, 0], [*low, *high, 1]], [[*low, *high, 1], [*low, *high, -1]]])
    fitter = PseudoLabelFitter(2)
    heights = BoxHeights.of(smooth_logits(logits, images, sigma, 0.3), target)
    fitter.learn([heights])
    assert torch.equal(fit_pseudo_labels(logits, images, target, None, sigma, 0.3), fitter.fit(heights))
    assert torch.equal(fit_pseudo_labels(logits, images, target, fitter, sigma, 0.3), fitter.fit(heights))


def test_boxes_are_snapped_and_clipped_and_ignored_regions_unknown():
    logits, images = torch.ones(1, 1, 8, 8), torch.zeros(1, 1, 8, 8)
    target = torch.tensor([[[0.4, -2, 3.2, 2.5, 0], [4, 4, 9, 9, -2], [20, 20, 30, 30, 0]]])
    labels = fit_pseudo_labels(logits, images, target)
    assert (labels[0, 0, :4, :3] == 1).any() and not (labels[0, 0, 4:, :4] == 1).any()
    assert (labels[0, 0, 4:, 4:] == UNKNOWN).all()
    assert labels[0, 0].eq(1).nonzero().amin(0).tolist() == [0, 0]
    assert labels[0, 0].eq(1).nonzero().amax(0).tolist() == [3, 2]


def test_slices_are_smoothed_across_only_if_their_distance_is_known():
    values, images = torch.zeros(3, 1, 5, 5), torch.zeros(3, 1, 5, 5)
    values[1, 0, 2, 2] = 1
    assert not smooth_logits(values, images)[[0, 2]].any()
    assert smooth_logits(values, images, spacing=(1, 1, 1))[[0, 2]].any()
