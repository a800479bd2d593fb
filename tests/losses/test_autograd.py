# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
"""Tests of the losses with autograd, ``torch.func`` and ``torch.no_grad``."""

from __future__ import annotations

import pytest
import torch

from monai_bbox_mil.losses import BoxPairwiseLoss, GeneralizedMILLoss, GlobalConstraintLoss
from tests.strategies import random_logits

TARGET = torch.tensor([[[2.0, 3, 15, 19, 0]], [[0.0, 0, 0, 0, -1]]])
LOSSES = {
    "generalized MIL": GeneralizedMILLoss(),
    "MIL baseline": GeneralizedMILLoss(smooth_max="max", angles_deg=(0,), unary="bce", negatives="lines"),
    "pairwise": BoxPairwiseLoss(),
    "global constraint": GlobalConstraintLoss(),
}
PLAIN_AUTOGRAD = {"global constraint"}


@pytest.fixture(params=LOSSES)
def loss(request):
    return LOSSES[request.param]


def gradient(loss, logits):
    logits = logits.clone().requires_grad_()
    return torch.autograd.grad(loss(logits, TARGET), logits)[0]


def torch_func_can_list_tensors():
    try:
        torch.func.grad(lambda x: x.sum() * len(x.tolist()))(torch.zeros(1))
    except RuntimeError:
        return False
    return True


@pytest.mark.skipif(not torch_func_can_list_tensors(), reason="torch.func of this torch knows no Tensor.tolist")
def test_torch_func_grad_equals_the_gradient(loss):
    logits = random_logits(0, 2, 1, 20, 24)
    assert torch.allclose(torch.func.grad(lambda x: loss(x, TARGET))(logits), gradient(loss, logits))


@pytest.mark.parametrize("name", sorted(LOSSES.keys() - PLAIN_AUTOGRAD))
def test_a_second_derivative_raises(name):
    loss = LOSSES[name]
    logits = random_logits(1, 2, 1, 20, 24).requires_grad_()
    first = torch.autograd.grad(loss(logits, TARGET), logits, create_graph=True)[0]
    with pytest.raises(RuntimeError, match="cannot be differentiated twice"):
        first.sum().backward()


def test_the_graph_can_be_kept_and_run_twice(loss):
    logits = random_logits(2, 2, 1, 20, 24).requires_grad_()
    value = loss(logits, TARGET)
    first, second = (torch.autograd.grad(value, logits, retain_graph=True)[0] for _ in range(2))
    assert torch.equal(first, second)


def test_the_value_is_the_same_without_a_graph(loss):
    logits = random_logits(3, 2, 1, 20, 24).requires_grad_()
    with torch.no_grad():
        bare = loss(logits, TARGET)
    assert not bare.requires_grad
    assert torch.equal(bare, loss(logits, TARGET))


def test_input_in_any_memory_layout_is_not_modified(loss):
    logits = random_logits(4, 2, 3, 20, 24)
    for layout in (logits.to(memory_format=torch.channels_last), logits.flip(3).flip(3), logits[..., :24]):
        kept = layout.clone()
        assert torch.allclose(loss(layout, TARGET), loss(logits, TARGET))
        assert torch.allclose(gradient(loss, layout), gradient(loss, logits))
        assert torch.equal(layout, kept)


def test_gradients_add_up_with_those_of_another_loss(loss):
    logits = random_logits(5, 2, 1, 20, 24).requires_grad_()
    (loss(logits, TARGET) + logits.square().sum()).backward()
    assert torch.allclose(logits.grad, gradient(loss, logits.detach()) + 2 * logits.detach())
