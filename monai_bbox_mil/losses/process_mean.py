# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
"""Counts of a batch that several processes share out among them."""

from __future__ import annotations

import torch
import torch.distributed as dist
from torch import Tensor

__all__ = ["mean_over_processes"]


def mean_over_processes(counts: Tensor, dtype: torch.dtype) -> Tensor:
    """Average ``counts`` over the processes of ``torch.distributed``'s default group.

    ``DistributedDataParallel`` averages the gradients of its ranks. Where each rank divides its sum by this mean, their
    average is the sum over all ranks divided by the count over all ranks: what one process would have computed from
    the whole batch. A collective call: every rank must make it, with the same shape.

    Args:
        counts: of any shape, on the device of the backend (for nccl a GPU).
        dtype: floating point type of the result.

    Returns:
        the mean; ``counts`` as they are, in ``dtype``, where no process group was initialized.

    Example:
        >>> mean_over_processes(torch.tensor([3, 0]), torch.float32)
        tensor([3., 0.])
    """
    if not (dist.is_available() and dist.is_initialized()):
        return counts.to(dtype)
    # Not ignite's `idist`: losses also serve training loops without ignite.
    total = counts.clone()
    dist.all_reduce(total)
    return total.to(dtype) / dist.get_world_size()
