# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
"""Focal loss of bags and of pixels (the summands of Eq. 5; of Eq. 2 with ``gamma`` 0)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn.functional import softplus

__all__ = ["focal", "sum_negative_pixels"]


def focal(log_right: Tensor, gamma: float) -> Tensor:
    """``-(1 - r)^gamma log r`` where ``r`` is the probability given to the right answer; cross-entropy at gamma 0.

    Example:
        >>> focal(torch.tensor([0.5]).log(), 2.0)
        tensor([0.1733])
    """
    log_right = log_right.clamp(max=0)
    if gamma == 0:
        return -log_right
    # The floor only keeps the power's derivative finite where the answer is right to the last digit.
    wrong = (-torch.expm1(log_right)).clamp(min=torch.finfo(log_right.dtype).tiny)
    return -(wrong**gamma) * log_right


def sum_negative_pixels(logits: Tensor, left_out: Tensor, gamma: float) -> Tensor:
    """:func:`focal` of all pixels as negatives, ``-p^gamma log(1 - p)``, summed for each class.

    The gradient is computed together with the value, with as few passes over the image as there can be.

    Args:
        logits: ``(B, C, *spatial)``.
        left_out: ``(K,)`` int64, flat indices of pixels that do not count.
        gamma: focusing exponent.

    Returns:
        ``(C,)``; it can be differentiated once.

    Example:
        >>> sum_negative_pixels(torch.zeros(1, 1, 1, 3), torch.tensor([2]), 2.0)
        tensor([0.3466])
    """
    return _SumNegativePixels.apply(logits, left_out, gamma)[0]


class _SumNegativePixels(torch.autograd.Function):
    @staticmethod
    def forward(logits: Tensor, left_out: Tensor, gamma: float) -> tuple[Tensor, Tensor]:
        # A logit of -inf has probability 0: neither a loss nor a gradient.
        logits = logits.clone(memory_format=torch.contiguous_format)
        logits.view(-1).scatter_(0, left_out, -torch.inf)
        log_q = softplus(logits, threshold=40)  # -log(1 - p)
        p = torch.sigmoid(logits, out=logits)
        slope = (1 - p).mul_(log_q).mul_(gamma).add_(p)  # d loss / d logit = p^gamma (gamma q (-log q) + p)
        if gamma:
            modulation = p.pow_(gamma)
            slope.mul_(modulation)
            log_q.mul_(modulation)
        return log_q.sum((0, *range(2, log_q.ndim))), slope

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor, float], output: tuple[Tensor, Tensor]) -> None:
        ctx.mark_non_differentiable(output[1])
        ctx.save_for_backward(output[1])

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:
        (slope,) = ctx.saved_tensors
        return slope * grads[0].view(-1, *(1,) * (slope.ndim - 2)), None, None
