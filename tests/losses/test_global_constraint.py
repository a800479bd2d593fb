# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from monai_bbox_mil.losses import BoxPairwiseLoss, GlobalConstraintLoss, global_constraint_loss
from monai_bbox_mil.losses.global_constraint import MAX_T, log_barrier
from tests.reference.naive_global_constraint import constraint_terms, psi
from tests.strategies import random_logits, seeds, shapes, targets

TS = st.sampled_from([0.5, 1.0, 5.0, 30.0])
BOUNDS = st.sampled_from([(0.5, 0.9), (0.0, 1.0), (0.3, 0.3)])
WEIGHTS = {"tightness_weight": 0.1, "size_weight": 3.0, "emptiness_weight": 2.0}


def value_and_gradient(terms, logits):
    """Return value and gradient of each term by itself, so that a large term cannot hide a small one."""
    gradients = [torch.autograd.grad(x.sum(), logits, retain_graph=True, allow_unused=True)[0]
                 if x.requires_grad else None for x in terms]  # fmt: skip
    return [*terms, *(torch.zeros_like(logits) if g is None else g for g in gradients)]


@given(
    data=st.data(), seed=seeds, shape=shapes, classes=st.integers(1, 2), t=TS, band_width=st.integers(1, 6),
    bounds=BOUNDS,
)  # fmt: skip
def test_equals_the_naive_twin(data, seed, shape, classes, t, band_width, bounds):
    target = data.draw(targets(shape, classes))
    logits = random_logits(seed, 2, classes, *shape).requires_grad_()
    fast = global_constraint_loss(logits, torch.tensor(target, dtype=torch.float32), t, band_width, bounds)
    naive = constraint_terms(logits, target, t, band_width, bounds)
    for a, b in zip(value_and_gradient(fast, logits), value_and_gradient(naive, logits)):
        assert torch.allclose(a, b, atol=1e-10, rtol=1e-10)


@given(data=st.data(), seed=seeds, shape=shapes)
def test_float32_is_close_to_the_naive_twin(data, seed, shape):
    target = data.draw(targets(shape, 2))
    logits = random_logits(seed, 2, 2, *shape).requires_grad_()
    naive = value_and_gradient(constraint_terms(logits, target, 5.0, 5, (0.5, 0.9)), logits)
    single = logits.detach().float().requires_grad_()
    fast = value_and_gradient(global_constraint_loss(single, torch.tensor(target, dtype=torch.float32)), single)
    for a, b in zip(fast, naive):
        assert a.dtype == torch.float32
        assert torch.allclose(a.double(), b, atol=1e-5, rtol=1e-5)


def test_float32_is_precise_on_large_images():
    target = torch.tensor([[[20.0, 30, 131, 140, 0], [3.0, 3, 60, 40, 0], [0.0, 0, 256, 256, -2]]])
    logits = random_logits(0, 1, 1, 256, 256)
    logits[..., :20, :] = -30  # a tiny sum outside, which the large sum inside must not absorb
    for a, b in zip(global_constraint_loss(logits.float(), target), global_constraint_loss(logits, target)):
        assert torch.allclose(a.double(), b, rtol=1e-5, atol=0)


@pytest.mark.parametrize("dims", [2, 3])
def test_gradcheck_once_and_twice(dims):
    target = torch.tensor(
        [[[0.0, 1, 0, 3, 4, 2, 0], [0, 0, 0, 2, 1, 1, -3]], [[1.0, 1, 0, 2, 2, 1, 1], [0] * 6 + [-1]]]
    )
    if dims == 2:
        target = target[..., [0, 1, 3, 4, 6]]
    logits = random_logits(5, 2, 2, *(3, 4, 2)[:dims]).requires_grad_()
    loss = GlobalConstraintLoss(band_width=2, **WEIGHTS)
    assert torch.autograd.gradcheck(lambda x: loss(x, target), logits, fast_mode=True)
    assert torch.autograd.gradgradcheck(lambda x: loss(x, target), logits, fast_mode=True)


