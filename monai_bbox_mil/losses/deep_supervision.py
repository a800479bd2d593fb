# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
"""Box losses for networks with several heads."""

from __future__ import annotations

from collections.abc import Sequence
from math import inf

import torch
from torch import Tensor, nn
from torch.nn.modules.loss import _Loss

from monai_bbox_mil.boxes import PADDING, snap_boxes

__all__ = ["BoxDeepSupervisionLoss", "scale_box_tensor"]


def scale_box_tensor(target: Tensor, old_shape: Sequence[int], new_shape: Sequence[int]) -> Tensor:
    """Scale boxes to another resolution of the same image, and snap them outward to whole voxels.

    A voxel of a coarser image belongs to the object if any part of it does. A tight box thus stays tight: each of its
    rows meets the object, and the object does not extend beyond it.

    Args:
        target: ``(B, N_max, 2*D + 1)`` box tensor.
        old_shape: ``D`` sizes in voxels of the images that the boxes were made for.
        new_shape: ``D`` sizes in voxels of the images to scale the boxes to.

    Returns:
        ``(B, N_max, 2*D + 1)`` scaled box tensor.

    Raises:
        ValueError: if the boxes and the two shapes differ in their number of axes, or a size is below 1.

    Example:
        >>> scale_box_tensor(torch.tensor([[[2.0, 3.0, 6.0, 7.0, 0.0]]]), (8, 8), (4, 4))
        tensor([[[1., 1., 3., 4., 0.]]])
    """
    target = target.as_subclass(Tensor)
    dims = len(old_shape)
    if target.ndim != 3 or target.shape[2] != 2 * dims + 1 or len(new_shape) != dims:
        raise ValueError(
            "target must have the shape (B, N, 2*D + 1), and old_shape and new_shape must have D sizes, got "
            f"{tuple(target.shape)}, {tuple(old_shape)} and {tuple(new_shape)}."
        )
    if min(*old_shape, *new_shape) < 1:
        raise ValueError(f"old_shape and new_shape must have sizes of at least 1, got {old_shape} and {new_shape}.")
    if tuple(old_shape) == tuple(new_shape):
        return target
    factor = torch.tensor([new / old for old, new in zip(old_shape, new_shape, strict=True)] * 2).to(target)
    corners = torch.where(target[..., -1:] == PADDING, target[..., :-1], snap_boxes(target[..., :-1]) * factor)
    return torch.cat([snap_boxes(corners), target[..., -1:]], dim=-1)


class BoxDeepSupervisionLoss(_Loss):
    """Weighted sum of a box loss over the heads of a network with deep supervision.

    It accepts the outputs of MONAI's networks with several heads: a list of outputs from fine to coarse
    (``SegResNetDS``, ``BasicUNetPlusPlus``), outputs of one size stacked to ``(B, heads, C, *spatial)`` (``DynUNet``),
    or the single output of evaluation mode. Boxes are scaled to the size of each head, see :func:`scale_box_tensor`.
    MONAI's own ``DeepSupervisionLoss`` would interpolate them like a mask.

    Args:
        loss: box loss, such as :class:`~monai_bbox_mil.losses.GeneralizedMILLoss`.
        weights: weights of the heads, from the first to the last; ``None`` for 1, 1/2, 1/4, ...

    Raises:
        ValueError: if a weight is negative or not finite. When called: if there are more heads than weights, no heads,
            or if the first head does not have the size of the images.

    Example:
        >>> from monai_bbox_mil.losses import GeneralizedMILLoss
        >>> loss = BoxDeepSupervisionLoss(GeneralizedMILLoss())
        >>> heads = [torch.zeros(1, 1, 16, 16), torch.zeros(1, 1, 8, 8)]
        >>> target = torch.tensor([[[2.0, 3.0, 6.0, 7.0, 0.0]]])
        >>> bool(loss(heads, target) > loss(heads[0], target))
        True
    """

    parts: dict[str, Tensor]
    """Parts of the first head's loss from the latest call, per class, detached."""

    def __init__(self, loss: nn.Module, weights: Sequence[float] | None = None) -> None:
        super().__init__()
        self.loss = loss
        self.weights = None if weights is None else tuple(weights)
        if self.weights is not None and not (self.weights and all(0 <= weight < inf for weight in self.weights)):
            raise ValueError(f"weights must be finite numbers of at least 0, got {self.weights}.")
        self.parts = {}

    def forward(self, input: Tensor | Sequence[Tensor], target: Tensor) -> Tensor:
        """Compute the loss of one or more outputs ``(B, C, *spatial)`` for the box tensor ``(B, N_max, 2*D + 1)``."""
        heads = _heads(input, target)
        if not heads:
            raise ValueError("input must have at least one head, got none.")
        if self.weights is not None and len(self.weights) < len(heads):
            raise ValueError(f"weights must have one number per head ({len(heads)}), got {self.weights}.")
        weights = self.weights or [0.5**level for level in range(len(heads))]
        shape = heads[0].shape[2:]
        total: Tensor = self.loss(heads[0], target) * weights[0]
        self.parts = dict(getattr(self.loss, "parts", {}))
        for weight, head in zip(weights[1:], heads[1:]):
            total = total + weight * self.loss(head, scale_box_tensor(target, shape, head.shape[2:]))
        return total


def _heads(input: Tensor | Sequence[Tensor], target: Tensor) -> list[Tensor]:
    if not torch.is_tensor(input):
        return list(input)
    # Stacked 2D heads look like one 3D output. The number of columns of the box tensor tells them apart.
    stacked = input.ndim == 3 + target.shape[-1] // 2
    return list(input.unbind(1)) if stacked else [input]
