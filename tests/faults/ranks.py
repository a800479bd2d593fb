# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
"""Trainings by several processes, each with a part of its own in what happens."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from multiprocessing.process import BaseProcess
from pathlib import Path

from tests.faults import runs

NAMES = ("train", "multi_gpu_train")
# Each of two ranks takes half of what one process does.
TRAINING = {"names": NAMES, "batch_size": 4}


def start(folder, phantom, parts: Sequence[tuple], **overrides) -> list[BaseProcess]:
    """One process a rank; rank ``i`` runs ``parts[i]``, a function of :mod:`.runs` and its arguments."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    return [
        runs.start(_work, folder, phantom, rank, len(parts), port, *part, **{**TRAINING, **overrides})
        for rank, part in enumerate(parts)
    ]


def _work(folder, phantom, rank, world_size, port, target, *arguments, **overrides):
    os.environ.update(  # as torchrun sets it
        {
            "RANK": str(rank),
            "LOCAL_RANK": str(rank),
            "WORLD_SIZE": str(world_size),
            "MASTER_ADDR": "127.0.0.1",
            "MASTER_PORT": str(port),
            "CUDA_VISIBLE_DEVICES": "",
        }
    )
    target(folder, phantom, *arguments, **overrides)


def finish(processes: Sequence[BaseProcess], timeout: float = 300) -> list[int | None]:
    """Exit codes of the ranks, in their order; those that are still at work when the time is up are killed."""
    end = time.monotonic() + timeout
    for process in processes:
        process.join(max(0.0, end - time.monotonic()))
    codes = [process.exitcode for process in processes]
    for process in processes:
        runs.kill(process)
    return codes


def torchrun(folder: Path, phantom, **overrides) -> subprocess.Popen:
    """The command of the README, with two processes; its output goes to ``log.txt``."""
    folder.mkdir(parents=True)
    files = [str(runs.CONFIGS / f"{name}.yaml") for name in NAMES]
    options = {
        **runs.TRAINING,
        "batch_size": TRAINING["batch_size"],
        "dataset_dir": phantom,
        "ckpt_dir": folder / "models",
        "output_dir": folder / "eval",
        **overrides,
    }
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2", "-m"]
    command += ["monai.bundle", "run", f"--config_file={files}", *(f"--{k}={v}" for k, v in options.items())]
    with open(folder / "log.txt", "w") as log:
        return subprocess.Popen(
            command, env={**os.environ, "CUDA_VISIBLE_DEVICES": ""}, stdout=log, stderr=subprocess.STDOUT
        )


def workers(process: subprocess.Popen) -> list[int]:
    """Process numbers of the ranks that ``torchrun`` started, in their order."""
    return [int(pid) for pid in Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()]
