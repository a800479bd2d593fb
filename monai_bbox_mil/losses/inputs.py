# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
"""Checks of the arguments of all box losses, and the reduction over classes."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from monai_bbox_mil.boxes import BOX_FRAME, BoxFrame, check_box_tensor, check_exact_corners, snap_boxes

__all__ = ["check_inputs", "reduce_classes"]

_SEVERAL_HEADS = (
    "For a network with several heads (deep supervision), wrap the loss: "
    "monai_bbox_mil.losses.BoxDeepSupervisionLoss(loss)."
)


def check_inputs(input: Tensor, target: Tensor, sigmoid: bool) -> tuple[Tensor, Tensor]:
    """Check that a network's output and a box tensor match.

    Args:
        input: ``(B, C, H, W)`` or ``(B, C, H, W, Z)`` logits, or probabilities if ``sigmoid`` is false.
        target: ``(B, N_max, 2*D + 1)`` box tensor.
        sigmoid: true if ``input`` is logits, false if it is probabilities.

    Returns:
        logits in float32 (float64 stays float64), and the box tensor on the host with corners snapped outward to whole
        voxels.

    Raises:
        TypeError: if ``input`` is a list of outputs.
        ValueError: if an argument cannot be used; the message says which, what was expected and what came.
    """
    if not torch.is_tensor(input):
        raise TypeError(f"input must be one tensor (B, C, *spatial), got a {type(input).__name__}. {_SEVERAL_HEADS}")
    hint = f" {_SEVERAL_HEADS}" if input.ndim == 3 + target.shape[-1] // 2 else ""
    if input.ndim not in (4, 5):
        raise ValueError(f"input must have the shape (B, C, H, W) or (B, C, H, W, Z), got {tuple(input.shape)}.{hint}")
    if not input.is_floating_point():
        raise ValueError(f"input must be of a floating point type, got {input.dtype}.")
    if input.numel() == 0:
        raise ValueError(f"input must have at least one pixel, got the shape {tuple(input.shape)}.")
    columns = 2 * (input.ndim - 2) + 1
    if target.ndim != 3 or len(target) != len(input) or target.shape[-1] != columns:
        raise ValueError(
            f"target must be a box tensor of the shape ({len(input)}, N, {columns}) for an input of the shape "
            f"{tuple(input.shape)}, got {tuple(target.shape)}.{hint}"
        )
    _check_same_image(input, target)
    check_exact_corners(target, input.shape[2:])
    # MONAI's loaders return a MetaTensor, which handles its metadata at every operation, however small.
    input, target = (t.as_subclass(Tensor) for t in (input, target))
    # Wait for the device only once: copy the extremes of the input, and the boxes unless they are on the host already.
    target, extremes = target.detach(), torch.stack(input.detach().aminmax())
    if target.device.type == "cpu":
        smallest, largest = extremes.cpu()
    else:
        wide = torch.promote_types(torch.promote_types(input.dtype, target.dtype), torch.float32)
        answer = torch.cat([t.flatten().to(input.device, wide) for t in (extremes, target)]).cpu()
        (smallest, largest), target = answer[:2], answer[2:].view_as(target)
    if not (-torch.inf < smallest and largest < torch.inf):
        count = int((~torch.isfinite(input)).sum())
        raise ValueError(
            f"input must contain finite numbers, got {count} NaN or infinite ones among {input.numel()}. "
            "Lower the learning rate, or check the images for NaN."
        )
    logits = input if input.dtype == torch.float64 else input.float()
    if not sigmoid:
        if smallest < 0 or largest > 1:
            raise ValueError(
                f"input must be probabilities in [0, 1] when sigmoid=False, got numbers from {smallest:g} to "
                f"{largest:g}. For logits use sigmoid=True."
            )
        limits = torch.finfo(logits.dtype)
        logits = torch.logit(logits.clamp(limits.tiny, 1 - limits.eps))
    target = target.to(torch.promote_types(target.dtype, torch.float32))
    target = torch.cat([snap_boxes(target[..., :-1]), target[..., -1:]], dim=-1)
    check_box_tensor(target, input.shape[2:], input.shape[1])
    return logits, target


def _check_same_image(input: Tensor, target: Tensor) -> None:
    """Raise ``ValueError`` if the boxes record that they were made for another image size or before the image moved."""
    size = tuple(input.shape[2:])
    shape = getattr(target, "spatial_shape", size)
    packed = getattr(target, "meta", {}).get(BOX_FRAME, ())  # in a batch that MONAI collated
    frames = [BoxFrame.unpack(each) for each in ([packed] if isinstance(packed, bytes) else packed)]
    rows = target.as_subclass(Tensor).detach().cpu().double().numpy()[..., :-1] if frames else ()
    affine = getattr(input, "meta", {}).get("affine") if frames else None
    affines: Any = [frame.affine for frame in frames]
    if affine is not None and affine.shape[-2:] == (4, 4) and affine.numel() == 16 * len(frames):
        affines = affine.reshape(-1, 4, 4).cpu().double().numpy()
    for number, (boxes, frame, now) in enumerate(zip(rows, frames, affines)):
        if not np.array_equal(boxes, frame.boxes) or not len(boxes):
            continue
        if frame.shape != size:
            shape = frame.shape
            break
        if np.abs(now - frame.affine).max() > 1e-6:
            raise ValueError(
                f"target[{number}] must have moved with its image, got an image whose affine changed after its boxes "
                "were made, and boxes that did not change. Make the boxes after the transforms that move the image, or "
                "move both together (UnpackBoxesd, MONAI's detection transforms, PackBoxesd)."
            )
    if shape != size:
        raise ValueError(
            f"input must have the size of the images that target's boxes were made for, {shape}, got {size}. Upsample "
            "the network's output (torch.nn.functional.interpolate), or make the boxes after resizing the images."
        )


def reduce_classes(per_class: Tensor, reduction: str) -> Tensor:
    """Reduce ``(C,)`` losses to their mean or sum, or return them unchanged for ``"none"``."""
    if reduction == "none":
        return per_class
    return per_class.sum() if reduction == "sum" else per_class.mean()
