# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
"""Voxels from a file's own type to the type that they are used in, refused where that would change them."""

from __future__ import annotations

import torch
from torch import Tensor

from monai_bbox_mil.boxes import exact_limit

__all__ = ["float32_grey", "few_float32_levels", "whole_labels"]

# Below, a picture of 8 bits would lose levels; above, nobody sees the rounding.
_LEVELS = 256
# Differences that are smaller than this part of the voxels are rounding errors of a constant image in float64.
_ROUNDING = 1e-10


def few_float32_levels(low: float, high: float) -> bool:
    """Return whether float32 has fewer than 256 numbers between two that differ.

    Example:
        >>> few_float32_levels(1e9, 1e9 + 1000), few_float32_levels(-1000, 3000), few_float32_levels(7, 7)
        (True, False, False)
    """
    largest = max(abs(low), abs(high))
    return _ROUNDING * largest < high - low < _LEVELS * torch.finfo(torch.float32).eps * largest


def float32_grey(image: Tensor, name: str) -> Tensor:
    """Convert an image ``(C, *spatial)`` to float32.

    Args:
        image: real voxels, at least one.
        name: the image's file, for messages.

    Raises:
        ValueError: for voxels that are NaN or infinite, or too large for float32; when their levels lie so close
            together beside a large offset that float32 cannot tell them apart.

    Example:
        >>> float32_grey(torch.tensor([[1, 2]]), "a.png")
        tensor([[1., 2.]])
    """
    grey = image.to(torch.float32)
    voxels = grey.as_subclass(Tensor)
    extremes = torch.stack(voxels.aminmax())  # NaN passes through; no map as large as the image
    if not extremes.isfinite().all():
        finite = torch.isfinite(voxels)
        raise ValueError(
            f"{name}: expected finite voxels, got {int((~finite).sum())} of {finite.numel()} that are NaN, infinite"
            " or too large for float32."
        )
    low, high = extremes.tolist()
    wide = image.dtype in (torch.int32, torch.int64, torch.float64)
    if wide and high - low < _LEVELS * torch.finfo(torch.float32).eps * max(abs(low), abs(high)):
        exact = image.as_subclass(Tensor)
        low, high = (float(end) for end in exact.aminmax())
        if few_float32_levels(low, high) and not torch.equal(voxels.to(exact.dtype), exact):
            raise ValueError(
                f"{name}: expected grey levels that float32 can tell apart, got voxels from {low!r} to {high!r}, "
                "whose differences are lost beside their size; subtract the smallest and save the image again."
            )
    return grey


def whole_labels(mask: Tensor, name: str) -> Tensor:
    """Convert a label map ``(C, *spatial)`` to an integer type; one with fractions stays as it is.

    Args:
        mask: real voxels, at least one.
        name: the mask's file, for messages.

    Raises:
        ValueError: for voxels that are NaN or infinite; for numbers so large that their type has no neighbours for
            them, so that labels may have become one and the same before the file was written.

    Example:
        >>> whole_labels(torch.tensor([[0.0, 2.0]]), "a.nii"), whole_labels(torch.tensor([[True]]), "a.png")
        (tensor([[0, 2]], dtype=torch.int32), tensor([[1]], dtype=torch.uint8))
    """
    if mask.dtype == torch.bool:
        return mask.to(torch.uint8)
    if not mask.is_floating_point():
        return mask
    voxels = mask.as_subclass(Tensor)
    extremes = torch.stack(voxels.aminmax()).double()
    if not extremes.isfinite().all():
        finite = torch.isfinite(voxels)
        raise ValueError(
            f"{name}: expected finite voxels, got {int((~finite).sum())} of {finite.numel()} that are NaN or infinite."
        )
    largest, limit = float(extremes.abs().max()), exact_limit(mask.dtype)
    if largest > limit:
        raise ValueError(
            f"{name}: expected labels up to {limit}, which {mask.dtype} can tell apart, got {largest:.0f}; save the "
            "mask in an integer type."
        )
    whole = mask.to(torch.int32 if largest <= torch.iinfo(torch.int32).max else torch.int64)
    return whole if torch.equal(whole.as_subclass(Tensor).to(mask.dtype), voxels) else mask
