# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
"""Padding that lets networks with several halvings take images of any size."""

from __future__ import annotations

from torch import Tensor
from torch.jit import is_tracing
from torch.nn import functional as F  # noqa: N812


def pad_to_multiple(x: Tensor, in_channels: int, divisor: int, training: bool) -> Tensor:
    """Check a network's input and pad it with zeros at the end of each axis; this also runs in TorchScript.

    Args:
        x: images, shape ``(B, in_channels, H, W)``.
        in_channels: number of channels that the network expects.
        divisor: number of which the padded height and width are multiples.
        training: whether batch norm computes its statistics from ``x``.

    Returns:
        padded images, shape ``(B, in_channels, H', W')``.

    Raises:
        ValueError: if ``x`` has another number of dimensions or channels or is empty, or if batch norm would see a
            single pixel at the deepest level.
    """
    # In a trace the sizes are tensors. Comparing them would warn and fix the result in the traced network.
    if not is_tracing():
        if x.dim() != 4 or x.shape[1] != in_channels or x.numel() == 0:
            raise ValueError(f"x must be a non-empty batch (B, {in_channels}, H, W), got shape {list(x.shape)}.")
        if training and x.shape[0] == 1 and max(x.shape[2], x.shape[3]) <= divisor:
            raise ValueError(
                "x must have more than one image, or an axis longer than "
                f"{divisor} pixels, to train with batch norm, got shape {list(x.shape)}. "
                "Use a larger batch (drop_last=True drops a single image at the end of an epoch) or larger images."
            )
    return F.pad(x, (0, -x.shape[3] % divisor, 0, -x.shape[2] % divisor))