@pytest.mark.parametrize("t", [0.5, 5.0, 100.0])
def test_the_barrier_follows_the_formula_and_is_smooth_at_its_seam(t):
    seam = -1 / t**2
    z = torch.tensor([-1e4, -1.0, 1.5 * seam, 0.5 * seam, 0.0, 2.0, 1e4], dtype=torch.float64, requires_grad=True)
    values = log_barrier(z, t)
    assert torch.allclose(values, torch.stack([psi(x, t) for x in z]), rtol=1e-12)
    slope = torch.autograd.grad(values.sum(), z)[0]
    assert torch.allclose(slope, torch.where(z <= seam, -1 / (t * z), t), rtol=1e-12)
    at = (seam * torch.tensor([1 + 1e-9, 1.0, 1 - 1e-9], dtype=torch.float64)).requires_grad_()
    around = log_barrier(at, t)
    assert torch.allclose(around, torch.full_like(around, -math.log(1 / t**2) / t), atol=1e-8)
    assert torch.allclose(torch.autograd.grad(around.sum(), at)[0], torch.full_like(at, t), rtol=1e-8)


@pytest.mark.parametrize("t", [1e-3, 5.0, 1e6, MAX_T])
def test_the_barrier_and_its_slope_are_finite_everywhere_in_float32(t):
    z = torch.tensor([-1e9, -1.0, -1e-30, 0.0, 1e-30, 1.0, 1e9], requires_grad=True)
    values = log_barrier(z, t)
    values.sum().backward()
    assert torch.isfinite(values).all()
    assert (z.grad > 0).all()
    assert torch.isfinite(z.grad).all()


def test_a_hand_computed_scene():
    """Take one box of 2x3 pixels in a 3x4 image and a second image without a box, with p = 1/2 everywhere."""
    target = torch.tensor([[[0.0, 0, 2, 3, 0]], [[0.0, 0, 0, 0, -1]]])
    logits = torch.zeros(2, 1, 3, 4, dtype=torch.float64)
    tightness, size, emptiness = global_constraint_loss(logits, target, 2.0, 2, (0.5, 0.9))
    # The band of both rows has 3 and needs 2; that of two columns has 2 and needs 2; the third column has 1, needs 1.
    at_limit = -math.log(1 / 4) / 2 + 1 / 2
    assert tightness.item() == pytest.approx((-math.log(1) / 2 + 2 * at_limit) / 2)
    # The 12 pixels add up to 6, which is 0.6 more than 0.9 * 6 and 3 more than 0.5 * 6.
    assert size.item() == pytest.approx((2 * 0.6 + at_limit - math.log(3) / 2) / 12 / 2)
    # One image has 6 pixels outside, the other 12.
    assert emptiness.item() == pytest.approx(2 / 12 * (6 + 12) / 2 / 2)


def test_slabs_of_a_volume_by_hand():
    """Take a box over a volume of 2x1x3 voxels: slabs of both slices, the row, two columns and the third column."""
    target = torch.tensor([[[0.0, 0, 0, 2, 1, 3, 0]]])
    prob = torch.tensor([[[0.9, 0.8, 0.7]], [[0.6, 0.5, 0.4]]], dtype=torch.float64)
    tightness = global_constraint_loss(prob.logit()[None, None], target, 1.0, 2).tightness
    held = [(2, 3.9), (1, 3.9), (2, 2.8), (1, 1.1)]
    assert tightness.item() == pytest.approx(sum(psi(width - p, 1.0).item() for width, p in held))


@pytest.mark.parametrize(
    ("wrong", "term"),
    [
        (lambda m: m.index_fill(2, torch.arange(4, 9), 0), "tightness"),
        (lambda m: m * 0, "size"),
        (lambda m: m.index_fill(3, torch.arange(0, 2), 1), "emptiness"),
    ],
)
def test_each_constraint_punishes_what_breaks_it(wrong, term):
    """Compare an object that fills 2/3 of its 15x12 box with one with a gap, a missing one and one that leaks out."""
    good = torch.zeros(1, 1, 20, 20, dtype=torch.bool)
    good[..., 2:17, 6:14] = True
    good[..., 9, 4:16] = True
    target = torch.tensor([[[2.0, 4, 17, 16, 0]]])
    right, broken = (
        global_constraint_loss(m.float() * 40 - 20, target)._asdict() for m in (good, wrong(good.float()) > 0)
    )
    assert broken[term] > right[term] + 0.1
    assert all(right[name] < 0.01 for name in right)


