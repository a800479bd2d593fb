# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import math
from fractions import Fraction
from itertools import product

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from monai.losses import DiceFocalLoss

from monai_bbox_mil.boxes import batch_box_tensors
from monai_bbox_mil.losses import (
    BoxSelfTrainingLoss,
    GeneralizedMILLoss,
    GlobalConstraintLoss,
    box_level_set,
    box_self_training_loss,
)
from monai_bbox_mil.transforms import MaskToBoxTensor
from tests.reference.naive_self_training import self_training_terms
from tests.strategies import random_logits, seeds, shapes, targets

TARGET = torch.tensor([[[1.0, 1, 6, 7, 0]], [[0.0, 0, 0, 0, -1]]])


@given(
    data=st.data(),
    seed=seeds,
    shape=shapes,
    classes=st.integers(1, 2),
    roundness=st.sampled_from([0.0, 2.0]),
    core=st.sampled_from([1.0, 0.6]),
    outside_weight=st.sampled_from([1.0, 5.0]),
)
def test_equals_the_naive_twin(data, seed, shape, classes, roundness, core, outside_weight):
    target = data.draw(targets(shape, classes))
    logits, teacher = (random_logits(s, 2, classes, *shape) for s in (seed, seed + 1))
    logits.requires_grad_()
    options = (roundness, core, outside_weight)
    fast = box_self_training_loss(logits, teacher, torch.tensor(target, dtype=torch.float32), *options)
    naive = self_training_terms(logits, teacher, target, *options)
    assert torch.allclose(fast, naive, atol=1e-10, rtol=1e-10)
    # A twin whose loops added nothing returns a constant zero without a graph.
    gradients = [
        torch.autograd.grad(terms.sum(), logits)[0] if terms.requires_grad else torch.zeros_like(logits)
        for terms in (fast, naive)
    ]
    assert torch.allclose(*gradients, atol=1e-10, rtol=1e-10)


@pytest.mark.parametrize(
    "sizes", [[range(1, 20)] * 2, [range(1, 7)] * 3, [[32], [33], [48]]], ids=["2D", "3D", "large"]
)
def test_constant_logits_give_the_exact_ellipse(sizes):
    """Compare with whole-number arithmetic: a level never separates pixels equally far from the middle of the box."""
    for size in product(*sizes):
        squares = [[Fraction(2 * k + 1 - n, n) ** 2 for k in range(n)] for n in size]
        # The middle pixels of a side are the nearest; the farthest side sets the level.
        level = max(
            row[0] + sum(min(other) for j, other in enumerate(squares) if j != i) for i, row in enumerate(squares)
        )
        scale = math.lcm(*size) ** 2
        ends = [torch.tensor([int(square * scale) for square in row]) for row in squares]
        distance = sum(row.reshape([-1 if j == i else 1 for j in range(len(size))]) for i, row in enumerate(ends))
        target = torch.tensor([[[0.0] * len(size) + [*map(float, size), 0.0]]])
        found = box_level_set(torch.zeros(1, 1, *size), target)[0, 0]
        assert torch.equal(found > 0, distance <= int(level * scale)), size


@pytest.mark.parametrize("shape", [(13, 10), (7, 9, 8)])
def test_mirrored_and_turned_images_have_mirrored_and_turned_labels(shape):
    """Compare bit for bit; few different logits make many ties."""
    dims, generator = len(shape), torch.Generator().manual_seed(0)
    logits = torch.randint(-2, 3, (1, 1, *shape), generator=generator) / 2
    low, high = [1, 2, 1][:dims], [n - 1 for n in shape]
    label = box_level_set(logits, torch.tensor([[[*map(float, low), *map(float, high), 0]]]))
    for axis in range(dims):
        mirrored = [*map(float, low), *map(float, high), 0]
        mirrored[axis], mirrored[dims + axis] = float(shape[axis] - high[axis]), float(shape[axis] - low[axis])
        found = box_level_set(logits.flip(axis + 2), torch.tensor([[mirrored]]))
        assert torch.equal(found.flip(axis + 2), label)
    turned = torch.tensor([[[*map(float, low[::-1]), *map(float, high[::-1]), 0]]])
    axes = [0, 1, *range(dims + 1, 1, -1)]
    assert torch.equal(box_level_set(logits.permute(axes).contiguous(), turned).permute(axes), label)


