# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
"""What all box losses ask of their arguments, and how they reduce over classes."""

from __future__ import annotations

from typing import Any, Literal, get_args

import torch
from torch import Tensor

from monai_bbox_mil.boxes import check_box_tensor, check_exact_corners, snap_boxes

__all__ = ["Reduction", "check_inputs", "check_option", "reduce_classes"]

Reduction = Literal["mean", "sum", "none"]


def check_option(name: str, value: str, options: Any = Reduction) -> str:
    """Return ``value`` if it is one of the ``Literal`` ``options``, else raise ``ValueError``."""
    if value not in get_args(options):
        raise ValueError(f"{name} must be one of {get_args(options)}, got {value!r}.")
    return value


def check_inputs(input: Tensor, target: Tensor, sigmoid: bool) -> tuple[Tensor, Tensor]:
    """Check a network's output against a box tensor.

    Args:
        input: ``(B, C, H, W)`` or ``(B, C, H, W, Z)`` logits, or probabilities if ``sigmoid`` is false.
        target: ``(B, N_max, 2*D + 1)`` box tensor.
        sigmoid: whether ``input`` holds logits.

    Returns:
        logits in float32 (float64 stays), and the box tensor on the host, corners snapped outward to whole voxels.

    Raises:
        ValueError: naming the argument, what was expected and what came.
    """
    if input.ndim not in (4, 5):
        raise ValueError(f"input must have the shape (B, C, H, W) or (B, C, H, W, Z), got {tuple(input.shape)}.")
    if not input.is_floating_point():
        raise ValueError(f"input must be of a floating point type, got {input.dtype}.")
    if input.numel() == 0:
        raise ValueError(f"input must hold at least one pixel, got the shape {tuple(input.shape)}.")
    columns = 2 * (input.ndim - 2) + 1
    if target.ndim != 3 or len(target) != len(input) or target.shape[-1] != columns:
        raise ValueError(
            f"target must be a box tensor of the shape ({len(input)}, N, {columns}) to go with an input of shape "
            f"{tuple(input.shape)}, got {tuple(target.shape)}."
        )
    check_exact_corners(target, input.shape[2:])
    # A MetaTensor (what MONAI's loaders give) sends every small operation through its meta data handling.
    input, target = (t.as_subclass(Tensor) for t in (input, target))
    # One question to the device for all that the host must know: whether the input can be used, and the boxes if they
    # are not here already.
    target, extremes = target.detach(), torch.stack(input.detach().aminmax())
    if target.device.type == "cpu":
        smallest, largest = extremes.cpu()
    else:
        wide = torch.promote_types(torch.promote_types(input.dtype, target.dtype), torch.float32)
        answer = torch.cat([t.flatten().to(input.device, wide) for t in (extremes, target)]).cpu()
        (smallest, largest), target = answer[:2], answer[2:].view_as(target)
    if not (-torch.inf < smallest and largest < torch.inf):
        count = int((~torch.isfinite(input)).sum())
        raise ValueError(f"input must hold finite numbers, got {count} of {input.numel()} that are NaN or infinite.")
    logits = input if input.dtype == torch.float64 else input.float()
    if not sigmoid:
        if smallest < 0 or largest > 1:
            raise ValueError("input must hold probabilities in [0, 1] when sigmoid=False.")
        limits = torch.finfo(logits.dtype)
        logits = torch.logit(logits.clamp(limits.tiny, 1 - limits.eps))
    target = target.to(torch.promote_types(target.dtype, torch.float32))
    target = torch.cat([snap_boxes(target[..., :-1]), target[..., -1:]], dim=-1)
    check_box_tensor(target, input.shape[2:], input.shape[1])
    return logits, target


def reduce_classes(per_class: Tensor, reduction: str) -> Tensor:
    """Reduce ``(C,)`` losses: their mean, their sum, or as they are."""
    if reduction == "none":
        return per_class
    return per_class.sum() if reduction == "sum" else per_class.mean()
