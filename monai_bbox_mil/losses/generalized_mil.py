# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
"""Generalized multiple-instance learning from tight boxes (Wang & Xia, MICCAI 2021)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.modules.loss import _Loss

from monai_bbox_mil.bags import BoxPatches, CrossingLines, EmptyLines, resolve_angles
from monai_bbox_mil.losses.focal import focal, split_pixels
from monai_bbox_mil.losses.inputs import check_inputs, reduce_classes
from monai_bbox_mil.losses.options import (
    NEGATIVES,
    PAIRWISE_REGIONS,
    UNARIES,
    check_core,
    check_not_negative,
    check_option,
)
from monai_bbox_mil.losses.pairwise import box_pairwise_loss, mean_square_of_pairs
from monai_bbox_mil.losses.process_mean import mean_over_processes
from monai_bbox_mil.smooth_max import MAX_ALPHA, SMOOTH_MAXIMA, log_smooth_max

__all__ = ["GeneralizedMILLoss", "MILTerms", "generalized_mil_loss"]


class MILTerms(NamedTuple):
    """The two terms of Eq. 1, per class."""

    unary: Tensor
    """``(C,)`` unary term, Eq. 2 or 5."""
    pairwise: Tensor
    """``(C,)`` pairwise term, Eq. 3, not yet weighted; zeros if it was not computed."""


def generalized_mil_loss(
    logits: Tensor,
    target: Tensor,
    smooth_max: str = "alpha_softmax",
    alpha: float = 4.0,
    angles_deg: Sequence[float] = (-40, 40, 20),
    unary: str = "focal",
    beta: float = 0.25,
    gamma: float = 2.0,
    negatives: str = "pixels",
    pairwise: bool = True,
    pairwise_region: str = "box",
    core: float = 1.0,
    sync_normalizer: bool = False,
) -> MILTerms:
    """Compute the unary and the pairwise term of each class.

    All arguments not listed here are those of :class:`GeneralizedMILLoss`.

    Args:
        logits: ``(B, C, *spatial)`` float32 or float64.
        target: ``(B, N_max, 2*D + 1)`` box tensor on the CPU. The corners must be whole voxels inside the image.
        pairwise: whether to compute the pairwise term.

    Returns:
        both terms, not yet weighted.

    Raises:
        ValueError: if an option is out of range, or the shapes do not fit.

    Example:
        >>> target = torch.tensor([[[1.0, 1.0, 3.0, 3.0, 0.0]]])
        >>> generalized_mil_loss(torch.zeros(1, 1, 4, 4), target, unary="bce", pairwise=False).unary
        tensor([0.6931])
    """
    _check_options(alpha, unary, beta, gamma, negatives, core)
    modulation = gamma if unary == "focal" else 0.0
    positive_weight, negative_weight = (beta, 1 - beta) if unary == "focal" else (1.0, 1.0)
    sync = sync_normalizer and logits.requires_grad
    patches = BoxPatches(target, logits.shape, logits.device)
    lines = CrossingLines(patches, angles_deg, core)
    num_positive = torch.tensor(lines.per_class, device=logits.device)
    if negatives == "pixels":
        patch_logits, negative = split_pixels(logits, patches, modulation)
        # With sync, another rank may have no positive bag.
        needed = sync or unary == "bce" or 0 in lines.per_class
        num_negative = patches.num_outside() if needed else num_positive
    else:
        patch_logits, empty = patches.gather(logits), EmptyLines(patches)
        negative = _sum_by_class(focal(log_smooth_max(-logits, empty, smooth_max, -alpha), modulation), empty.per_class)
        num_negative = torch.tensor(empty.per_class, device=logits.device)
    positive = _sum_by_class(focal(log_smooth_max(patch_logits, lines, smooth_max, alpha), modulation), lines.per_class)
    if sync:
        num_positive, num_negative = mean_over_processes(torch.stack([num_positive, num_negative]), logits.dtype)
    # Eq. 2 divides by the number of all bags, Eq. 5 by the number of positive ones. Without a positive bag, we divide
    # by the number of negative ones: with the paper's max(1, N+), such a batch's loss would be the sum over its pixels.
    count = num_positive + num_negative if unary == "bce" else num_positive.where(num_positive > 0, num_negative)
    unary_term = (positive_weight * positive + negative_weight * negative) / count.where(count > 0, 1)

    if not pairwise:
        return MILTerms(unary_term, torch.zeros_like(unary_term))
    if pairwise_region == "image":
        return MILTerms(unary_term, box_pairwise_loss(logits, target, pairwise_region, sync))
    return MILTerms(unary_term, mean_square_of_pairs(patch_logits.sigmoid(), patches, sync))


def _check_options(alpha: float, unary: str, beta: float, gamma: float, negatives: str, core: float) -> None:
    check_option("unary", unary, UNARIES)
    check_option("negatives", negatives, NEGATIVES)
    if not 0 < alpha <= MAX_ALPHA:
        raise ValueError(f"alpha must be greater than 0 and at most {MAX_ALPHA:g}, got {alpha}.")
    if not 0 <= beta <= 1:
        raise ValueError(f"beta must be in [0, 1], got {beta}.")
    check_not_negative(gamma=gamma)
    check_core(core)


def _sum_by_class(values: Tensor, per_class: list[int]) -> Tensor:
    return torch.stack([part.sum() for part in values.split(per_class)])


class GeneralizedMILLoss(_Loss):
    """Generalized multiple-instance learning from tight boxes, with pairwise smoothness.

    The loss of a class is ``unary + pairwise_weight * pairwise`` (Eq. 1); it is then reduced over the classes. Positive
    bags are the parallel crossing lines of the boxes at all angles (planes in 3D). Negative bags are the pixels outside
    all boxes of the class. The defaults are the paper's. The MIL baseline that the paper compares with is
    ``GeneralizedMILLoss(smooth_max="max", angles_deg=(0,), unary="bce", negatives="lines")``.

    The loss is computed in float32 whatever the autocast type; float64 input stays float64. After each call
    :attr:`parts` holds the terms. Time and memory are those of a pixel-wise loss, because the gradient is computed
    together with the value. The loss works under autocast, ``DistributedDataParallel``, gradient accumulation and, with
    torch 2.13 but not 2.8, ``torch.func.grad``. A second derivative, ``torch.func.vmap`` and ``torch.jit.script`` raise
    an error; ``torch.compile`` makes it no faster. With a GPU, each call waits for the device once, to check the input.

    Args:
        smooth_max: how to join pixels to a bag's probability: ``"alpha_softmax"`` (Eq. 6), ``"alpha_quasimax"``
            (Eq. 7) or ``"max"``.
        alpha: sharpness of the smooth maximum, at most 50; the larger, the closer to the maximum.
        angles_deg: angles of the crossing lines in degrees, as ``(start, stop, step)`` with ``stop`` included, or as a
            list; :func:`monai_bbox_mil.bags.resolve_angles` tells them apart.
        unary: ``"focal"`` (Eq. 5) or ``"bce"`` (Eq. 2).
        beta: weight of the positive bags in the focal loss; the negative ones get ``1 - beta``.
        gamma: focusing exponent of the focal loss.
        negatives: ``"pixels"`` outside all boxes, or ``"lines"``: full rows and columns (slices in 3D) without a box.
        pairwise_weight: lambda of Eq. 1; 0 leaves the pairwise term out.
        pairwise_region: ``"box"`` or ``"image"``, see :func:`monai_bbox_mil.losses.pairwise.box_pairwise_loss`.
        core: for loose boxes, the middle share of a box's lines that must meet the object: about the width of the
            object over the width of its box. 1, for tight boxes, uses all lines.
        sigmoid: whether ``input`` holds logits; if not, it holds probabilities, which saturate sooner.
        reduction: over the classes, ``"mean"``, ``"sum"`` (Eq. 4) or ``"none"``.
        sync_normalizer: in distributed training, whether to divide by counts averaged over all ranks instead of each
            rank's own: N+ of Eq. 5 (all bags in Eq. 2) and the number of pairs. The mean over the ranks of losses and
            of gradients, which ``DistributedDataParallel`` takes, then equals that of one process with the whole batch.
            This applies only to calls whose ``input`` requires a gradient; every rank must make the same calls.
            Validation uses each rank's own counts.

    Raises:
        ValueError: in the constructor, if an option is out of range; in a call, if input and target do not fit.
        RuntimeError: if the loss is differentiated twice.

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
    """``unary``, ``pairwise`` (unweighted) and their ``loss``, each ``(C,)`` and detached, from the latest call."""

    def __init__(
        self,
        smooth_max: str = "alpha_softmax",
        alpha: float = 4.0,
        angles_deg: Sequence[float] = (-40, 40, 20),
        unary: str = "focal",
        beta: float = 0.25,
        gamma: float = 2.0,
        negatives: str = "pixels",
        pairwise_weight: float = 10.0,
        pairwise_region: str = "box",
        core: float = 1.0,
        sigmoid: bool = True,
        reduction: str = "mean",
        sync_normalizer: bool = False,
    ) -> None:
        check_option("smooth_max", smooth_max, SMOOTH_MAXIMA)
        _check_options(alpha, unary, beta, gamma, negatives, core)
        check_option("pairwise_region", pairwise_region, PAIRWISE_REGIONS)
        check_not_negative(pairwise_weight=pairwise_weight)
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
        self.core = core
        self.sigmoid = sigmoid
        self.sync_normalizer = sync_normalizer
        self.parts = {}

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        """Compute the loss of ``input`` ``(B, C, *spatial)`` for the box tensor ``target`` ``(B, N_max, 2*D + 1)``."""
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
                core=self.core,
                sync_normalizer=self.sync_normalizer,
            )
            per_class = unary + self.pairwise_weight * pairwise
        self.parts = {"unary": unary.detach(), "pairwise": pairwise.detach(), "loss": per_class.detach()}
        return reduce_classes(per_class, self.reduction)
