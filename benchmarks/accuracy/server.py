# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
"""A server process that imports everything once and then forks a process for each run, so that runs share no state."""

from __future__ import annotations

import multiprocessing
import os
import sys
from multiprocessing import forkserver
from multiprocessing.context import ForkServerContext

__all__ = ["start_server", "usable_cores"]


def usable_cores() -> int:
    """Cores that this process may use: a container or a batch system may grant fewer than the machine has."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def start_server(num_threads: int) -> ForkServerContext:
    """Start the server, where it does not run yet; it goes on importing while this process does something else.

    Args:
        num_threads: of each run. The libraries read it when they are loaded, so the first call decides.
    """
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ[name] = str(num_threads)
    # The server is a new interpreter: it must find the same modules as this one.
    os.environ["PYTHONPATH"] = os.pathsep.join(path or os.getcwd() for path in sys.path)
    # Counting GPUs through CUDA itself would leave the forked processes without them.
    os.environ.setdefault("PYTORCH_NVML_BASED_CUDA_CHECK", "1")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["benchmarks.accuracy.worker"])
    forkserver.ensure_running()
    return context
