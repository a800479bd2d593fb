# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
"""Focal loss of bags and of pixels (the summands of Eq. 5; of Eq. 2 with ``gamma`` 0)."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

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


# Pixels that go through all steps of the formula while a processor's cache holds them.
_CHUNK = 2**17


class _SumNegativePixels(torch.autograd.Function):
    @staticmethod
    def forward(logits: Tensor, left_out: Tensor, gamma: float) -> tuple[Tensor, Tensor]:
        # From q = 1 - p, whose digits are those that count where a negative is wrong. A p below the rounding of q is 0:
        # what is lost, at most p^(1 + gamma) a pixel, is below the rounding of the sum. Beyond the floor of q the loss
        # stays as it is; the slope does not need it.
        slope = torch.neg(logits).clamp_(min=math.log(torch.finfo(logits.dtype).tiny) + 2).contiguous()
        infinity = slope.new_full((1,), torch.inf)
        slope.view(-1).scatter_(0, left_out, infinity.expand(len(left_out)))
        images = slope.view(logits.shape[0] * logits.shape[1], -1)
        sums = images.new_empty(len(images))
        pixels = images.shape[1]
        chunk = _CHUNK if logits.device.type == "cpu" else slope.numel()
        rows = max(1, chunk // pixels)
        for first in range(0, len(images), rows):
            sums[first : first + rows] = sum(
                _replace_by_slope(part, gamma) for part in images[first : first + rows].split(chunk, dim=1)
            )
        return sums.view(logits.shape[:2]).sum(0), slope

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor, float], output: tuple[Tensor, Tensor]) -> None:
        ctx.mark_non_differentiable(output[1])
        ctx.save_for_backward(output[1])

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:
        (slope,) = ctx.saved_tensors
        return slope * grads[0].view(-1, *(1,) * (slope.ndim - 2)), None, None


def _replace_by_slope(x: Tensor, gamma: float) -> Tensor:
    """``(N,)`` losses of negatives with ``x = -logit`` ``(N, K)``, which becomes their slope: the loss's derivative.

    With ``q = sigmoid(x)``, the loss is ``-p^gamma log q`` and its slope ``p^gamma (p - gamma q log q)``.
    """
    q = x.sigmoid_()
    log_q, p = q.log(), 1 - q
    slope = torch.add(p, q.mul_(log_q), alpha=-gamma, out=q)
    if gamma:
        modulation = p.pow_(gamma)
        slope.mul_(modulation)
        log_q.mul_(modulation)
    return -log_q.sum(1)
