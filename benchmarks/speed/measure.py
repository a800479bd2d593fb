# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
"""Measure time and memory of several functions side by side, in one process."""

from __future__ import annotations

import os
import platform
import resource
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import monai
import numpy as np
import pandas as pd
import torch
from torch.profiler import ProfilerActivity, profile


def machine_line(device: str) -> str:
    """Describe the machine of the measurement in one line."""
    if device == "cuda":
        machine = torch.cuda.get_device_name()
    else:
        info = Path("/proc/cpuinfo")
        names = [line.split(":")[1].strip() for line in info.read_text().splitlines() if line.startswith("model name")]
        machine = f"{names[0] if names else platform.processor() or platform.machine()}, {os.cpu_count()} processors"
    return f"{machine}; Python {platform.python_version()}, torch {torch.__version__}, monai {monai.__version__}"


def all_threads() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@contextmanager
def threads(count: int) -> Iterator[None]:
    """Let torch use ``count`` threads on a CPU."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def synchronize(device: str) -> None:
    if device == "cuda":
        torch.cuda.synchronize()


def time_side_by_side(
    functions: Mapping[str, Callable[[], object]], device: str, rounds: int, warm_up: int = 3
) -> pd.DataFrame:
    """Call each function once per round, so that a slow moment of the machine affects all of them.

    Returns:
        a row per function: medians and quartiles in ms of wall time, and the median of CPU time (all threads).
    """
    for _ in range(warm_up):
        for function in functions.values():
            function()
    wall: dict[str, list[float]] = {name: [] for name in functions}
    cpu: dict[str, list[float]] = {name: [] for name in functions}
    order = list(functions.items())
    for _ in range(rounds):
        order.append(order.pop(0))  # rotated, so that no function always finds the memory that the same other one left
        for name, function in order:
            synchronize(device)
            start_wall, start_cpu = time.perf_counter(), time.process_time()
            function()
            synchronize(device)
            wall[name].append((time.perf_counter() - start_wall) * 1e3)
            cpu[name].append((time.process_time() - start_cpu) * 1e3)
    rows = [
        {
            "wall_ms": np.median(wall[name]),
            "wall_ms_q25": np.quantile(wall[name], 0.25),
            "wall_ms_q75": np.quantile(wall[name], 0.75),
            "cpu_ms": np.median(cpu[name]),
        }
        for name in functions
    ]
    return pd.DataFrame(rows, index=list(functions))


def peak_memory(function: Callable[[], object], device: str) -> int:
    """Return the most bytes of tensors that ``function`` allocates at once.

    On a CPU this adds up what the allocator reports to the profiler, including scratch space inside of kernels.
    """
    function()
    if device == "cuda":
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        function()
        torch.cuda.synchronize()
        return torch.cuda.max_memory_allocated() - before
    with _silent_stderr(), profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        function()
    events = [e for e in profiler.profiler.kineto_results.events() if e.name() == "[memory]"]
    held = np.cumsum([e.nbytes() for e in sorted(events, key=lambda e: e.start_ns())])
    return int(held.max(initial=0))


def resident_mib() -> float:
    """Return the memory of this process: the current value where it is known, otherwise the maximum so far."""
    statm = Path("/proc/self/statm")
    if statm.is_file():
        return int(statm.read_text().split()[1]) * resource.getpagesize() / 2**20
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10


def peak_resident_mib() -> float:
    """Return the most memory that this process has used since it started."""
    status = Path("/proc/self/status")
    if status.is_file():
        # getrusage would include the memory of the process that started this one.
        lines = status.read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:")) / 2**10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10


@contextmanager
def _silent_stderr() -> Iterator[None]:
    """Silence torch's profiler, which prints directly to the file descriptor."""
    kept = os.dup(2)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)
