# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
"""Losses and training where numbers are as large, as coarse or as many as they can be.

A gradient is *useful* when a step against it corrects the prediction: with every pixel at a logit of -1e4 some pixel of
each missed box has a negative gradient, and with every pixel at 1e4 each pixel outside of the boxes (each empty line)
has a positive one, in both cases no smaller than ``USEFUL``.
"""

from __future__ import annotations

import itertools

import pytest
import torch
from torch import nn

from monai_bbox_mil.losses import BoxSelfTrainingLoss, GeneralizedMILLoss, GlobalConstraintLoss
from monai_bbox_mil.losses.options import NEGATIVES, UNARIES
from monai_bbox_mil.smooth_max import SMOOTH_MAXIMA
from tests.strategies import random_logits

SHAPE = (24, 20)
BOXES = {
    "none": torch.zeros(1, 0, 5),
    "padding": torch.tensor([[[0.0, 0, 0, 0, -1]]]),
    "whole image": torch.tensor([[[0.0, 0, *SHAPE, 0]]]),
    "one pixel": torch.tensor([[[7.0, 9, 8, 10, 0]]]),
    "two": torch.tensor([[[2.0, 3, 9, 8, 0], [11.0, 9, 22, 17, 0]]]),
}
PIXEL_TYPES = [torch.float16, torch.bfloat16, torch.float32]
SYSTEMS = [
    {"smooth_max": smooth_max, "unary": unary, "negatives": negatives}
    for smooth_max, unary, negatives in itertools.product(SMOOTH_MAXIMA, UNARIES, NEGATIVES)
]
# Before it is divided by the number of bags and carried back to a float16 logit, a wrong pixel's gradient is of the
# order of its weight. It may be spread over a line of pixels and is divided by all lines of the image.
USEFUL = 1e-5


def named(options):
    return "-".join(options.values())


def outside_of(boxes):
    outside = torch.ones(SHAPE, dtype=torch.bool)
    for low_0, low_1, high_0, high_1, code in boxes[0].long().tolist():
        if code >= 0:
            outside[low_0:high_0, low_1:high_1] = False
    return outside


def value_and_gradient(loss, logits, target):
    value = loss(logits, target)
    value.backward()
    assert value.dtype == torch.float32
    assert torch.isfinite(value)
    assert torch.isfinite(logits.grad).all()
    return value, logits.grad.float()


@pytest.mark.parametrize("options", SYSTEMS, ids=named)
@pytest.mark.parametrize("pixel_type", PIXEL_TYPES, ids=str)
@pytest.mark.parametrize("boxes", BOXES)
def test_mil_of_saturated_logits_corrects_what_is_wrong(options, pixel_type, boxes):
    target, outside = BOXES[boxes], outside_of(BOXES[boxes])
    loss = GeneralizedMILLoss(**options)
    missed = torch.full((1, 1, *SHAPE), -1e4, dtype=pixel_type, requires_grad=True)
    gradient = value_and_gradient(loss, missed, target)[1][0, 0]
    for low_0, low_1, high_0, high_1, code in target[0].long().tolist():
        if code >= 0:
            assert gradient[low_0:high_0, low_1:high_1].min() <= -USEFUL, "nothing pulls a missed object back"
    assert (gradient[outside] >= 0).all()
    false = torch.full((1, 1, *SHAPE), 1e4, dtype=pixel_type, requires_grad=True)
    gradient = value_and_gradient(loss, false, target)[1][0, 0]
    if options["negatives"] == "pixels":
        assert (gradient[outside] >= USEFUL).all(), "a false pixel is let be"
    else:
        for axis in (0, 1):
            empty = outside.all(axis)
            assert (gradient.amax(axis)[empty] >= USEFUL).all(), "a false line is let be"
    assert (gradient[~outside] <= USEFUL).all(), "what is right is pushed away"


@pytest.mark.parametrize("options", SYSTEMS, ids=named)
@pytest.mark.parametrize("pixel_type", PIXEL_TYPES, ids=str)
def test_mil_of_logits_of_both_signs_corrects_what_is_wrong(options, pixel_type):
    """Everything is wrong: the boxes are empty and the rest is full."""
    target, outside = BOXES["two"], outside_of(BOXES["two"])
    logits = torch.where(outside, 1e4, -1e4).to(pixel_type)[None, None].requires_grad_()
    value, gradient = value_and_gradient(GeneralizedMILLoss(**options), logits, target)
    assert value > 10
    for low_0, low_1, high_0, high_1, _ in target[0].long().tolist():
        lines = gradient[0, 0, low_0:high_0, low_1:high_1]
        assert lines.amin(0).max() <= -USEFUL, "a line of a missed box is let be"
        assert lines.amin(1).max() <= -USEFUL, "a line of a missed box is let be"
    assert gradient[0, 0][outside].max() >= USEFUL


