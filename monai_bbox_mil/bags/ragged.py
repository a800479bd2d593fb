# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
"""Lists of unequal length, stored one after the other in one tensor."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["ceil_div", "ragged_arange", "starts"]


def ragged_arange(counts: Tensor, device: torch.device, total: int | None = None) -> tuple[Tensor, Tensor]:
    """Concatenate ``arange(n)`` for each ``n`` in ``counts``.

    Args:
        counts: ``(N,)`` whole numbers.
        device: device of the result.
        total: sum of ``counts``, if known. It saves waiting for the device on which ``counts`` lie.

    Returns:
        two ``(sum(counts),)`` int32 tensors: the index into ``counts`` that each element belongs to, and its value.

    Example:
        >>> [t.tolist() for t in ragged_arange(torch.tensor([2, 0, 3]), torch.device("cpu"))]
        [[0, 0, 2, 2, 2], [0, 1, 0, 1, 2]]
    """
    total = int(counts.sum()) if total is None else total
    counts = counts.to(device, torch.int32)
    owner = torch.arange(len(counts), dtype=torch.int32, device=device)
    owner = owner.repeat_interleave(counts, output_size=total)
    value = torch.arange(total, dtype=torch.int32, device=device) - starts(counts).index_select(0, owner)
    return owner, value


def starts(counts: Tensor) -> Tensor:
    """Compute where each list begins: the sum of all counts before it.

    Example:
        >>> starts(torch.tensor([2, 0, 3]))
        tensor([0, 2, 2])
    """
    return counts.cumsum(0, dtype=counts.dtype) - counts


def ceil_div(a: Tensor, b: int) -> Tensor:
    """Divide whole numbers ``a`` by ``b`` and round up.

    Example:
        >>> ceil_div(torch.tensor([0, 1, 8, 9]), 8)
        tensor([0, 1, 1, 2])
    """
    return (a + b - 1).div(b, rounding_mode="floor")
