# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from monai_bbox_mil.losses import BoxPairwiseLoss, GeneralizedMILLoss, box_pairwise_loss, generalized_mil_loss
from monai_bbox_mil.losses.options import NEGATIVES as NEGATIVE_KINDS
from monai_bbox_mil.losses.options import PAIRWISE_REGIONS
from monai_bbox_mil.losses.options import UNARIES as UNARY_KINDS
from monai_bbox_mil.smooth_max import SMOOTH_MAXIMA
from tests.reference.naive_mil import mil_terms
from tests.strategies import angle_sets, random_logits, seeds, shapes, targets

METHODS = st.sampled_from(list(SMOOTH_MAXIMA))
UNARIES = st.sampled_from(UNARY_KINDS)
NEGATIVES = st.sampled_from(NEGATIVE_KINDS)
REGIONS = st.sampled_from(PAIRWISE_REGIONS)
BASELINE = {"smooth_max": "max", "angles_deg": (0,), "unary": "bce", "negatives": "lines"}
SYSTEMS = [{}, {"smooth_max": "alpha_quasimax"}, {"smooth_max": "max"}, BASELINE]


def value_and_gradient(terms, logits):
    """Return value and gradient; a twin whose loops added nothing returns a constant zero without a graph."""
    total = (terms[0] + 3 * terms[1]).sum()
    gradient = torch.autograd.grad(total, logits)[0] if total.requires_grad else torch.zeros_like(logits)
    return (*terms, gradient)


@given(
    data=st.data(), seed=seeds, shape=shapes, classes=st.integers(1, 2), method=METHODS, unary=UNARIES,
    negatives=NEGATIVES, region=REGIONS, alpha=st.sampled_from([1.0, 4.0, 8.0]), angles=angle_sets,
    core=st.sampled_from([1.0, 0.75, 0.5, 0.25]),
)  # fmt: skip
def test_equals_the_naive_twin(data, seed, shape, classes, method, unary, negatives, region, alpha, angles, core):
    target = data.draw(targets(shape, classes))
    logits = random_logits(seed, 2, classes, *shape).requires_grad_()
    options = (method, alpha, angles, unary, 0.25, 2.0, negatives)
    fast = generalized_mil_loss(logits, torch.tensor(target, dtype=torch.float32), *options, True, region, core)
    naive = mil_terms(logits, target, *options, region, core)
    for a, b in zip(value_and_gradient(fast, logits), value_and_gradient(naive, logits)):
        assert torch.allclose(a, b, atol=1e-10, rtol=1e-10)


@pytest.mark.parametrize("options", SYSTEMS)
@given(data=st.data(), seed=seeds, shape=shapes)
def test_float32_is_close_to_float64(options, data, seed, shape):
    target = torch.tensor(data.draw(targets(shape, 2)), dtype=torch.float32)
    loss, logits = GeneralizedMILLoss(**options), random_logits(seed, 2, 2, *shape)
    assert torch.allclose(loss(logits.float(), target).double(), loss(logits, target), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("options", SYSTEMS)
@pytest.mark.parametrize("dims", [2, 3])
def test_gradcheck(options, dims):
    target = torch.tensor(
        [[[0.0, 1, 0, 3, 4, 2, 0], [0, 0, 0, 2, 1, 1, -3]], [[1.0, 1, 0, 2, 2, 1, 1], [0] * 6 + [-1]]]
    )
    if dims == 2:
        target = target[..., [0, 1, 3, 4, 6]]
    logits = random_logits(5, 2, 2, *(3, 4, 2)[:dims]).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: GeneralizedMILLoss(**options)(x, target), logits, fast_mode=True)


@pytest.mark.parametrize("options", SYSTEMS)
@given(data=st.data(), seed=seeds, turns=st.integers(1, 3), flipped=st.booleans())
def test_flips_and_quarter_turns_change_nothing(options, data, seed, turns, flipped):
    shape = (7, 5)
    target = torch.tensor(data.draw(targets(shape, 1)), dtype=torch.float32)
    logits = random_logits(seed, 2, 1, *shape)
    turned, moved = logits, target
    for step in range(turns):
        height, width = turned.shape[2:]
        turned = torch.rot90(turned, dims=(2, 3))
        r0, c0, r1, c1, code = moved.unbind(-1)
        moved = torch.stack([width - c1, r0, width - c0, r1, code], dim=-1)
        if flipped and step == 0:
            size = turned.shape[2]
            turned = turned.flip(2)
            r0, c0, r1, c1, code = moved.unbind(-1)
            moved = torch.stack([size - r1, c0, size - r0, c1, code], dim=-1)
    moved = torch.where(target[..., -1:] == -1, target, moved)
    loss = GeneralizedMILLoss(**{"angles_deg": (-60, 60, 30), **options})
    assert torch.allclose(loss(turned, moved), loss(logits, target), atol=1e-10)