def test_training_fills_a_box_with_its_object():
    """Give a disc in its box to a model that can only choose between inside and outside: it chooses the disc."""
    rows, columns = torch.meshgrid(torch.arange(24.0), torch.arange(24.0), indexing="ij")
    disc = ((rows - 11.5) ** 2 + (columns - 11.5) ** 2) <= 40
    weights = torch.zeros(2, requires_grad=True)
    optimizer = torch.optim.Adam([weights], lr=0.2)
    target, loss = torch.tensor([[[6.0, 6, 18, 18, 0]]]), GlobalConstraintLoss()
    for epoch in range(100):
        loss.t = 5.0 * 1.1 ** (epoch // 5)
        optimizer.zero_grad()
        logits = weights[0] * (disc.float() * 2 - 1) + weights[1]
        loss(logits[None, None], target).backward()
        optimizer.step()
    assert ((logits > 0) == disc).all()


def test_a_batch_without_boxes_has_only_emptiness():
    logits = random_logits(0, 2, 1, 8, 8).requires_grad_()
    for target in (torch.tensor([[[0.0, 0, 0, 0, -1]]] * 2), torch.zeros(2, 0, 5)):
        tightness, size, emptiness = global_constraint_loss(logits, target)
        assert tightness.item() == size.item() == 0
        assert emptiness.item() == pytest.approx(5 * logits.sigmoid().mean().item())
        gradient = torch.autograd.grad(GlobalConstraintLoss()(logits, target), logits)[0]
        assert (gradient > 0).all()


@pytest.mark.parametrize("pixel_type", [torch.float16, torch.bfloat16, torch.float32])
@pytest.mark.parametrize("size", [-1e4, -20.0, 10.0, 1e4])
@pytest.mark.parametrize("t", [5.0, 1e6, MAX_T])
@pytest.mark.parametrize("box", [[2, 2, 6, 5], [0, 0, 8, 8], [3, 3, 4, 4]], ids=["box", "whole image", "one pixel"])
def test_value_and_gradient_are_finite_and_point_the_right_way(pixel_type, size, t, box):
    logits = torch.full((1, 1, 8, 8), size, dtype=pixel_type, requires_grad=True)
    loss = GlobalConstraintLoss(t=t)(logits, torch.tensor([[[*map(float, box), 0]]]))
    loss.backward()
    assert loss.dtype == torch.float32
    assert torch.isfinite(loss)
    wide = logits.detach().float().requires_grad_()
    GlobalConstraintLoss(t=t)(wide, torch.tensor([[[*map(float, box), 0]]])).backward()
    assert torch.isfinite(wide.grad).all()
    inside = wide.grad[0, 0, box[0] : box[2], box[1] : box[3]]
    if size == -20.0:
        assert (inside < 0).all(), "nothing pulls a missed object back"
    elif size == 10.0:
        assert (wide.grad > 0).any(), "nothing pushes a false object down"


def test_ignored_regions_are_neither_full_nor_empty():
    target = torch.tensor([[[1.0, 1, 4, 4, 0], [3.0, 3, 7, 8, -2]]])
    logits = random_logits(2, 1, 1, 8, 8).requires_grad_()
    gradient = torch.autograd.grad(GlobalConstraintLoss(**WEIGHTS)(logits, target), logits)[0][0, 0]
    ignored = torch.zeros(8, 8, dtype=torch.bool)
    ignored[3:7, 3:8] = True
    ignored[3, 3] = False  # where the regions overlap, the box wins
    assert torch.equal(gradient == 0, ignored)
    alone = global_constraint_loss(logits, target[:, 1:])
    assert alone.tightness.item() == alone.size.item() == 0


def test_the_boxes_of_a_class_share_one_size_but_not_their_bands():
    logits = random_logits(1, 1, 1, 10, 10)
    one, two = [1.0, 1, 6, 6, 0], [3.0, 3, 9, 8, 0]
    terms = {name: global_constraint_loss(logits, torch.tensor([rows])) for name, rows in
             {"both": [one, two], "one": [one], "two": [two], "twice": [one, one]}.items()}  # fmt: skip
    assert torch.allclose(terms["both"].tightness, terms["one"].tightness + terms["two"].tightness)
    assert torch.allclose(terms["twice"].tightness, 2 * terms["one"].tightness)
    assert torch.equal(terms["twice"].size, terms["one"].size)
    assert torch.equal(terms["twice"].emptiness, terms["one"].emptiness)


def test_classes_and_images_are_independent():
    logits = random_logits(3, 2, 2, 8, 8)
    target = torch.tensor([[[1.0, 1, 4, 4, 0]], [[2.0, 2, 7, 7, 1]]])
    both = GlobalConstraintLoss(reduction="none")(logits, target)
    for channel in range(2):
        alone = torch.where(target[..., -1:] == channel, target, -1)
        alone[..., -1] = torch.where(alone[..., -1] == channel, 0, -1)
        images = [GlobalConstraintLoss()(logits[[b]][:, [channel]], alone[[b]]) for b in range(2)]
        assert torch.allclose(torch.stack(images).mean(), both[channel])


def test_the_module_weighs_the_terms_of_the_function():
    logits, target = random_logits(4, 1, 3, 8, 8), torch.tensor([[[1.0, 1, 4, 4, 0], [2.0, 0, 5, 8, 2]]])
    options = {"t": 3.0, "band_width": 2, "size_bounds": (0.2, 0.6)}
    loss = GlobalConstraintLoss(**options, **WEIGHTS, reduction="none")
    assert loss.parts == {}
    none, terms = loss(logits, target), global_constraint_loss(logits, target, **options)
    assert none.shape == (3,)
    assert torch.allclose(none, 0.1 * terms.tightness + 3 * terms.size + 2 * terms.emptiness)
    assert list(loss.parts) == ["tightness", "size", "emptiness", "loss"]
    for name, expected in {**terms._asdict(), "loss": none}.items():
        assert torch.equal(loss.parts[name], expected)
    for reduction, expected in (("sum", none.sum()), ("mean", none.mean())):
        assert torch.allclose(GlobalConstraintLoss(**options, **WEIGHTS, reduction=reduction)(logits, target), expected)
    loss.t = 30.0
    assert torch.equal(loss(logits, target), GlobalConstraintLoss(**{**options, "t": 30.0}, **WEIGHTS,
                                                                  reduction="none")(logits, target))  # fmt: skip


@pytest.mark.parametrize("autocast", [torch.float16, torch.bfloat16])
def test_autocast_changes_nothing(autocast):
    logits, target = random_logits(0, 2, 1, 9, 9).float(), torch.tensor([[[1.0, 1, 5, 8, 0]], [[0.0, 0, 0, 0, -1]]])
    loss = GlobalConstraintLoss()
    with torch.autocast("cpu", autocast):
        inside = loss(logits, target)
    assert inside.dtype == torch.float32
    assert torch.equal(inside, loss(logits, target))


def test_probabilities_give_the_loss_of_their_logits():
    logits, target = random_logits(6, 1, 1, 8, 8), torch.tensor([[[1.0, 1, 4, 4, 0]]])
    assert torch.allclose(GlobalConstraintLoss(sigmoid=False)(logits.sigmoid(), target),
                          GlobalConstraintLoss()(logits, target))  # fmt: skip


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"t": 0}, r"t must be greater than 0 and at most 1e\+12, got 0"),
        ({"t": math.nan}, "t must be greater than 0"),
        ({"t": 1e13}, r"t must be .* at most 1e\+12, got 1"),
        ({"band_width": 0}, "band_width must be a whole number of pixels, at least 1, got 0"),
        ({"band_width": 2.5}, "band_width must be a whole number of pixels, at least 1, got 2.5"),
        ({"size_bounds": (0.9, 0.5)}, r"size_bounds must be two numbers with 0 <= lower <= upper, got \(0.9, 0.5\)"),
        ({"size_bounds": (0.9,)}, r"size_bounds must be two numbers .* got \(0.9,\)"),
        ({"tightness_weight": -1}, "tightness_weight must be at least 0, got -1"),
        ({"size_weight": -1}, "size_weight must be at least 0, got -1"),
        ({"emptiness_weight": math.nan}, "emptiness_weight must be at least 0, got nan"),
        ({"reduction": "max"}, r"reduction must be one of \('mean', 'sum', 'none'\), got 'max'"),
    ],
)
def test_bad_options_raise(options, message):
    with pytest.raises(ValueError, match=message):
        GlobalConstraintLoss(**options)


def test_setting_t_out_of_range_raises():
    loss = GlobalConstraintLoss()
    loss.t = -1.0
    with pytest.raises(ValueError, match="t must be greater than 0 .*, got -1.0"):
        loss(torch.zeros(1, 1, 4, 4), torch.tensor([[[0.0, 0, 2, 2, 0]]]))


@pytest.mark.parametrize("bad", ["shape", "box", "nan"])
def test_bad_input_raises_as_in_the_other_losses(bad):
    input, target = torch.zeros(1, 1, 4, 4), torch.tensor([[[0.0, 0, 2, 2, 0]]])
    if bad == "shape":
        input = input[0]
    elif bad == "box":
        target = target + 3
    else:
        input = input * torch.nan
    messages = []
    for loss in (GlobalConstraintLoss(), BoxPairwiseLoss()):
        with pytest.raises(ValueError) as error:
            loss(input, target)
        messages.append(str(error.value))
    assert messages[0] == messages[1]
