# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from monai.losses import DiceFocalLoss

from monai_bbox_mil.losses import (
    BoxSelfTrainingLoss,
    GeneralizedMILLoss,
    GlobalConstraintLoss,
    box_level_set,
    box_self_training_loss,
)
from tests.reference.naive_self_training import self_training_terms
from tests.strategies import random_logits, seeds, shapes, targets

TARGET = torch.tensor([[[1.0, 1, 6, 7, 0]], [[0.0, 0, 0, 0, -1]]])


@given(data=st.data(), seed=seeds, shape=shapes, classes=st.integers(1, 2))
def test_equals_the_naive_twin(data, seed, shape, classes):
    target = data.draw(targets(shape, classes))
    logits, teacher = (random_logits(s, 2, classes, *shape) for s in (seed, seed + 1))
    logits.requires_grad_()
    fast = box_self_training_loss(logits, teacher, torch.tensor(target, dtype=torch.float32))
    naive = self_training_terms(logits, teacher, target)
    assert torch.allclose(fast, naive, atol=1e-10, rtol=1e-10)
    gradients = [torch.autograd.grad(terms.sum(), logits)[0] for terms in (fast, naive)]
    assert torch.allclose(*gradients, atol=1e-10, rtol=1e-10)


def test_the_level_set_of_a_blurred_disc_is_the_disc_that_the_box_was_drawn_around():
    """Whatever the blur does to the probabilities, the box finds the level; 0.5 would not."""
    place = torch.arange(40.0) - 19.5
    distance = (place[:, None] ** 2 + place[None] ** 2).sqrt()
    disc = distance <= 12
    prob = (1.4 - distance / 20).clamp(0, 1).expand(1, 1, -1, -1)  # above 0.5 up to a radius of 18
    rows = disc.any(1).nonzero()[:, 0]
    low, high = float(rows.min()), float(rows.max() + 1)
    found = box_level_set(prob, torch.tensor([[[low, low, high, high, 0]]]))[0, 0].bool()
    assert (found & ~disc).sum() + (disc & ~found).sum() <= 0.06 * disc.sum()
    assert (prob[0, 0] >= 0.5).sum() > 2 * disc.sum()


def test_each_box_has_a_level_of_its_own():
    prob = torch.full((1, 1, 4, 9), 0.2)
    prob[0, 0, :, 1:3], prob[0, 0, :, 6:8] = 0.3, 0.8
    found = box_level_set(prob, torch.tensor([[[0.0, 1, 4, 4, 0], [0.0, 5, 4, 8, 0]]]))[0, 0, 0]
    assert found.tolist() == [0, 1, 1, 0, 0, 0, 1, 1, 0]


def test_without_ignored_regions_it_is_the_pixel_wise_loss_of_full_supervision_on_the_level_sets():
    logits, teacher = (random_logits(seed, 2, 1, 9, 9) for seed in (0, 1))
    label = box_level_set(teacher.sigmoid(), TARGET)
    expected = DiceFocalLoss(sigmoid=True, gamma=0.0)(logits, label)
    assert torch.allclose(box_self_training_loss(logits, teacher, TARGET).mean(), expected)


def test_the_teacher_gets_no_gradient_and_is_used_once():
    loss = BoxSelfTrainingLoss(GeneralizedMILLoss(), weight=2.0)
    logits, teacher = (random_logits(seed, 2, 1, 9, 9).requires_grad_() for seed in (0, 1))
    alone = loss(logits, TARGET)
    assert sorted(loss.parts) == ["loss", "pairwise", "unary"]
    loss.teacher = teacher
    both = loss(logits, TARGET)
    both.backward()
    assert teacher.grad is None
    assert torch.allclose(both, alone + 2 * box_self_training_loss(logits, teacher, TARGET).mean())
    assert torch.allclose(loss.parts["loss"].mean(), both.detach())
    assert torch.equal(loss(logits, TARGET), alone)


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_reduction_is_that_of_the_box_loss(reduction):
    loss = BoxSelfTrainingLoss(GlobalConstraintLoss(reduction=reduction))
    logits, teacher = (random_logits(seed, 2, 3, 9, 9) for seed in (0, 1))
    loss.teacher = teacher
    terms = box_self_training_loss(logits, teacher, TARGET)
    with_teacher, alone = loss(logits, TARGET), loss(logits, TARGET)
    expected = {"mean": terms.mean(), "sum": terms.sum(), "none": terms}[reduction]
    assert torch.allclose(with_teacher - alone, expected)


def test_autocast_leaves_the_loss_in_float32():
    loss = BoxSelfTrainingLoss(GeneralizedMILLoss())
    logits, teacher = (random_logits(seed, 2, 1, 9, 9).bfloat16() for seed in (0, 1))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss.teacher = teacher
        half = loss(logits, TARGET)
    loss.teacher = teacher.float()
    assert half.dtype == torch.float32
    assert torch.equal(half, loss(logits.float(), TARGET))


def test_saturated_logits_keep_a_finite_loss_and_gradient():
    logits = torch.full((1, 1, 6, 6), 200.0).requires_grad_()
    target = torch.tensor([[[1.0, 1, 3, 3, 0]]])
    value = box_self_training_loss(logits, -logits.detach(), target)
    value.backward()
    assert torch.isfinite(value).all()
    assert torch.isfinite(logits.grad).all()
    assert (logits.grad[0, 0, 4:] > 0).all()


def test_wrong_arguments_are_told():
    with pytest.raises(ValueError, match="weight must be at least 0, got -1"):
        BoxSelfTrainingLoss(GeneralizedMILLoss(), weight=-1)
    loss = BoxSelfTrainingLoss(GeneralizedMILLoss())
    loss.teacher = torch.zeros(1, 1, 9, 9)
    with pytest.raises(ValueError, match=r"teacher must have the shape of input \(2, 1, 9, 9\), got \(1, 1, 9, 9\)"):
        loss(torch.zeros(2, 1, 9, 9), TARGET)
