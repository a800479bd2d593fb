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
    """``(C,)`` pairwise term, Eq. 3, unweighted; zeros if it was not asked for."""


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

    The arguments that are not listed here are those of :class:`GeneralizedMILLoss`.

    Args:
        logits: ``(B, C, *spatial)`` float32 or float64.
        target: ``(B, N_max, 2*D + 1)`` box tensor on the host; the corners are whole voxels inside the image.
        pairwise: whether to compute the pairwise term.

    Raises:
        ValueError: if an option is out of range, or the shapes do not match.

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
        # With sync, another rank may have no positive bag and need this number.
        needed = sync or unary == "bce" or 0 in lines.per_class
        num_negative = patches.num_outside() if needed else num_positive
    else:
        patch_logits, empty = patches.gather(logits), EmptyLines(patches)
        negative = _sum_by_class(focal(log_smooth_max(-logits, empty, smooth_max, -alpha), modulation), empty.per_class)
        num_negative = torch.tensor(empty.per_class, device=logits.device)
    positive = _sum_by_class(focal(log_smooth_max(patch_logits, lines, smooth_max, alpha), modulation), lines.per_class)
    if sync:
        num_positive, num_negative = mean_over_processes(torch.stack([num_positive, num_negative]), logits.dtype)
    # Eq. 2 divides by the number of all bags, Eq. 5 by the number of positive bags. Without a positive bag we divide by
    # the number of negative bags: after the paper's max(1, N+), such a batch would weigh as much as its many pixels.
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

    The loss of each class is ``unary + pairwise_weight * pairwise`` (Eq. 1), and the classes are then reduced to one
    number. Positive bags are the parallel crossing lines of the boxes at all angles (planes in 3D). Negative bags are
    the pixels outside all boxes of the class. The defaults are the paper's. The MIL baseline of the paper is
    ``GeneralizedMILLoss(smooth_max="max", angles_deg=(0,), unary="bce", negatives="lines")``.

    The loss is computed in float32 under any autocast type; float64 stays float64. It takes about the time and memory
    of a pixel-wise loss, because it computes its gradient together with its value. It works under autocast,
    ``DistributedDataParallel``, gradient accumulation and (with torch 2.13, not 2.8) ``torch.func.grad``. It does not
    support second derivatives, ``torch.func.vmap`` or ``torch.jit.script``, and ``torch.compile`` does not speed it up.
    On a GPU the host waits for the device once per call, to check the input.

    Args:
        smooth_max: how the pixels of a bag combine to its probability: ``"alpha_softmax"`` (Eq. 6),
            ``"alpha_quasimax"`` (Eq. 7) or ``"max"``.
        alpha: sharpness of the smooth maximum, at most 50. A larger ``alpha`` is closer to the maximum.
        angles_deg: angles of the crossing lines in degrees, as ``(start, stop, step)`` including the stop, or as a
            list. :func:`monai_bbox_mil.bags.resolve_angles` explains which three numbers are read as a range.
        unary: ``"focal"`` (Eq. 5) or ``"bce"`` (Eq. 2).
        beta: weight of the positive bags in the focal loss; negative bags get ``1 - beta``.
        gamma: focusing exponent of the focal loss.
        negatives: ``"pixels"`` for all pixels outside the boxes, or ``"lines"`` for full rows and columns (slices in
            3D) that meet no box.
        pairwise_weight: lambda of Eq. 1; 0 leaves the pairwise term out.
        pairwise_region: ``"box"`` or ``"image"``, see :func:`monai_bbox_mil.losses.pairwise.box_pairwise_loss`.
        core: for loose boxes, the share of a box's lines that must meet the object, taken from the middle. A good value
            is the object's width divided by the box's. The default 1 uses all lines, for tight boxes.
        sigmoid: true if ``input`` is logits, false if it is probabilities, which saturate sooner.
        reduction: how to reduce the classes: ``"mean"``, ``"sum"`` (Eq. 4) or ``"none"``.
        sync_normalizer: in distributed training, divide by the mean over all ranks of N+ in Eq. 5 (of all bags in
            Eq. 2) and of the number of pairs, instead of each rank's own numbers. The mean of the ranks' losses and
            gradients, which ``DistributedDataParallel`` computes, then equals that of one process with the whole batch.
            This applies only if ``input`` requires a gradient, and every rank must then make the call. Validation uses
            each rank's own numbers.

    Raises:
        ValueError: if an option is out of range. When called: if input and target do not match.

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
    """``(C,)`` terms of the latest call, detached: ``unary``, ``pairwise`` (unweighted) and the total ``loss``."""

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
