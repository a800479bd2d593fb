# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
"""Pairwise smoothness of the prediction (Wang & Xia, MICCAI 2021, Eq. 3)."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from typing import Any, Literal

import torch
from torch import Tensor
from torch.nn.modules.loss import _Loss

from monai_bbox_mil.boxes import boxes_to_mask
from monai_bbox_mil.losses.inputs import check_inputs, check_option, reduce_classes

__all__ = ["BoxPairwiseLoss", "PairwiseRegion", "box_pairwise_loss"]

PairwiseRegion = Literal["box", "image"]


def box_pairwise_loss(prob: Tensor, in_box: Tensor, region: PairwiseRegion = "box") -> Tensor:
    """Mean squared difference of neighbouring probabilities, per class (Eq. 3).

    The mean is over all ordered pairs ``(k, k')`` of the 8-neighbourhood (26 in 3D) inside the image with ``k`` in a
    box of the class (``region="box"``) or anywhere (``region="image"``).

    Args:
        prob: ``(B, C, *spatial)`` probabilities.
        in_box: ``(B, C, *spatial)`` bool, true inside the boxes of the class.
        region: where ``k`` may lie.

    Returns:
        ``(C,)``, each in ``[0, 1]``; 0 for a class without pairs.

    Example:
        >>> prob = torch.tensor([[[[0.0, 1.0, 1.0]]]])
        >>> box_pairwise_loss(prob, torch.tensor([[[[False, True, True]]]]))
        tensor([0.3333])
        >>> box_pairwise_loss(prob, torch.tensor([[[[False, True, True]]]]), region="image")
        tensor([0.5000])
    """
    check_option("pairwise_region", region, PairwiseRegion)
    dims = prob.ndim - 2
    weight = in_box.to(prob.dtype) if region == "box" else torch.ones_like(prob)
    total = prob.new_zeros(prob.shape[1])
    pairs = prob.new_zeros(prob.shape[1])
    everything_but_class = (0, *range(2, prob.ndim))
    # One of each two opposite offsets: a pair of pixels is seen once and counted in both orders.
    for offset in (o for o in product((-1, 0, 1), repeat=dims) if o > (0,) * dims):
        here, there = _shifted(offset, prob.shape[2:]), _shifted(tuple(-o for o in offset), prob.shape[2:])
        count = weight[here] + weight[there]
        total = total + (count * (prob[here] - prob[there]) ** 2).sum(everything_but_class)
        pairs = pairs + count.sum(everything_but_class)
    return total / pairs.clamp(min=1)


def _shifted(offset: Sequence[int], shape: Sequence[int]) -> Any:
    """Index of the pixels that have a neighbour at ``offset`` inside the image."""
    return (..., *(slice(max(0, -o), size - max(0, o)) for o, size in zip(offset, shape)))


class BoxPairwiseLoss(_Loss):
    """Pairwise smoothness of a network's output in (or outside of) its boxes, see :func:`box_pairwise_loss`.

    Args:
        region: ``"box"`` counts pairs that start in a box of the class (what the published results used), ``"image"``
            all pairs (the paper's text).
        sigmoid: whether ``input`` holds logits; otherwise probabilities.
        reduction: ``"mean"``, ``"sum"`` (the paper's Eq. 4) or ``"none"`` over the classes.

    Raises:
        ValueError: for unknown options, when made; for an input and target that do not fit, when called.

    Example:
        >>> from monai_bbox_mil.losses import BoxPairwiseLoss
        >>> target = torch.tensor([[[1.0, 1.0, 3.0, 3.0, 0.0]]])  # one box of class 0
        >>> BoxPairwiseLoss()(torch.zeros(1, 1, 4, 4), target)
        tensor(0.)
    """

    def __init__(self, region: PairwiseRegion = "box", sigmoid: bool = True, reduction: str = "mean") -> None:
        check_option("region", region, PairwiseRegion)
        super().__init__(reduction=check_option("reduction", reduction))
        self.region = region
        self.sigmoid = sigmoid

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        """Loss of ``input`` ``(B, C, *spatial)`` given the box tensor ``target`` ``(B, N_max, 2*D + 1)``."""
        logits, target = check_inputs(input, target, self.sigmoid)
        in_box = boxes_to_mask(target, logits.shape[2:], logits.shape[1]).to(logits.device)
        return reduce_classes(box_pairwise_loss(logits.sigmoid(), in_box, self.region), self.reduction)