def test_a_hand_computed_scene():
    """Take one box of 2x2 pixels in a 2x3 image, with p = 1/2 in the box and 1/4 outside."""
    logits = torch.tensor([[[[0.0, 0.0, -math.log(3)], [0.0, 0.0, -math.log(3)]]]], dtype=torch.float64)
    target = torch.tensor([[[0.0, 0, 2, 2, 0]]])
    focal = GeneralizedMILLoss(angles_deg=(0,), pairwise_weight=0.0)
    # 4 bags with p = 1/2, and 2 pixels outside with p = 1/4
    expected = (4 * 0.25 * 0.5**2 * math.log(2) + 2 * 0.75 * 0.25**2 * math.log(4 / 3)) / 4
    assert focal(logits, target).item() == pytest.approx(expected)
    # one empty column, whose most probable pixel has p = 1/4
    baseline = GeneralizedMILLoss(**BASELINE, pairwise_weight=0.0)
    assert baseline(logits, target).item() == pytest.approx((4 * math.log(2) + math.log(4 / 3)) / 5)
    # pixel pairs that start in the box: 12 inside it, and 4 that leave it with a difference of 1/4
    assert BoxPairwiseLoss()(logits, target).item() == pytest.approx(4 / 16 / 16)


@pytest.mark.parametrize("options", SYSTEMS)
def test_a_right_answer_costs_little_and_a_wrong_one_much(options):
    target = torch.tensor([[[3.0, 3, 9, 11, 0]]])
    right = torch.full((1, 1, 16, 16), -20.0)
    right[..., 3:9, 3:11] = 20.0
    loss = GeneralizedMILLoss(**options, pairwise_weight=0.0)
    assert loss(right, target).item() < 1e-6
    assert loss(-right, target).item() > 1


@pytest.mark.parametrize("options", SYSTEMS)
@pytest.mark.parametrize("pixel_type", [torch.float16, torch.bfloat16, torch.float32])
@pytest.mark.parametrize("size", [-1e4, -100.0, 100.0, 1e4])
@pytest.mark.parametrize("box", [[2, 2, 6, 5], [0, 0, 8, 8], [3, 3, 4, 4]], ids=["box", "whole image", "one pixel"])
def test_saturated_logits_keep_a_useful_gradient(options, pixel_type, size, box):
    logits = torch.full((1, 1, 8, 8), size, dtype=pixel_type, requires_grad=True)
    loss = GeneralizedMILLoss(**options)(logits, torch.tensor([[[*map(float, box), 0]]]))
    loss.backward()
    assert loss.dtype == torch.float32
    assert torch.isfinite(loss)
    assert torch.isfinite(logits.grad).all()
    inside = logits.grad[0, 0, box[0] : box[2], box[1] : box[3]]
    if size < 0:
        assert (inside < 0).any(), "nothing pulls a missed object back"
    elif box != [0, 0, 8, 8]:
        assert (logits.grad > 0).any(), "nothing pushes a false object down"


@pytest.mark.parametrize("options", SYSTEMS)
@pytest.mark.parametrize("autocast", [torch.float16, torch.bfloat16])
def test_autocast_changes_nothing(options, autocast):
    logits, target = random_logits(0, 2, 1, 9, 9).float(), torch.tensor([[[1.0, 1, 5, 8, 0]], [[0.0, 0, 0, 0, -1]]])
    loss = GeneralizedMILLoss(**options)
    with torch.autocast("cpu", autocast):
        inside = loss(logits, target)
    assert torch.equal(inside, loss(logits, target))


@pytest.mark.parametrize("options", SYSTEMS)
def test_a_batch_without_boxes_weighs_no_more_than_one_with_boxes(options):
    logits = random_logits(0, 2, 1, 32, 32).requires_grad_()
    empty = torch.tensor([[[0.0, 0, 0, 0, -1]]] * 2)
    loss = GeneralizedMILLoss(**options)(logits, empty)
    loss.backward()
    assert 0 < loss.item() < 10
    assert (logits.grad >= 0).all()
    assert logits.grad.sum() > 0


def test_a_box_over_the_whole_image_has_no_negatives():
    logits = random_logits(0, 1, 1, 6, 6).requires_grad_()
    loss = GeneralizedMILLoss(pairwise_weight=0.0)(logits, torch.tensor([[[0.0, 0, 6, 6, 0]]]))
    loss.backward()
    assert torch.isfinite(loss)
    assert (logits.grad <= 0).sum() > (logits.grad > 0).sum()


