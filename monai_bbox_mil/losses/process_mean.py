# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
"""Means of counts over the processes that share a batch."""

from __future__ import annotations

import torch
import torch.distributed as dist
from torch import Tensor

__all__ = ["mean_over_processes"]


def mean_over_processes(counts: Tensor, dtype: torch.dtype) -> Tensor:
    """Average ``counts`` over the processes of ``torch.distributed``'s default group.

    ``DistributedDataParallel`` averages the gradients of its ranks. If each rank divides its sum by this mean, the
    average over the ranks is the sum over all ranks divided by the count over all ranks. This is what one process would
    compute from the whole batch. The call is collective: every rank must make it, with the same shape.

    Args:
        counts: counts of any shape, on the device of the backend (for nccl a GPU).
        dtype: floating point type of the result.

    Returns:
        the mean in ``dtype``; ``counts`` themselves if no process group is initialized.

    Example:
        >>> mean_over_processes(torch.tensor([3, 0]), torch.float32)
        tensor([3., 0.])
    """
    if not (dist.is_available() and dist.is_initialized()):
        return counts.to(dtype)
    # torch.distributed rather than ignite's `idist`, because the losses also serve training loops without ignite.
    total = counts.clone()
    dist.all_reduce(total)
    return total.to(dtype) / dist.get_world_size()