@pytest.mark.parametrize("pixel_type", PIXEL_TYPES, ids=str)
@pytest.mark.parametrize("boxes", BOXES)
@pytest.mark.parametrize("size", [-1e4, 1e4])
def test_self_training_of_saturated_logits_corrects_what_the_teacher_and_the_boxes_know(pixel_type, boxes, size):
    """The student says everywhere what the teacher, as far as the boxes let it, says nowhere."""
    target, outside = BOXES[boxes], outside_of(BOXES[boxes])
    logits = torch.full((1, 1, *SHAPE), size, dtype=pixel_type, requires_grad=True)
    loss = BoxSelfTrainingLoss(GeneralizedMILLoss())
    loss.teacher = -logits.detach()
    gradient = value_and_gradient(loss, logits, target)[1][0, 0]
    if size > 0:
        assert (gradient[outside] >= USEFUL).all(), "a false pixel is let be"
    for low_0, low_1, high_0, high_1, code in target[0].long().tolist():
        if code >= 0 and size < 0:
            assert gradient[low_0:high_0, low_1:high_1].min() <= -USEFUL, "nothing pulls a missed object back"


@pytest.mark.parametrize("pixel_type", PIXEL_TYPES, ids=str)
@pytest.mark.parametrize("boxes", BOXES)
@pytest.mark.parametrize("size", [-1e4, 1e4])
def test_global_constraint_of_saturated_logits_is_finite(pixel_type, boxes, size):
    """Its constraints are on probabilities: at 1e4 no gradient is left, as its documentation says."""
    logits = torch.full((1, 1, *SHAPE), size, dtype=pixel_type, requires_grad=True)
    gradient = value_and_gradient(GlobalConstraintLoss(), logits, BOXES[boxes])[1]
    assert (gradient == 0).all()


@pytest.mark.parametrize("pixel_type", PIXEL_TYPES, ids=str)
@pytest.mark.parametrize("size", [-8.0, 8.0])
def test_global_constraint_of_sure_logits_corrects_what_is_wrong(pixel_type, size):
    """At a probability of 0.0003 from the right one, float16 still has a gradient."""
    target, outside = BOXES["two"], outside_of(BOXES["two"])
    logits = torch.full((1, 1, *SHAPE), size, dtype=pixel_type, requires_grad=True)
    gradient = value_and_gradient(GlobalConstraintLoss(), logits, target)[1][0, 0]
    if size < 0:
        assert (gradient[~outside] < 0).all()
    else:
        assert (gradient[outside] > 0).all()


def ten_thousand_boxes():
    low = torch.cartesian_prod(torch.arange(100.0), torch.arange(100.0))
    size = 1 + torch.arange(10_000)[:, None] % torch.tensor([7, 5])
    return torch.cat([low, (low + size).clamp(max=100), torch.zeros(10_000, 1)], dim=1)[None]


LOSSES = {
    **{named(options): GeneralizedMILLoss(**options) for options in SYSTEMS},
    "global constraint": GlobalConstraintLoss(),
    "self-training": BoxSelfTrainingLoss(GeneralizedMILLoss(), box_weight=1.0),
}


@pytest.mark.parametrize("pixel_type", PIXEL_TYPES, ids=str)
@pytest.mark.parametrize("name", LOSSES)
def test_ten_thousand_boxes(name, pixel_type):
    loss, logits = LOSSES[name], random_logits(0, 1, 1, 104, 101, scale=100).to(pixel_type).requires_grad_()
    if isinstance(loss, BoxSelfTrainingLoss):
        loss.teacher = -logits.detach()
    gradient = value_and_gradient(loss, logits, ten_thousand_boxes())[1][0, 0]
    assert (gradient[:100, :100] < 0).any(), "nothing pulls a missed object back"


@pytest.mark.parametrize(
    ("name", "amp_type"),
    [
        (named(SYSTEMS[0]), torch.bfloat16),
        (named(SYSTEMS[0]), torch.float16),
        (named(SYSTEMS[-1]), torch.bfloat16),
        ("global constraint", torch.bfloat16),
        ("self-training", torch.float16),
    ],
    ids=str,
)
def test_500_steps_of_half_precision_hold_no_nan(name, amp_type):
    """At ten times the learning rate of train.yaml, with every kind of box in turn."""
    network = nn.Sequential(
        nn.Conv2d(1, 8, 3, padding=1), nn.InstanceNorm2d(8), nn.ReLU(), nn.Conv2d(8, 1, 3, padding=1)
    )
    optimizer, loss, scaler = torch.optim.Adam(network.parameters(), lr=0.01), LOSSES[name], torch.amp.GradScaler("cpu")
    rounds, losses = itertools.cycle(BOXES.values()), []
    for _ in range(500):
        target = next(rounds)
        image = torch.randn(1, 1, *SHAPE)
        image[0, 0][~outside_of(target)] += 2
        with torch.autocast("cpu", amp_type):
            logits = network(image)
            if isinstance(loss, BoxSelfTrainingLoss):
                loss.teacher = logits.detach()
            value = loss(logits, target)
        optimizer.zero_grad()
        scaler.scale(value).backward()
        scaler.step(optimizer)
        scaler.update()
        losses.append(value.item())
        assert torch.isfinite(value)
    assert all(torch.isfinite(p).all() for p in network.parameters())
    assert scaler.get_scale() >= 1, "most steps were left out, because their gradients overflowed"
    assert sum(losses[-50:]) < sum(losses[:50])