@pytest.mark.parametrize("shape", [(9, 7), (5, 6, 4)])
def test_boxes_of_single_voxels_are_a_mask(shape):
    """Boxes of one voxel leave nothing to decide: the label is the mask, and both losses are pixel-wise."""
    generator = torch.Generator().manual_seed(0)
    mask = (torch.rand(2, 1, *shape, generator=generator) > 0.6).float()
    logits = torch.randn(2, 1, *shape, generator=generator)
    target = batch_box_tensors([MaskToBoxTensor(connectivity=0)(each) for each in mask])
    assert torch.equal(box_level_set(logits, target), mask)
    pixel_wise = DiceFocalLoss(sigmoid=True, gamma=0.0)(logits, mask)
    taught = box_self_training_loss(logits, -logits, target, outside_weight=1.0)
    assert taught.item() == pytest.approx(pixel_wise.item(), abs=1e-4)
    bags = GeneralizedMILLoss(pairwise_weight=0.0)
    assert bags(9 * (2 * mask - 1), target) < 1e-3 < bags(logits, target) < bags(9 * (1 - 2 * mask), target)


def _disc(radius, size=40):
    place = torch.arange(float(size)) - (size - 1) / 2
    distance = (place[:, None] ** 2 + place[None] ** 2).sqrt()
    return distance, distance <= radius


def _box(mask, margin=0):
    rows = mask.any(1).nonzero()[:, 0]
    low, high = float(rows.min()) - margin, float(rows.max() + 1) + margin
    return torch.tensor([[[low, low, high, high, 0]]])


def _disagreement(found, truth):
    return (found.bool() ^ truth).sum() / truth.sum()


@pytest.mark.parametrize("roundness", [0.0, 2.0])
def test_the_level_set_of_a_blurred_disc_is_the_disc(roundness):
    """The box finds the level that the blur shifted; a fixed level of 0 would miss it."""
    distance, disc = _disc(12)
    logits = 6 - distance / 3  # above 0 up to a radius of 18
    found = box_level_set(logits[None, None], _box(disc), roundness)[0, 0]
    assert _disagreement(found, disc) < 0.06
    assert (logits >= 0).sum() > 2 * disc.sum()


@pytest.mark.parametrize("shape", [(30, 18), (16, 24, 10)])
def test_an_untrained_teacher_gives_the_ellipse_in_the_box(shape):
    corner = [3.0] * len(shape)
    box = torch.tensor([[corner + [3.0 + s for s in shape] + [0]]])
    found = box_level_set(torch.zeros(1, 1, *(s + 6 for s in shape)), box)
    share = {2: math.pi / 4, 3: math.pi / 6}[len(shape)]
    assert found.sum() / math.prod(shape) == pytest.approx(share, abs=0.06)  # tolerance for whole pixels


def test_a_confident_teacher_overrides_roundness():
    """A diamond touches the sides of its box like a disc does, but fills less of it."""
    place = (torch.arange(21.0) - 10).abs()
    diamond = place[:, None] + place[None] <= 8
    logits = torch.where(diamond, 9.0, -9.0)[None, None]
    assert torch.equal(box_level_set(logits, _box(diamond))[0, 0].bool(), diamond)


def test_with_a_core_the_region_need_not_reach_the_sides_of_a_loose_box():
    distance, disc = _disc(10)
    logits = (10.5 - distance)[None, None]
    loose = _box(disc, margin=4)  # 28 pixels around 20: a core of 0.7
    assert _disagreement(box_level_set(logits, loose, core=0.7)[0, 0], disc) < 0.12
    assert _disagreement(box_level_set(logits, loose)[0, 0], disc) > 0.5


def test_each_box_has_its_own_level():
    logits = torch.full((1, 1, 4, 9), -2.0)
    logits[0, 0, :, 1:3], logits[0, 0, :, 6:8] = -1.0, 1.0
    boxes = torch.tensor([[[0.0, 0, 4, 3, 0], [0.0, 6, 4, 9, 0]]])
    found = box_level_set(logits, boxes, roundness=0.0)[0, 0, 0]
    assert found.tolist() == [1, 1, 1, 0, 0, 0, 1, 1, 1]
    found = box_level_set(logits, torch.tensor([[[0.0, 1, 4, 3, 0], [0.0, 6, 4, 8, 0]]]))[0, 0, 1]
    assert found.tolist() == [0, 1, 1, 0, 0, 0, 1, 1, 0]


def test_without_ignored_regions_it_equals_full_supervision_with_the_level_sets():
    logits, teacher = (random_logits(seed, 2, 1, 9, 9) for seed in (0, 1))
    label = box_level_set(teacher, TARGET)
    expected = DiceFocalLoss(sigmoid=True, gamma=0.0)(logits, label)
    assert torch.allclose(box_self_training_loss(logits, teacher, TARGET, outside_weight=1).mean(), expected)


