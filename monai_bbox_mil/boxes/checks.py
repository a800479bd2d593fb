# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
"""Checks that a box tensor fits an image or a network's output."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from monai_bbox_mil.boxes.convention import PADDING

__all__ = ["check_box_tensor", "check_exact_corners", "exact_limit"]


def exact_limit(dtype: torch.dtype) -> int:
    """Return the largest ``n`` such that a type represents every whole number from 0 to ``n`` exactly.

    Example:
        >>> exact_limit(torch.float32), exact_limit(torch.bfloat16), exact_limit(torch.uint8)
        (16777216, 256, 255)
    """
    return round(2 / torch.finfo(dtype).eps) if dtype.is_floating_point else torch.iinfo(dtype).max


def check_exact_corners(box_tensor: Tensor, spatial_shape: Sequence[int], name: str = "target") -> None:
    """Raise ``ValueError`` if a box tensor's type cannot represent every corner in an image of this size.

    ``bfloat16`` rounds whole numbers above 256, and ``float16`` those above 2048. Such a cast moves boxes, and their
    numbers do not show it afterwards.

    Args:
        box_tensor: boxes in any shape; only the type is checked.
        spatial_shape: ``D`` sizes in voxels.
        name: the argument's name in the message.

    Example:
        >>> check_exact_corners(torch.zeros(1, 5, dtype=torch.bfloat16), (256, 256))
        >>> check_exact_corners(torch.zeros(1, 5, dtype=torch.bfloat16), (512, 512))
        Traceback (most recent call last):
        ValueError: target must be float32 for images of size (512, 512), got torch.bfloat16, which rounds whole \
numbers above 256. Do not cast boxes to half precision.
    """
    dtype = box_tensor.dtype
    exact = exact_limit(dtype)
    if max(spatial_shape, default=0) > exact:
        does, cast = ("rounds", "half precision") if dtype.is_floating_point else ("has no", dtype)
        raise ValueError(
            f"{name} must be float32 for images of size {tuple(spatial_shape)}, got {dtype}, which {does} whole "
            f"numbers above {exact}. Do not cast boxes to {cast}."
        )


def check_box_tensor(box_tensor: Tensor, spatial_shape: Sequence[int], num_classes: int, name: str = "target") -> None:
    """Raise ``ValueError`` and name the first wrong row if a batch's box tensor does not fit the network's output.

    Args:
        box_tensor: ``(B, N_max, 2*D + 1)``, already snapped to whole voxels.
        spatial_shape: ``D`` sizes in voxels.
        num_classes: number of output channels.
        name: the argument's name in the message.
    """
    dims = len(spatial_shape)
    if box_tensor.ndim != 3 or box_tensor.shape[-1] != 2 * dims + 1:
        raise ValueError(f"{name} must have the shape (B, N, {2 * dims + 1}), got {tuple(box_tensor.shape)}.")
    check_exact_corners(box_tensor, spatial_shape, name)
    boxes, codes = box_tensor[..., :-1], box_tensor[..., -1]
    used = codes != PADDING
    low, high = boxes[..., :dims], boxes[..., dims:]
    size = torch.as_tensor(tuple(spatial_shape), dtype=boxes.dtype, device=boxes.device)
    channel = torch.where(codes < PADDING, -2 - codes, codes)
    checks = (
        (~torch.isfinite(box_tensor).all(dim=-1), "contain finite numbers"),
        (used & ((codes % 1 != 0) | (channel >= num_classes)), f"have a class in 0..{num_classes - 1}, -1 or ignored"),
        (used & (low >= high).any(dim=-1), "have min < max on every axis"),
        (used & ((low < 0) | (high > size)).any(dim=-1), f"lie inside the image of size {tuple(spatial_shape)}"),
    )
    if not torch.stack([wrong for wrong, _ in checks]).any():
        return
    for wrong, expected in checks:
        if wrong.any():
            image, row = (int(i) for i in wrong.nonzero()[0])
            values = [round(v, 4) for v in box_tensor[image, row].tolist()]
            raise ValueError(f"{name}[{image}, {row}] must {expected}, got {values}.")
