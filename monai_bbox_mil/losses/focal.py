# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
"""Focal loss of bags and of pixels: the summands of Eq. 5, or of Eq. 2 for ``gamma`` 0."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from monai_bbox_mil.bags import BoxPatches
from monai_bbox_mil.losses.second_derivative import refuse_second_derivative

__all__ = ["focal", "split_pixels"]


def focal(log_right: Tensor, gamma: float) -> Tensor:
    """Compute ``-(1 - r)^gamma log r``, where ``r`` is the predicted probability of the right answer.

    For ``gamma`` 0 this is the cross-entropy.

    Args:
        log_right: ``log r``, in any shape.
        gamma: focusing exponent.

    Example:
        >>> focal(torch.tensor([0.5]).log(), 2.0)
        tensor([0.1733])
    """
    log_right = log_right.clamp(max=0)
    if gamma == 0:
        return -log_right
    # The floor keeps the power's derivative finite where r rounds to 1.
    wrong = (-torch.expm1(log_right)).clamp(min=torch.finfo(log_right.dtype).tiny)
    return -(wrong**gamma) * log_right


def split_pixels(logits: Tensor, patches: BoxPatches, gamma: float) -> tuple[Tensor, Tensor]:
    """Gather the logits in the boxes, and sum the :func:`focal` loss of all pixels outside the boxes as negatives.

    This is one operation because two would each fill a gradient as large as the image. The gradient of the negatives is
    computed together with their value, to save passes over the image.

    Args:
        logits: ``(B, C, *spatial)``.
        patches: the boxes. Pixels in ignored boxes are not negatives either.
        gamma: focusing exponent.

    Returns:
        the logit of each slot of the boxes that are not ignored, and the ``(C,)`` sums of ``-p^gamma log(1 - p)``
        outside. Both can be differentiated once.

    Example:
        >>> patches = BoxPatches(torch.tensor([[[0.0, 2, 1, 3, 0]]]), (1, 1, 1, 3), torch.device("cpu"))
        >>> split_pixels(torch.zeros(1, 1, 1, 3), patches, 2.0)[1]
        tensor([0.3466])
    """
    in_boxes, sums, _ = _SplitPixels.apply(logits, patches, gamma)
    return in_boxes, sums


# Number of pixels to process at a time on a CPU, so that they stay in its cache through all steps of the formula.
_CHUNK = 2**17


class _SplitPixels(torch.autograd.Function):
    @staticmethod
    def forward(logits: Tensor, patches: BoxPatches, gamma: float) -> tuple[Tensor, Tensor, Tensor]:
        # Start from q = 1 - p, which is precise where it matters: where a negative is wrong. A p too small to change q
        # becomes 0. This loses at most p^(1 + gamma) per pixel, which is below the rounding of the sum. The clamp keeps
        # q above its smallest number; beyond it the loss stays constant, and the slope is already 1.
        slope = logits.clamp(max=-math.log(torch.finfo(logits.dtype).tiny) - 2).contiguous()
        nothing = slope.new_full((1,), -torch.inf).expand(len(patches.pixel_of_box))
        slope.view(-1).scatter_(0, patches.pixel_of_box, nothing)
        images = slope.view(logits.shape[0] * logits.shape[1], -1)
        sums = images.new_empty(len(images))
        pixels = images.shape[1]
        chunk = _CHUNK if logits.device.type == "cpu" else slope.numel()
        rows = max(1, chunk // pixels)
        for first in range(0, len(images), rows):
            sums[first : first + rows] = sum(
                _replace_by_slope(part, gamma) for part in images[first : first + rows].split(chunk, dim=1)
            )
        return patches.gather(logits), sums.view(logits.shape[:2]).sum(0), slope

    @staticmethod
    def setup_context(
        ctx: Any, inputs: tuple[Tensor, BoxPatches, float], output: tuple[Tensor, Tensor, Tensor]
    ) -> None:
        ctx.patches = inputs[1]
        ctx.mark_non_differentiable(output[2])
        ctx.save_for_backward(inputs[0], output[2])

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:
        logits, slope = ctx.saved_tensors
        in_boxes, sums, _ = grads
        grad = slope * sums.view(-1, *(1,) * (slope.ndim - 2))
        grad.view(-1).index_add_(0, ctx.patches.pixel[: len(in_boxes)], in_boxes)
        return refuse_second_derivative(grad, logits), None, None


def _replace_by_slope(logits: Tensor, gamma: float) -> Tensor:
    """Compute the ``(N,)`` losses of negatives, and overwrite their ``logits`` ``(N, K)`` with the loss's derivative.

    The loss is ``-p^gamma log q`` and its derivative is ``p^gamma (p - gamma q log q)``.
    """
    q = logits.neg_().sigmoid_()
    log_q, p = q.log(), 1 - q
    slope = torch.addcmul(p, q, log_q, value=-gamma, out=q)
    if gamma:
        modulation = p.pow_(gamma)
        slope.mul_(modulation)
        log_q.mul_(modulation)
    return -log_q.sum(1)