@pytest.mark.parametrize("box_weight", [0.0, 0.5])
def test_the_teacher_gets_no_gradient_and_is_used_once(box_weight):
    loss = BoxSelfTrainingLoss(GeneralizedMILLoss(), weight=2.0, box_weight=box_weight)
    logits, teacher = (random_logits(seed, 2, 1, 9, 9).requires_grad_() for seed in (0, 1))
    alone = loss(logits, TARGET)
    assert sorted(loss.parts) == ["loss", "pairwise", "unary"]
    loss.teacher = teacher
    both = loss(logits, TARGET)
    both.backward()
    assert teacher.grad is None
    assert torch.allclose(both, box_weight * alone + 2 * box_self_training_loss(logits, teacher, TARGET).mean())
    assert torch.allclose(loss.parts["loss"].mean(), both.detach())
    assert ("unary" in loss.parts) == bool(box_weight)
    assert torch.equal(loss(logits, TARGET), alone)


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_the_box_loss_sets_the_reduction(reduction):
    loss = BoxSelfTrainingLoss(GlobalConstraintLoss(reduction=reduction))
    logits, teacher = (random_logits(seed, 2, 3, 9, 9) for seed in (0, 1))
    loss.teacher = teacher
    terms = box_self_training_loss(logits, teacher, TARGET)
    expected = {"mean": terms.mean(), "sum": terms.sum(), "none": terms}[reduction]
    assert torch.allclose(loss(logits, TARGET), expected)


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


def test_wrong_arguments_raise():
    with pytest.raises(ValueError, match="weight must be at least 0, got -1"):
        BoxSelfTrainingLoss(GeneralizedMILLoss(), weight=-1)
    with pytest.raises(ValueError, match="roundness must be at least 0, got -1"):
        BoxSelfTrainingLoss(GeneralizedMILLoss(), roundness=-1)
    with pytest.raises(ValueError, match="outside_weight must be at least 0, got -1"):
        BoxSelfTrainingLoss(GeneralizedMILLoss(), outside_weight=-1)
    with pytest.raises(ValueError, match="core must be greater than 0 and at most 1, got 0"):
        BoxSelfTrainingLoss(GeneralizedMILLoss(), core=0)
    loss = BoxSelfTrainingLoss(GeneralizedMILLoss())
    loss.teacher = torch.zeros(1, 1, 9, 9)
    with pytest.raises(ValueError, match=r"teacher must have the shape of input \(2, 1, 9, 9\), got \(1, 1, 9, 9\)"):
        loss(torch.zeros(2, 1, 9, 9), TARGET)


@pytest.mark.parametrize("shape", [(16, 12), (8, 7, 6)])
@pytest.mark.parametrize(
    "loss",
    [
        GeneralizedMILLoss(),
        GeneralizedMILLoss(negatives="lines", unary="bce"),
        BoxSelfTrainingLoss(GeneralizedMILLoss()),
    ],
)
def test_losses_of_mirrored_images_are_equal(loss, shape):
    """Use float64, so that one line too many or too few stands out from rounding."""
    dims = len(shape)
    logits = random_logits(0, 1, 1, *shape)
    low, high = [1, 2, 2][:dims], [n - 2 for n in shape]
    values = []
    for flipped in (None, *range(dims)):
        row, seen = [*map(float, low), *map(float, high), 0.0], logits
        if flipped is not None:
            seen = logits.flip(flipped + 2)
            row[flipped], row[dims + flipped] = (
                float(shape[flipped] - high[flipped]),
                float(shape[flipped] - low[flipped]),
            )
        if isinstance(loss, BoxSelfTrainingLoss):
            loss.teacher = seen.clone()
        values.append(loss(seen, torch.tensor([[row]])).item())
    assert values == pytest.approx([values[0]] * len(values), rel=1e-12)


@pytest.mark.parametrize(
    "loss", [GeneralizedMILLoss(), GlobalConstraintLoss(), BoxSelfTrainingLoss(GeneralizedMILLoss())]
)
def test_boxes_in_half_precision(loss):
    """Half precision gives the same loss where it represents all corners exactly, and raises an error elsewhere."""
    box = torch.tensor([[[8.0, 200, 90, 256, 0]]])
    logits = random_logits(0, 1, 1, 100, 257).float()
    assert loss(logits[..., :256], box.bfloat16()) == loss(logits[..., :256], box)
    with pytest.raises(ValueError, match=r"target must be float32 .*, got torch.bfloat16, which rounds .* 256"):
        loss(logits, box.bfloat16())
    for dtype in (torch.int16, torch.int64, torch.float64, torch.float16):
        assert loss(logits, box.to(dtype)) == loss(logits, box)
