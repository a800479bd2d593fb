# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
"""Checks of the arguments of all box losses, and their reduction over classes."""

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
    """Check that a network's output and a box tensor fit, and bring both to the form that the losses compute with.

    Args:
        input: ``(B, C, H, W)`` or ``(B, C, H, W, Z)`` logits, or probabilities if ``sigmoid`` is false.
        target: ``(B, N_max, 2*D + 1)`` box tensor.
        sigmoid: whether ``input`` holds logits.

    Returns:
        logits in float32 (float64 input stays float64), and the box tensor on the CPU with its corners snapped outward
        to whole voxels.

    Raises:
        TypeError: if ``input`` is a list of outputs.
        ValueError: if a shape, a type or a value does not fit.

    Example:
        >>> box = torch.tensor([[[0.4, 1.0, 2.6, 3.0, 0.0]]])
        >>> logits, target = check_inputs(torch.zeros(1, 1, 4, 4, dtype=torch.float16), box, sigmoid=True)
        >>> logits.dtype, target
        (torch.float32, tensor([[[0., 1., 3., 3., 0.]]]))
    """
    if not torch.is_tensor(input):
        raise TypeError(f"input must be one tensor (B, C, *spatial), got a {type(input).__name__}. {_SEVERAL_HEADS}")
    hint = f" {_SEVERAL_HEADS}" if input.ndim == 3 + target.shape[-1] // 2 else ""
    if input.ndim not in (4, 5):
        raise ValueError(f"input must have the shape (B, C, H, W) or (B, C, H, W, Z), got {tuple(input.shape)}.{hint}")
    if not input.is_floating_point():
        raise ValueError(f"input must be of a floating point type, got {input.dtype}.")
    if input.numel() == 0:
        raise ValueError(f"input must hold at least one pixel, got the shape {tuple(input.shape)}.")
    columns = 2 * (input.ndim - 2) + 1
    if target.ndim != 3 or len(target) != len(input) or target.shape[-1] != columns:
        raise ValueError(
            f"target must be a box tensor of the shape ({len(input)}, N, {columns}) to go with an input of shape "
            f"{tuple(input.shape)}, got {tuple(target.shape)}.{hint}"
        )
    _check_same_image(input, target)
    check_exact_corners(target, input.shape[2:])
    # Every small operation on a MetaTensor (MONAI's loaders return them) would go through its meta data handling.
    input, target = (t.as_subclass(Tensor) for t in (input, target))
    # A single transfer from the device for all that the CPU must know: whether the input is finite, and the boxes if
    # they are not on the CPU yet.
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
            raise ValueError(
                f"input must hold probabilities in [0, 1] when sigmoid=False, got values from {smallest:g} to "
                f"{largest:g}. For logits, use sigmoid=True."
            )
        limits = torch.finfo(logits.dtype)
        logits = torch.logit(logits.clamp(limits.tiny, 1 - limits.eps))
    target = target.to(torch.promote_types(target.dtype, torch.float32))
    target = torch.cat([snap_boxes(target[..., :-1]), target[..., -1:]], dim=-1)
    check_box_tensor(target, input.shape[2:], input.shape[1])
    return logits, target


def _check_same_image(input: Tensor, target: Tensor) -> None:
    """Raise ``ValueError`` if the boxes are known to be made for images of another size, or moved since."""
    size = tuple(input.shape[2:])
    shape = getattr(target, "spatial_shape", size)
    packed = getattr(target, "meta", {}).get(BOX_FRAME, ())  # present if MONAI's own collation made the batch
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
                f"target[{number}] must hold boxes that move with their image, but the image was moved after they were "
                "made: its affine changed, and the boxes are the same. Make the boxes after the transforms that move "
                "the image, or move both together (UnpackBoxesd, MONAI's detection transforms, PackBoxesd)."
            )
    if shape != size:
        raise ValueError(
            f"input must have the size of the images that target's boxes were made for, {shape}, got {size}. Upsample "
            "the network's output (torch.nn.functional.interpolate), or make the boxes after the images were resized."
        )


def reduce_classes(per_class: Tensor, reduction: str) -> Tensor:
    """Reduce the losses ``(C,)`` of the classes to their ``"mean"`` or ``"sum"``; ``"none"`` returns them unchanged."""
    if reduction == "none":
        return per_class
    return per_class.sum() if reduction == "sum" else per_class.mean()
