# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
"""Checks of the shapes from which bags are built."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

__all__ = ["check_batch"]


def check_batch(box_tensor: Tensor, shape: Sequence[int]) -> None:
    """Raise ``ValueError`` unless a box tensor's shape matches the images' shape; the boxes themselves are not read.

    Args:
        box_tensor: ``(B, N_max, 2*D + 1)``.
        shape: ``(B, C, *spatial)``.

    Example:
        >>> import torch
        >>> check_batch(torch.zeros(2, 1, 5), (2, 1, 8, 8))
        >>> check_batch(torch.zeros(1, 1, 5), (2, 1, 8, 8))
        Traceback (most recent call last):
        ValueError: box_tensor must have the shape (2, N, 5) for images of the shape (2, 1, 8, 8), got (1, 1, 5).
    """
    if len(shape) not in (4, 5):
        raise ValueError(f"images must have the shape (B, C, H, W) or (B, C, H, W, Z), got {tuple(shape)}.")
    columns = 2 * len(shape) - 3
    if box_tensor.ndim != 3 or len(box_tensor) != shape[0] or box_tensor.shape[2] != columns:
        raise ValueError(
            f"box_tensor must have the shape ({shape[0]}, N, {columns}) for images of the shape {tuple(shape)}, got "
            f"{tuple(box_tensor.shape)}."
        )