def test_overlapping_boxes_of_one_class_each_have_their_own_bags():
    logits = random_logits(1, 1, 1, 10, 10)
    one, two = [1.0, 1, 6, 6, 0], [3.0, 3, 9, 8, 0]
    options = {"unary": "bce", "pairwise": False}
    count = {name: generalized_mil_loss(logits, torch.tensor([rows]), **options) for name, rows in
             {"both": [one, two], "one": [one], "two": [two], "twice": [one, one]}.items()}  # fmt: skip
    assert not torch.allclose(count["both"].unary, count["one"].unary)
    naive = mil_terms(
        logits, [[one, two]], "alpha_softmax", 4.0, (-40, -20, 0, 20, 40), "bce", 0.25, 2, "pixels", "box"
    )
    assert torch.allclose(count["both"].unary, naive[0])


def test_ignored_regions_are_neither_positive_nor_negative():
    target = torch.tensor([[[1.0, 1, 4, 4, 0], [5.0, 5, 7, 8, -2]]])
    for options in SYSTEMS:
        logits = random_logits(2, 1, 1, 8, 8).requires_grad_()
        GeneralizedMILLoss(**options, pairwise_weight=0.0)(logits, target).backward()
        assert torch.equal(logits.grad[0, 0, 5:7, 5:8], torch.zeros(2, 3, dtype=torch.float64))


def test_classes_are_independent():
    logits = random_logits(3, 2, 2, 8, 8)
    target = torch.tensor([[[1.0, 1, 4, 4, 0]], [[2.0, 2, 7, 7, 1]]])
    both = GeneralizedMILLoss(reduction="none")(logits, target)
    for channel in range(2):
        alone = torch.where(target[..., -1:] == channel, target, -1)
        alone[..., -1] = torch.where(alone[..., -1] == channel, 0, -1)
        assert torch.allclose(GeneralizedMILLoss(reduction="sum")(logits[:, [channel]], alone), both[channel])


def test_reductions_and_parts():
    logits, target = random_logits(4, 1, 3, 8, 8), torch.tensor([[[1.0, 1, 4, 4, 0], [2.0, 0, 5, 8, 2]]])
    loss = GeneralizedMILLoss(reduction="none", pairwise_weight=3.0)
    assert loss.parts == {}
    none = loss(logits, target)
    assert none.shape == (3,)
    assert torch.equal(loss.parts["loss"], none)
    assert torch.allclose(loss.parts["unary"] + 3 * loss.parts["pairwise"], none)
    assert torch.allclose(GeneralizedMILLoss(reduction="sum", pairwise_weight=3.0)(logits, target), none.sum())
    assert torch.allclose(GeneralizedMILLoss(reduction="mean", pairwise_weight=3.0)(logits, target), none.mean())


def test_fractional_corners_are_snapped_outward():
    logits, loss = random_logits(5, 1, 1, 8, 8), GeneralizedMILLoss()
    assert torch.equal(
        loss(logits, torch.tensor([[[1.4, 2.0, 4.6, 5.0, 0]]])), loss(logits, torch.tensor([[[1.0, 2.0, 5.0, 5.0, 0]]]))
    )


def test_probabilities_give_the_loss_of_their_logits():
    logits, target = random_logits(6, 1, 1, 8, 8), torch.tensor([[[1.0, 1, 4, 4, 0]]])
    for loss in (GeneralizedMILLoss, BoxPairwiseLoss):
        assert torch.allclose(loss(sigmoid=False)(logits.sigmoid(), target), loss()(logits, target))
    saturated = (logits > 0).double().requires_grad_()
    value = GeneralizedMILLoss(sigmoid=False)(saturated, target)
    value.backward()
    assert torch.isfinite(value)
    assert torch.isfinite(saturated.grad).all()


def test_meta_tensors_and_other_box_types_are_accepted():
    from monai.data import MetaTensor

    logits, target = random_logits(7, 1, 1, 8, 8).float(), torch.tensor([[[1, 1, 4, 4, 0]]])
    expected = GeneralizedMILLoss()(logits, target.float())
    result = GeneralizedMILLoss()(MetaTensor(logits), MetaTensor(target))
    assert type(result) is torch.Tensor
    assert torch.equal(result, expected)


@pytest.mark.parametrize("shape", [(6, 7), (3, 4, 5)])
@pytest.mark.parametrize("region", ["box", "image"])
def test_a_constant_map_has_no_pairwise_loss(shape, region):
    at_the_border = torch.tensor([[[0.0] * len(shape) + [2, *shape[1:], 0]]])  # no padding may leak in
    assert box_pairwise_loss(torch.full((1, 1, *shape), 0.7), at_the_border, region).item() == 0


