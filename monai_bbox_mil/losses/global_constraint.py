# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
"""Global constraints from tight boxes (Kervadec et al., MIDL 2020), with an extended log-barrier."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.modules.loss import _Loss

from monai_bbox_mil.bags import BoxBands
from monai_bbox_mil.losses.inputs import check_inputs, reduce_classes
from monai_bbox_mil.losses.options import check_not_negative, check_option

__all__ = ["MAX_T", "ConstraintTerms", "GlobalConstraintLoss", "global_constraint_loss", "log_barrier"]

MAX_T = 1e12
"""Largest sharpness of the barrier. Beyond it, sums over large volumes would come close to the largest float32."""


class ConstraintTerms(NamedTuple):
    """The three unweighted terms of each class, averaged over the images of the batch."""

    tightness: Tensor
    """``(C,)``, asks every band of a box to meet the object."""
    size: Tensor
    """``(C,)``, asks the object to fill neither too little nor too much of its boxes."""
    emptiness: Tensor
    """``(C,)``, asks for no object outside the boxes."""


def log_barrier(z: Tensor, t: float) -> Tensor:
    """Compute the extended log-barrier of the constraint ``z <= 0``.

    The barrier is ``-log(-z) / t`` where ``z <= -1/t^2``. Elsewhere it is the straight line that continues with the
    same value and slope, ``t z - log(1/t^2) / t + 1/t``. It is finite everywhere. A violated constraint has the slope
    ``t``, however far ``z`` is from 0.

    Args:
        z: values to constrain, in any shape.
        t: sharpness; a larger ``t`` is closer to a hard constraint.

    Raises:
        ValueError: if ``t`` is out of range.

    Example:
        >>> log_barrier(torch.tensor([-2.0, 0.0, 1.0]), 1.0)
        tensor([-0.6931,  1.0000,  2.0000])
    """
    _check_t(t)
    seam = 1 / t**2
    # Each branch is constant where the other one applies, so neither can put a NaN into the other's gradient. We do not
    # use clamp, because its slope at the limit differs between versions of torch.
    met = z <= -seam
    return -torch.where(met, -z, seam).log() / t + t * torch.where(met, 0.0, z + seam)


def global_constraint_loss(
    logits: Tensor,
    target: Tensor,
    t: float = 5.0,
    band_width: int = 5,
    size_bounds: tuple[float, float] = (0.5, 0.9),
) -> ConstraintTerms:
    """Compute the three terms of each class.

    Let ``psi_t`` be the :func:`log_barrier`, ``p`` the probabilities and ``P`` the number of pixels of an image.

    - tightness: the sum of ``psi_t(width - sum of p in the band)`` over all bands of all boxes, see
      :class:`~monai_bbox_mil.bags.BoxBands`. Each row of a tight box contains at least one pixel of the object, so a
      band of ``width`` rows contains at least ``width`` pixels. The last band of an axis may be narrower; its own width
      is then used.
    - size: ``(psi_t(S - upper |box|) + psi_t(lower |box| - S)) / P``. ``|box|`` is the number of pixels that the boxes
      of the class cover together. ``S`` is the sum of ``p`` over the whole image except pixels that only an ignored
      region covers: it measures the object wherever it is predicted. An image without boxes of the class adds 0.
    - emptiness: ``t / P`` times the sum of ``p`` outside all boxes and ignored regions of the class.

    A pixel in both a box and an ignored region belongs to the box.

    Args:
        logits: ``(B, C, *spatial)`` float32 or float64.
        target: ``(B, N_max, 2*D + 1)`` box tensor on the host; the corners are whole voxels inside the image.
        t: see :class:`GlobalConstraintLoss`.
        band_width: see :class:`GlobalConstraintLoss`.
        size_bounds: see :class:`GlobalConstraintLoss`.

    Raises:
        ValueError: if an option is out of range, or the shapes do not match.

    Example:
        >>> target = torch.tensor([[[1.0, 1.0, 3.0, 3.0, 0.0]]])
        >>> global_constraint_loss(torch.zeros(1, 1, 4, 4), target, t=1.0).emptiness  # 12 of 16 pixels, p = 1/2
        tensor([0.3750])
    """
    _check_t(t)
    _check_bounds(band_width, size_bounds)
    batch, num_classes = logits.shape[:2]
    pixels = logits[0, 0].numel()
    bands = BoxBands(target, logits.shape, band_width, logits.device)
    prob = logits.sigmoid().flatten()
    tightness = log_barrier(bands.thickness - bands.sum(prob.index_select(0, bands.pixel)), t)
    tightness = tightness.new_zeros(num_classes).index_add(0, bands.channel, tightness) / batch

    # Sum the outside directly: a difference of two large sums would lose its last digits.
    in_boxes = torch.zeros_like(prob).index_fill_(0, bands.pixel, 1)
    outside = torch.ones_like(prob).index_fill_(0, bands.pixel, 0).index_fill_(0, bands.ignored_pixel, 0)
    box_size = in_boxes.view(batch, num_classes, -1).sum(2)
    sum_inside, sum_outside = ((prob * m).view(batch, num_classes, -1).sum(2) for m in (in_boxes, outside))
    lower, upper = size_bounds
    total = sum_inside + sum_outside
    size = log_barrier(total - upper * box_size, t) + log_barrier(lower * box_size - total, t)
    size = size.where(box_size > 0, 0).mean(0) / pixels
    return ConstraintTerms(tightness, size, t / pixels * sum_outside.mean(0))


def _check_bounds(band_width: int, size_bounds: tuple[float, float]) -> None:
    if band_width < 1 or band_width % 1:
        raise ValueError(f"band_width must be a whole number of pixels, at least 1, got {band_width}.")
    if len(size_bounds) != 2 or not 0 <= size_bounds[0] <= size_bounds[1]:
        raise ValueError(f"size_bounds must be two numbers with 0 <= lower <= upper, got {tuple(size_bounds)}.")


def _check_t(t: float) -> None:
    if not 0 < t <= MAX_T:
        raise ValueError(f"t must be greater than 0 and at most {MAX_T:g}, got {t}.")


class GlobalConstraintLoss(_Loss):
    """Constraints that tight boxes put on a whole prediction (Kervadec et al., MIDL 2020), as log-barriers.

    The loss of each class is ``tightness_weight * tightness + size_weight * size + emptiness_weight * emptiness``, see
    :func:`global_constraint_loss`, and the classes are then reduced to one number. Bands run along every axis: rows and
    columns in 2D, slabs in 3D. All boxes of one class in one image form one region, whose pixels are ``|box|`` of the
    size term.

    Let :attr:`t` grow during training with :class:`~monai_bbox_mil.handlers.BarrierSchedule`. A larger ``t`` makes the
    loss of the same error larger, so do not compare losses at different ``t``.

    The constraints are on probabilities, not on their logarithms, so a logit that is far off gets hardly any gradient.
    The loss is computed in float32 under any autocast type; float64 stays float64. It uses plain autograd, so second
    derivatives work. On a GPU the host waits for the device once per call, to check the input.

    Args:
        t: sharpness of the barriers, at most ``1e12``. A larger ``t`` is closer to hard constraints.
        band_width: width in pixels of the bands of the tightness term.
        size_bounds: smallest and largest share of its boxes that an object fills.
        tightness_weight: weight of the tightness term, the only one that is not divided by the number of pixels.
        size_weight: weight of the size term.
        emptiness_weight: weight of the emptiness term.
        sigmoid: true if ``input`` is logits, false if it is probabilities.
        reduction: how to reduce the classes: ``"mean"``, ``"sum"`` or ``"none"``.

    Raises:
        ValueError: if an option is out of range. When called: if input and target do not match.

    Example:
        >>> from monai_bbox_mil.losses import GlobalConstraintLoss
        >>> loss = GlobalConstraintLoss()
        >>> logits = torch.zeros(2, 1, 32, 32, requires_grad=True)
        >>> target = torch.tensor([[[4.0, 4.0, 20.0, 24.0, 0.0]], [[0.0, 0.0, 0.0, 0.0, -1.0]]])  # one box; none
        >>> loss(logits, target).backward()
        >>> sorted(loss.parts)
        ['emptiness', 'loss', 'size', 'tightness']
    """

    t: float
    """Sharpness of the barriers; it can be set at any time."""
    parts: dict[str, Tensor]
    """``(C,)`` terms of the latest call, detached and unweighted, and their weighted sum ``loss``."""

    def __init__(
        self,
        t: float = 5.0,
        band_width: int = 5,
        size_bounds: tuple[float, float] = (0.5, 0.9),
        tightness_weight: float = 1e-4,
        size_weight: float = 1.0,
        emptiness_weight: float = 1.0,
        sigmoid: bool = True,
        reduction: str = "mean",
    ) -> None:
        _check_t(t)
        _check_bounds(band_width, size_bounds)
        check_not_negative(
            tightness_weight=tightness_weight, size_weight=size_weight, emptiness_weight=emptiness_weight
        )
        super().__init__(reduction=check_option("reduction", reduction))
        self.t = t
        self.band_width = int(band_width)
        self.size_bounds = (size_bounds[0], size_bounds[1])
        self.tightness_weight = tightness_weight
        self.size_weight = size_weight
        self.emptiness_weight = emptiness_weight
        self.sigmoid = sigmoid
        self.parts = {}

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        """Compute the loss of ``input`` ``(B, C, *spatial)`` for the box tensor ``target`` ``(B, N_max, 2*D + 1)``."""
        logits, target = check_inputs(input, target, self.sigmoid)
        with torch.autocast(logits.device.type, enabled=False):
            terms = global_constraint_loss(logits, target, self.t, self.band_width, self.size_bounds)
            per_class = self.tightness_weight * terms.tightness + self.size_weight * terms.size
            per_class = per_class + self.emptiness_weight * terms.emptiness
        self.parts = {name: term.detach() for name, term in terms._asdict().items()} | {"loss": per_class.detach()}
        return reduce_classes(per_class, self.reduction)
