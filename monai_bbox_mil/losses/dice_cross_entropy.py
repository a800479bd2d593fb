# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
"""Dice and cross-entropy loss of pixel labels, some of which may be unknown."""

from __future__ import annotations

from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits

__all__ = ["dice_cross_entropy"]

_SMOOTH = 1e-5


def dice_cross_entropy(logits: Tensor, label: Tensor, known: Tensor, weight: Tensor | None = None) -> Tensor:
    """Add the Dice loss and the mean cross-entropy over the known pixels of each image, and average over the images.

    The loss of an image is ``1 - 2 sum(p y) / (sum p + sum y) + sum(w CE(p, y)) / K``, with sums over its ``K`` known
    pixels. If all pixels are known and ``weight`` is ``None``, it equals MONAI's
    ``DiceFocalLoss(sigmoid=True, gamma=0)``.

    Args:
        logits: ``(B, C, *spatial)``.
        label: ``(B, C, *spatial)``, 1 in objects and 0 elsewhere. It must be 0 where it is unknown.
        known: ``(B, C, *spatial)``, 1 where the label is known and 0 elsewhere.
        weight: ``(B, C, *spatial)`` weight of the cross-entropy; all 1 if ``None``.

    Returns:
        ``(C,)`` losses.

    Example:
        >>> import torch
        >>> label = torch.tensor([[[[1.0, 0.0, 0.0]]]])
        >>> dice_cross_entropy(9 * (2 * label - 1), label, torch.ones_like(label)).round(decimals=2)
        tensor([0.])
    """
    pixels = tuple(range(2, logits.ndim))
    prob = logits.sigmoid() * known
    both, either = (prob * label).sum(pixels), (prob + label).sum(pixels)
    dice = 1 - (2 * both + _SMOOTH) / (either + _SMOOTH)
    weight = known if weight is None else known * weight
    cross_entropy = binary_cross_entropy_with_logits(logits, label, weight, reduction="none").sum(pixels)
    return (dice + cross_entropy / known.sum(pixels).clamp(min=1)).mean(0)
