# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
"""How the processes that torchrun starts become one run, and part again."""

from __future__ import annotations

import os

import ignite.distributed as idist
import torch
import torch.distributed as dist

__all__ = ["join_processes", "part_processes", "process_device"]


def process_device() -> torch.device:
    """Return the GPU of this process by torchrun's ``LOCAL_RANK``, or the CPU if there is no GPU.

    Raises:
        KeyError: when there are GPUs and torchrun has not started this process.
    """
    return torch.device("cuda", int(os.environ["LOCAL_RANK"])) if torch.cuda.is_available() else torch.device("cpu")


def join_processes(device: torch.device) -> None:
    """Wait for all processes of the run and set up how they exchange tensors: nccl between GPUs, gloo between CPUs.

    Args:
        device: of this process, see :func:`process_device`.
    """
    if device.type == "cuda":
        torch.cuda.set_device(device)
    dist.init_process_group(backend="nccl" if torch.cuda.is_available() else "gloo")
    idist.sync()  # a collective call: were it left to the first handler, only rank 0 would come


def part_processes() -> None:
    """Wait for all processes of the run, so that none leaves while another still needs it, then end the exchange."""
    dist.barrier()
    dist.destroy_process_group()