def test_the_image_region_includes_pairs_that_no_box_touches():
    logits = torch.full((1, 1, 4, 4), -100.0)
    logits[..., 3, 3] = 100
    target = torch.tensor([[[0.0, 0, 2, 2, 0]]])
    assert box_pairwise_loss(logits, target, "box").item() == 0
    assert box_pairwise_loss(logits, target, "image").item() == pytest.approx(6 / 84)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"smooth_max": "mean"}, "smooth_max must be one of .*'alpha_softmax'.*, got 'mean'"),
        ({"unary": "dice"}, "unary must be one of"),
        ({"negatives": "none"}, "negatives must be one of"),
        ({"pairwise_region": "bag"}, "pairwise_region must be one of"),
        ({"reduction": "max"}, r"reduction must be one of \('mean', 'sum', 'none'\), got 'max'"),
        ({"alpha": 0}, "alpha must be greater than 0 and at most 50, got 0"),
        ({"beta": 1.5}, r"beta must be in \[0, 1\], got 1.5"),
        ({"gamma": -1}, "gamma must be at least 0, got -1"),
        ({"pairwise_weight": -1}, "pairwise_weight must be at least 0, got -1"),
        ({"angles_deg": (0, 90)}, "angles_deg must be distinct angles in degrees"),
    ],
)
def test_bad_options_raise(options, message):
    with pytest.raises(ValueError, match=message):
        GeneralizedMILLoss(**options)


GOOD = torch.tensor([[[0.0, 0, 2, 2, 0]]])


@pytest.mark.parametrize(
    ("input", "target", "message"),
    [
        (torch.zeros(1, 4, 4), GOOD, r"input must have the shape \(B, C, H, W\) or .*, got \(1, 4, 4\)"),
        (torch.zeros(1, 1, 4, 4, dtype=torch.long), GOOD, "input must be of a floating point type, got torch.int64"),
        (torch.zeros(0, 1, 4, 4), GOOD[:0], r"input must have at least one pixel, got the shape \(0, 1, 4, 4\)"),
        (torch.full((1, 1, 4, 4), torch.nan), GOOD, "input must contain finite numbers, got 16 NaN .* among 16"),
        (torch.zeros(2, 1, 4, 4), GOOD, r"target must be a box tensor of the shape \(2, N, 5\).*got \(1, 1, 5\)"),
        (torch.zeros(1, 1, 4, 4, 4), GOOD, r"target must be a box tensor of the shape \(1, N, 7\)"),
        (torch.zeros(1, 1, 4, 4), torch.zeros(1, 1, 4, 4), "target must be a box tensor"),
        (torch.zeros(1, 1, 4, 4), GOOD + 3, r"target\[0, 0\] must have .*, got \[3.0, 3.0, 5.0, 5.0, 3.0\]"),
        (torch.zeros(1, 1, 4, 4), GOOD[..., [2, 3, 0, 1, 4]], r"target\[0, 0\] must have min < max on every axis"),
        (torch.zeros(1, 1, 4, 1), GOOD, r"must lie inside the image of size \(4, 1\), got \[0.0, 0.0, 2.0, 2.0, 0.0\]"),
    ],
)
@pytest.mark.parametrize("loss", [GeneralizedMILLoss(), BoxPairwiseLoss()], ids=["mil", "pairwise"])
def test_bad_input_raises(loss, input, target, message):
    with pytest.raises(ValueError, match=message):
        loss(input, target)


def test_numbers_outside_0_1_are_not_probabilities():
    with pytest.raises(ValueError, match=r"input must be probabilities in \[0, 1\] when sigmoid=False, got"):
        GeneralizedMILLoss(sigmoid=False)(torch.full((1, 1, 4, 4), 1.5), GOOD)


def test_training_fills_a_box_with_its_object():
    """Give a disc in its box to a model that can only choose between inside and outside: it chooses the disc."""
    rows, columns = torch.meshgrid(torch.arange(24.0), torch.arange(24.0), indexing="ij")
    disc = ((rows - 11.5) ** 2 + (columns - 11.5) ** 2) <= 36
    weights = torch.zeros(2, requires_grad=True)
    optimizer = torch.optim.Adam([weights], lr=0.2)
    target = torch.tensor([[[6.0, 6, 18, 18, 0]]])
    for _ in range(150):
        optimizer.zero_grad()
        logits = weights[0] * (disc.float() * 2 - 1) + weights[1]
        GeneralizedMILLoss(pairwise_weight=0.0)(logits[None, None], target).backward()
        optimizer.step()
    assert ((logits > 0) == disc).all()
