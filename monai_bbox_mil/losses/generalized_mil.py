# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
"""Generalized multiple-instance learning from tight boxes (Wang & Xia, MICCAI 2021)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid
from torch.nn.modules.loss import _Loss

from monai_bbox_mil.bags import box_bags, empty_line_bags, resolve_angles
from monai_bbox_mil.boxes import boxes_to_mask
from monai_bbox_mil.losses.inputs import check_inputs, check_option, reduce_classes
from monai_bbox_mil.losses.pairwise import PairwiseRegion, box_pairwise_loss
from monai_bbox_mil.smooth_max import SmoothMax, log_smooth_max

__all__ = ["GeneralizedMILLoss", "MILTerms", "Negatives", "Unary", "generalized_mil_loss"]

Unary = Literal["focal", "bce"]
Negatives = Literal["pixels", "lines"]


class MILTerms(NamedTuple):
    """The two terms of Eq. 1, per class."""

    unary: Tensor
    """``(C,)`` unary term, Eq. 2 or 5."""
    pairwise: Tensor
    """``(C,)`` pairwise term, Eq. 3, not yet weighted; zeros where its weight is 0."""


def generalized_mil_loss(
    logits: Tensor,
    target: Tensor,
    smooth_max: SmoothMax = "alpha_softmax",
    alpha: float = 4.0,
    angles_deg: Sequence[float] = (-40, 40, 20),
    unary: Unary = "focal",
    beta: float = 0.25,
    gamma: float = 2.0,
    negatives: Negatives = "pixels",
    pairwise: bool = True,
    pairwise_region: PairwiseRegion = "box",
) -> MILTerms:
    """Unary and pairwise term of each class; the arguments are those of :class:`GeneralizedMILLoss`.

    Args:
        logits: ``(B, C, *spatial)`` float32 or float64.
        target: ``(B, N_max, 2*D + 1)`` box tensor on the host, corners whole voxels inside the image.

    Example:
        >>> target = torch.tensor([[[1.0, 1.0, 3.0, 3.0, 0.0]]])
        >>> generalized_mil_loss(torch.zeros(1, 1, 4, 4), target, unary="bce", pairwise=False).unary
        tensor([0.6931])
    """
    spatial_shape, num_classes = logits.shape[2:], logits.shape[1]
    outside = ~boxes_to_mask(target, spatial_shape, num_classes, ignored=True).to(logits.device)
    modulation = gamma if unary == "focal" else 0.0
    positive_weight, negative_weight = (beta, 1 - beta) if unary == "focal" else (1.0, 1.0)

    pixel, bag, channel = box_bags(target, spatial_shape, num_classes, angles_deg, logits.device)
    log_p = log_smooth_max(logsigmoid(logits).flatten()[pixel], bag, len(channel), smooth_max, alpha)
    sums = _sum_by_class(_focal(log_p, modulation), channel, num_classes) * positive_weight
    num_positive = _count_by_class(channel, num_classes)

    log_q = logsigmoid(-logits)
    if negatives == "pixels":
        everything_but_class = (0, *range(2, logits.ndim))
        negative_sums = _focal(log_q, modulation).where(outside, 0.0).sum(everything_but_class)
        num_negative = outside.sum(everything_but_class)
    else:
        pixel, bag, channel = empty_line_bags(outside)
        log_not_p = log_smooth_max(log_q.flatten()[pixel], bag, len(channel), smooth_max, -alpha)
        negative_sums = _sum_by_class(_focal(log_not_p, modulation), channel, num_classes)
        num_negative = _count_by_class(channel, num_classes)
    # Eq. 2 divides by all bags, Eq. 5 by the positive ones. A batch without a positive bag is divided by its negative
    # ones: by the paper's max(1, N+) it would weigh as much as all its pixels.
    count = num_positive + num_negative if unary == "bce" else num_positive.where(num_positive > 0, num_negative)
    unary_term = (sums + negative_weight * negative_sums) / count.clamp(min=1)

    if not pairwise:
        return MILTerms(unary_term, torch.zeros_like(unary_term))
    in_box = boxes_to_mask(target, spatial_shape, num_classes).to(logits.device)
    return MILTerms(unary_term, box_pairwise_loss(logits.sigmoid(), in_box, pairwise_region))


def _focal(log_right: Tensor, gamma: float) -> Tensor:
    """``-(1 - r)^gamma log r`` where ``r`` is the probability given to the right answer; cross-entropy at gamma 0."""
    log_right = log_right.clamp(max=0)
    if gamma == 0:
        return -log_right
    # The floor only keeps the power's derivative finite where the answer is right to the last digit.
    wrong = (-torch.expm1(log_right)).clamp(min=torch.finfo(log_right.dtype).tiny)
    return -(wrong**gamma) * log_right


def _sum_by_class(values: Tensor, channel: Tensor, num_classes: int) -> Tensor:
    return values.new_zeros(num_classes).index_add(0, channel, values)


def _count_by_class(channel: Tensor, num_classes: int) -> Tensor:
    return torch.bincount(channel, minlength=num_classes)


class GeneralizedMILLoss(_Loss):
    """Generalized multiple-instance learning from tight boxes, with pairwise smoothness.

    For each class ``unary + pairwise_weight * pairwise`` (Eq. 1), reduced over the classes. Positive bags are the
    parallel crossing lines of the boxes at all angles (planes in 3D), negative bags the pixels outside all boxes of the
    class. The defaults are the paper's; the MIL baseline it compares with is
    ``GeneralizedMILLoss(smooth_max="max", angles_deg=(0,), unary="bce", negatives="lines")``.

    Computed in float32 whatever the autocast type (float64 stays). After each call :attr:`parts` holds the terms.

    Args:
        smooth_max: how pixels join to a bag's probability: ``"alpha_softmax"`` (Eq. 6), ``"alpha_quasimax"`` (Eq. 7)
            or ``"max"``.
        alpha: sharpness of the smooth maximum; the larger, the closer to the maximum.
        angles_deg: angles of the crossing lines in degrees, as ``(start, stop, step)`` with stop included or as a
            list; see :func:`monai_bbox_mil.bags.resolve_angles` for which is which.
        unary: ``"focal"`` (Eq. 5) or ``"bce"`` (Eq. 2).
        beta: weight of the positive bags in the focal loss, negative ones get ``1 - beta``.
        gamma: focusing exponent of the focal loss.
        negatives: ``"pixels"`` outside all boxes, or ``"lines"``: full rows and columns (slices in 3D) without a box.
        pairwise_weight: lambda of Eq. 1; 0 leaves the pairwise term out.
        pairwise_region: ``"box"`` or ``"image"``, see :func:`monai_bbox_mil.losses.pairwise.box_pairwise_loss`.
        sigmoid: whether ``input`` holds logits; otherwise probabilities, which saturate sooner.
        reduction: over the classes, ``"mean"``, ``"sum"`` (Eq. 4) or ``"none"``.

    Raises:
        ValueError: for options out of range, when made; for an input and target that do not fit, when called.

    Example:
        >>> from monai_bbox_mil.losses import GeneralizedMILLoss
        >>> loss = GeneralizedMILLoss()
        >>> logits = torch.zeros(2, 1, 32, 32, requires_grad=True)
        >>> target = torch.tensor([[[4.0, 4.0, 20.0, 24.0, 0.0]], [[0.0, 0.0, 0.0, 0.0, -1.0]]])  # one box; none
        >>> loss(logits, target).backward()
        >>> sorted(loss.parts)
        ['loss', 'pairwise', 'unary']
    """

    parts: dict[str, Tensor]
    """Per class, detached, from the latest call: ``unary``, ``pairwise`` (unweighted) and their ``loss``, ``(C,)``."""

    def __init__(
        self,
        smooth_max: SmoothMax = "alpha_softmax",
        alpha: float = 4.0,
        angles_deg: Sequence[float] = (-40, 40, 20),
        unary: Unary = "focal",
        beta: float = 0.25,
        gamma: float = 2.0,
        negatives: Negatives = "pixels",
        pairwise_weight: float = 10.0,
        pairwise_region: PairwiseRegion = "box",
        sigmoid: bool = True,
        reduction: str = "mean",
    ) -> None:
        check_option("smooth_max", smooth_max, SmoothMax)
        check_option("unary", unary, Unary)
        check_option("negatives", negatives, Negatives)
        check_option("pairwise_region", pairwise_region, PairwiseRegion)
        for name, value, good, expected in (
            ("alpha", alpha, alpha > 0, "greater than 0"),
            ("beta", beta, 0 <= beta <= 1, "in [0, 1]"),
            ("gamma", gamma, gamma >= 0, "at least 0"),
            ("pairwise_weight", pairwise_weight, pairwise_weight >= 0, "at least 0"),
        ):
            if not good:
                raise ValueError(f"{name} must be {expected}, got {value}.")
        super().__init__(reduction=check_option("reduction", reduction))
        self.smooth_max = smooth_max
        self.alpha = alpha
        self.angles_deg = resolve_angles(angles_deg)
        self.unary = unary
        self.beta = beta
        self.gamma = gamma
        self.negatives = negatives
        self.pairwise_weight = pairwise_weight
        self.pairwise_region = pairwise_region
        self.sigmoid = sigmoid
        self.parts = {}

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        """Loss of ``input`` ``(B, C, *spatial)`` given the box tensor ``target`` ``(B, N_max, 2*D + 1)``."""
        logits, target = check_inputs(input, target, self.sigmoid)
        with torch.autocast(logits.device.type, enabled=False):
            unary, pairwise = generalized_mil_loss(
                logits,
                target,
                smooth_max=self.smooth_max,
                alpha=self.alpha,
                angles_deg=self.angles_deg,
                unary=self.unary,
                beta=self.beta,
                gamma=self.gamma,
                negatives=self.negatives,
                pairwise=self.pairwise_weight > 0,
                pairwise_region=self.pairwise_region,
            )
            per_class = unary + self.pairwise_weight * pairwise
        self.parts = {"unary": unary.detach(), "pairwise": pairwise.detach(), "loss": per_class.detach()}
        return reduce_classes(per_class, self.reduction)
