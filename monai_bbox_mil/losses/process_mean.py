# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
"""Means of counts over the processes of distributed training."""

from __future__ import annotations

import torch
import torch.distributed as dist
from torch import Tensor

__all__ = ["mean_over_processes"]


def mean_over_processes(counts: Tensor, dtype: torch.dtype) -> Tensor:
    """Average ``counts`` over the processes of ``torch.distributed``'s default group.

    ``DistributedDataParallel`` averages the gradients of its ranks. If each rank divides its sum by this mean, that
    average is the sum over all ranks divided by the count over all ranks, which is what one process would compute from
    the whole batch. This is a collective call: every rank must make it, with the same shape.

    Args:
        counts: numbers in any shape, on a device that the backend supports (a GPU for nccl).
        dtype: floating point type of the result.

    Returns:
        the mean; if no process group is initialized, ``counts`` converted to ``dtype``.

    Example:
        >>> mean_over_processes(torch.tensor([3, 0]), torch.float32)
        tensor([3., 0.])
    """
    if not (dist.is_available() and dist.is_initialized()):
        return counts.to(dtype)
    # We do not use ignite's `idist`, because the losses also work in training loops without ignite.
    total = counts.clone()
    dist.all_reduce(total)
    return total.to(dtype) / dist.get_world_size()
