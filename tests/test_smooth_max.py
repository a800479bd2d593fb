# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from monai_bbox_mil.smooth_max import log_smooth_max
from tests.reference.naive_mil import smooth_max
from tests.strategies import seeds

METHODS = ["max", "alpha_softmax", "alpha_quasimax"]


def ragged(seed, lengths):
    generator = torch.Generator().manual_seed(seed)
    bag = torch.repeat_interleave(torch.arange(len(lengths)), torch.tensor(lengths))
    return torch.rand(sum(lengths), dtype=torch.float64, generator=generator), bag


@pytest.mark.parametrize("method", METHODS)
@given(seed=seeds, lengths=st.lists(st.integers(1, 7), min_size=1, max_size=5), alpha=st.sampled_from([0.5, 4.0, 8.0]))
def test_value_and_gradient_are_those_of_the_formula(method, seed, lengths, alpha):
    p, bag = ragged(seed, lengths)
    p.requires_grad_()
    fast = log_smooth_max(p.log(), bag, len(lengths), method, alpha).exp()
    naive = torch.stack([smooth_max(p[bag == m], method, alpha) for m in range(len(lengths))])
    assert torch.allclose(fast, naive, atol=1e-12, rtol=0)
    weights = torch.arange(1.0, len(lengths) + 1, dtype=torch.float64)
    grads = [torch.autograd.grad((weights * x).sum(), p, retain_graph=True)[0] for x in (fast, naive)]
    assert torch.allclose(*grads, atol=1e-10, rtol=0)


@pytest.mark.parametrize("method", METHODS)
@given(seed=seeds, alpha=st.sampled_from([1.0, 4.0, 8.0]))
def test_a_negative_alpha_gives_the_complement(method, seed, alpha):
    p, bag = ragged(seed, [4, 1, 6])
    complement = log_smooth_max((1 - p).log(), bag, 3, method, -alpha).exp()
    assert torch.allclose(complement, 1 - log_smooth_max(p.log(), bag, 3, method, alpha).exp(), atol=1e-12, rtol=0)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("alpha", [4.0, 100.0, -4.0, -100.0])
@pytest.mark.parametrize("log_x", [-100.0, -1e4, -1e-4, 0.0])
def test_saturated_bags_keep_value_and_gradient(method, alpha, log_x):
    x = torch.full((5,), log_x, requires_grad=True)
    value = log_smooth_max(x, torch.zeros(5, dtype=torch.long), 1, method, alpha)
    value.sum().backward()
    assert torch.allclose(value, x[:1].detach(), atol=2e-5, rtol=1e-5)
    assert torch.isfinite(x.grad).all()
    assert x.grad.sum().item() == pytest.approx(1.0, abs=1e-3)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("alpha", [4.0, -4.0])
def test_gradcheck(method, alpha):
    p, bag = ragged(7, [3, 1, 4])
    log_p = p.log().requires_grad_()
    assert torch.autograd.gradcheck(lambda x: log_smooth_max(x, bag, 3, method, alpha), log_p)


def test_float32_is_close_to_float64():
    p, bag = ragged(3, [50, 3, 1000])
    for method in METHODS:
        for alpha in (4.0, -4.0):
            low, high = (log_smooth_max(p.log().to(t), bag, 3, method, alpha) for t in (torch.float32, torch.float64))
            assert torch.allclose(low.double(), high, atol=1e-5, rtol=1e-5)


def test_equal_largest_values_share_the_gradient():
    x = torch.tensor([0.5, 0.5, 0.1]).log().requires_grad_()
    log_smooth_max(x, torch.zeros(3, dtype=torch.long), 1, "max").sum().backward()
    assert x.grad.tolist() == [0.5, 0.5, 0.0]


def test_order_between_mean_and_max():
    p, bag = ragged(1, [20])
    soft = [log_smooth_max(p.log(), bag, 1, "alpha_softmax", a).exp().item() for a in (1e-6, 1.0, 8.0, 1000.0)]
    assert soft == sorted(soft)
    assert soft[0] == pytest.approx(p.mean().item(), abs=1e-6)
    assert soft[-1] == pytest.approx(p.max().item(), abs=1e-3)


def test_unknown_method_and_alpha_zero():
    with pytest.raises(ValueError, match="smooth_max must be .* got 'mean'"):
        log_smooth_max(torch.zeros(1), torch.zeros(1, dtype=torch.long), 1, "mean")
    with pytest.raises(ValueError, match="alpha must not be 0"):
        log_smooth_max(torch.zeros(1), torch.zeros(1, dtype=torch.long), 1, "max", 0)
