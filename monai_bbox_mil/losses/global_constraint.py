# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
"""Global constraints from tight boxes, as extended log-barriers (Kervadec et al., MIDL 2020)."""

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
"""Largest sharpness of the barrier: above it, sums over large volumes would approach the largest float32."""


class ConstraintTerms(NamedTuple):
    """The three terms per class, as means over the images of the batch, not yet weighted."""

    tightness: Tensor
    """``(C,)`` penalty for bands of a box that do not meet the object."""
    size: Tensor
    """``(C,)`` penalty for an object that fills too little or too much of its boxes."""
    emptiness: Tensor
    """``(C,)`` penalty for an object outside the boxes."""


def log_barrier(z: Tensor, t: float) -> Tensor:
    """Compute the extended log-barrier of the constraint ``z <= 0``.

    It is ``-log(-z) / t`` where ``z <= -1/t^2``, and otherwise the line that continues it with the same value and
    slope, ``t z - log(1/t^2) / t + 1/t``. It is finite everywhere, and its slope is ``t`` wherever the constraint is
    violated, no matter how badly.

    Source: Kervadec et al., "Constrained deep networks: Lagrangian optimization via log-barrier extensions"
    (arXiv:1904.04205).

    Args:
        z: tensor of any shape.
        t: sharpness, greater than 0 and at most ``1e12``; the larger, the closer to a hard constraint.

    Returns:
        the barrier of each element, in the shape of ``z``.

    Raises:
        ValueError: if ``t`` is out of range.

    Example:
        >>> log_barrier(torch.tensor([-2.0, 0.0, 1.0]), 1.0)
        tensor([-0.6931,  1.0000,  2.0000])
    """
    _check_t(t)
    seam = 1 / t**2
    # Each side is constant where the other is used, so that neither can put a NaN into the other's gradient. Not by
    # clamp: versions of torch differ in its slope at the limit.
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

    All arguments not listed here are those of :class:`GlobalConstraintLoss`. Let ``psi_t`` be the :func:`log_barrier`,
    ``p`` the probabilities and ``P`` the number of pixels in an image.

    - tightness: the sum of ``psi_t(width - sum of p in the band)`` over all bands of all boxes, see
      :class:`~monai_bbox_mil.bags.BoxBands`. Each row of a tight box contains at least one pixel of the object, so
      ``width`` rows contain at least ``width`` pixels. The last band of an axis, if narrower, uses its own width.
    - size: ``(psi_t(S - upper |box|) + psi_t(lower |box| - S)) / P``. ``|box|`` is the number of pixels that the boxes
      of the class cover together. ``S`` is the predicted size of the object: the sum of ``p`` over the whole image, in
      the boxes or not, but without pixels that only an ignored region covers. An image without boxes of the class
      adds 0.
    - emptiness: ``t / P`` times the sum of ``p`` outside all boxes and ignored regions of the class.

    A pixel both in a box and in an ignored region is treated as in the box.

    Args:
        logits: ``(B, C, *spatial)`` float32 or float64.
        target: ``(B, N_max, 2*D + 1)`` box tensor on the CPU. The corners must be whole voxels inside the image.

    Returns:
        the terms, not yet weighted.

    Raises:
        ValueError: if an option is out of range, or the shapes do not fit.

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

    # The sum outside is computed on its own: as the difference of two large sums it would lose its last digits.
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
        raise ValueError(f"band_width must be a whole number of at least 1 pixel, got {band_width}.")
    if len(size_bounds) != 2 or not 0 <= size_bounds[0] <= size_bounds[1]:
        raise ValueError(f"size_bounds must be (lower, upper) with 0 <= lower <= upper, got {tuple(size_bounds)}.")


def _check_t(t: float) -> None:
    if not 0 < t <= MAX_T:
        raise ValueError(f"t must be greater than 0 and at most {MAX_T:g}, got {t}.")


class GlobalConstraintLoss(_Loss):
    """Global constraints that tight boxes put on a prediction, as log-barriers (Kervadec et al., MIDL 2020).

    The loss of a class is ``tightness_weight * tightness + size_weight * size + emptiness_weight * emptiness``, see
    :func:`global_constraint_loss`; it is then reduced over the classes. Bands run along every axis: rows and columns in
    2D, slabs in 3D. The size term treats all boxes of one class in an image as one region with one size.

    :attr:`t` should grow during training, see :class:`~monai_bbox_mil.handlers.BarrierSchedule`. The loss of violated
    constraints grows with it, so losses at different ``t`` cannot be compared.

    The constraints apply to probabilities, not to their logarithms: a logit that is far off gets hardly any gradient.
    The loss is computed in float32 whatever the autocast type; float64 input stays float64. After each call
    :attr:`parts` holds the terms. The loss can be differentiated twice. With a GPU, each call waits for the device
    once, to check the input.

    Args:
        t: sharpness of the barriers, at most ``1e12``; the larger, the closer to hard constraints.
        band_width: width in pixels of a band of the tightness term.
        size_bounds: smallest and largest share of its boxes that an object may fill.
        tightness_weight: weight of the tightness term, the only term not divided by the number of pixels.
        size_weight: weight of the size term.
        emptiness_weight: weight of the emptiness term.
        sigmoid: whether ``input`` holds logits; if not, it holds probabilities.
        reduction: over the classes, ``"mean"``, ``"sum"`` or ``"none"``.

    Raises:
        ValueError: in the constructor, if an option is out of range; in a call, if input and target do not fit.

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
    """Sharpness of the barriers; can be set at any time."""
    parts: dict[str, Tensor]
    """The unweighted terms and their weighted sum ``loss``, each ``(C,)`` and detached, from the latest call."""

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
