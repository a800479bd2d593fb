# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest
import torch
from monai.losses import DiceFocalLoss

from monai_bbox_mil.losses import BoxOrPixelLoss, GeneralizedMILLoss, dice_cross_entropy
from monai_bbox_mil.pseudo_labels import UNKNOWN


@pytest.mark.parametrize("size", [(9, 11), (5, 6, 7)])
@pytest.mark.parametrize("channels", [1, 3])
def test_pixel_labels_cost_what_monais_dice_and_cross_entropy_cost(size, channels):
    torch.manual_seed(0)
    logits = torch.randn(2, channels, *size, dtype=torch.float64, requires_grad=True)
    label = (torch.rand(2, channels, *size) > 0.6).to(torch.float64)
    label[0, 0] = 0
    ours = BoxOrPixelLoss(GeneralizedMILLoss())(logits, label)
    monai = DiceFocalLoss(sigmoid=True, gamma=0.0)(logits, label)
    torch.testing.assert_close(ours, monai)
    torch.testing.assert_close(*(torch.autograd.grad(loss, logits)[0] for loss in (ours, monai)))


def test_unknown_pixels_count_for_nothing():
    torch.manual_seed(1)
    logits = torch.randn(1, 2, 6, 8, requires_grad=True)
    label = (torch.rand(1, 2, 6, 8) > 0.5).float()
    label[..., 4:] = UNKNOWN
    loss = BoxOrPixelLoss(GeneralizedMILLoss(reduction="sum"))
    value = loss(logits, label)
    kept = label[..., :4]
    torch.testing.assert_close(value, dice_cross_entropy(logits[..., :4], kept, torch.ones_like(kept)).sum())
    (gradient,) = torch.autograd.grad(value, logits)
    assert not gradient[..., 4:].any() and gradient[..., :4].all()
    assert torch.equal(loss.parts["loss"].sum(), value.detach())


def test_an_image_of_unknown_pixels_alone_costs_nothing_and_stays_finite():
    logits = torch.randn(1, 1, 4, 4, requires_grad=True)
    value = BoxOrPixelLoss(GeneralizedMILLoss())(logits, torch.full((1, 1, 4, 4), float(UNKNOWN)))
    value.backward()
    assert value == 0 and not logits.grad.any()


def test_boxes_go_to_the_loss_from_boxes():
    torch.manual_seed(2)
    inner = GeneralizedMILLoss()
    logits, target = torch.randn(1, 1, 8, 8), torch.tensor([[[1.0, 1, 5, 6, 0]]])
    loss = BoxOrPixelLoss(inner)
    assert torch.equal(loss(logits, target), inner(logits, target))
    assert loss.parts.keys() == inner.parts.keys()


def test_half_precision_is_computed_in_float32():
    logits, label = torch.randn(1, 1, 8, 8).bfloat16(), torch.ones(1, 1, 8, 8)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert BoxOrPixelLoss(GeneralizedMILLoss())(logits, label).dtype == torch.float32


def test_labels_that_mean_nothing_are_refused():
    with pytest.raises(ValueError, match=r"target must hold 0, 1 or 255 .* got 2"):
        BoxOrPixelLoss(GeneralizedMILLoss())(torch.zeros(1, 1, 4, 4), torch.full((1, 1, 4, 4), 2.0))
