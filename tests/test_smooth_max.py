# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from monai_bbox_mil.smooth_max import SMOOTH_MAXIMA, log_smooth_max
from tests.reference.naive_mil import smooth_max
from tests.strategies import random_logits, seeds

METHODS = list(SMOOTH_MAXIMA)


class ConsecutiveBags:
    """Consecutive bags of the given lengths."""

    def __init__(self, *lengths):
        self.lengths = list(lengths)
        self.size = torch.tensor(lengths)

    def sum(self, values):
        return torch.stack([part.sum() for part in values.split(self.lengths)])

    def max(self, values):
        return torch.stack([part.max() for part in values.split(self.lengths)])


@pytest.mark.parametrize("method", METHODS)
@given(seed=seeds, lengths=st.lists(st.integers(1, 7), min_size=1, max_size=5), alpha=st.sampled_from([0.5, 4.0, 8.0]))
def test_value_and_gradient_match_the_formula(method, seed, lengths, alpha):
    logits = random_logits(seed, sum(lengths)).requires_grad_()
    fast = log_smooth_max(logits, ConsecutiveBags(*lengths), method, alpha).exp()
    naive = torch.stack([smooth_max(p, method, alpha) for p in logits.sigmoid().split(lengths)])
    assert torch.allclose(fast, naive, atol=1e-12, rtol=0)
    weights = torch.arange(1.0, len(lengths) + 1, dtype=torch.float64)
    grads = [torch.autograd.grad((weights * x).sum(), logits, retain_graph=True)[0] for x in (fast, naive)]
    assert torch.allclose(*grads, atol=1e-10, rtol=0)


@pytest.mark.parametrize("method", METHODS)
@given(seed=seeds, alpha=st.sampled_from([1.0, 4.0, 8.0, 50.0]))
def test_a_negative_alpha_gives_the_complement(method, seed, alpha):
    logits, bags = random_logits(seed, 11), ConsecutiveBags(4, 1, 6)
    complement = log_smooth_max(-logits, bags, method, -alpha).exp()
    assert torch.allclose(complement, 1 - log_smooth_max(logits, bags, method, alpha).exp(), atol=1e-12, rtol=0)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("alpha", [4.0, 50.0, -4.0, -50.0])
@pytest.mark.parametrize("logit", [-1e4, -100.0, -30.0, 0.0, 30.0, 1e4])
def test_saturated_bags_keep_value_and_gradient(method, alpha, logit):
    logits = torch.full((5,), logit, requires_grad=True)
    value = log_smooth_max(logits, ConsecutiveBags(5), method, alpha)
    value.sum().backward()
    floor = math.log(torch.finfo().tiny) + 5 + max(0, -alpha) if method != "max" else -torch.inf
    expected = torch.nn.functional.logsigmoid(torch.tensor([max(logit, floor)]))
    assert torch.allclose(value, expected, atol=1e-5, rtol=1e-4)
    assert torch.isfinite(logits.grad).all()
    assert logits.grad.sum().item() == pytest.approx(torch.sigmoid(torch.tensor(-logit)).item(), rel=1e-3, abs=1e-6)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("alpha", [4.0, -4.0])
def test_gradcheck(method, alpha):
    logits, bags = random_logits(7, 8).requires_grad_(), ConsecutiveBags(3, 1, 4)
    assert torch.autograd.gradcheck(lambda x: log_smooth_max(x, bags, method, alpha), logits)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("alpha", [1.0, 4.0, 50.0, -4.0, -50.0])
@pytest.mark.parametrize("shift", [-20.0, 0.0, 8.0])
def test_float32_is_close_to_float64(method, alpha, shift):
    logits, bags = random_logits(3, 1053) + shift, ConsecutiveBags(50, 3, 1000)
    low, high = (log_smooth_max(logits.to(t), bags, method, alpha) for t in (torch.float32, torch.float64))
    assert torch.allclose(low.double(), high, atol=1e-5, rtol=1e-5)


def test_larger_alphas_move_from_the_mean_to_the_maximum():
    logits, bags = random_logits(1, 20), ConsecutiveBags(20)
    soft = [log_smooth_max(logits, bags, "alpha_softmax", a).exp().item() for a in (1e-6, 1.0, 8.0, 50.0)]
    assert soft == sorted(soft)
    assert soft[0] == pytest.approx(logits.sigmoid().mean().item(), abs=1e-6)
    assert soft[-1] == pytest.approx(logits.sigmoid().max().item(), abs=0.02)


def test_an_unknown_method_or_alpha_out_of_range_raises():
    with pytest.raises(ValueError, match="smooth_max must be .* got 'mean'"):
        log_smooth_max(torch.zeros(1), ConsecutiveBags(1), "mean")
    for alpha in (0, 51, -51, float("nan")):
        with pytest.raises(ValueError, match="alpha must be between -50 and 50 and not 0"):
            log_smooth_max(torch.zeros(1), ConsecutiveBags(1), "max", alpha)
