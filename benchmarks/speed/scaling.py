# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
"""Compare an epoch of training with several processes and with one."""

from __future__ import annotations

import json
import os
import socket
import time
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pandas as pd
import torch
from ignite.engine import Engine, Events
from torch.multiprocessing import spawn

from benchmarks.speed.bundle_parts import bundle_parser
from benchmarks.speed.measure import synchronize


def scaling(processes: Sequence[int], device: str, overrides: dict[str, Any], rounds: int, out: Path) -> pd.DataFrame:
    """Time epochs of ``train.yaml`` with one thread per process; write ``out/scaling.csv``.

    All use the same total number of slices per step, so they do the same training. Numbers of processes take turns, one
    epoch each after a warm-up epoch, so that a slow moment of the machine affects all of them.

    Args:
        processes: numbers of processes; the others are compared with the first one.
        device: ``"cpu"`` (gloo) or ``"cuda"`` (nccl, one GPU per process).
        overrides: of ``train.yaml``; its ``batch_size`` is divided among the processes.
        rounds: timed epochs per number of processes.
        out: folder.

    Returns:
        a row per number of processes: slices per step and process, medians and quartiles of an epoch's wall time in s,
        median of the CPU time of all processes, and the ratios of the medians to the first row's.

    Raises:
        ValueError: when ``batch_size`` cannot be divided evenly.
    """
    overrides = {"progress": False, **overrides}
    parser = bundle_parser("train", **overrides)
    batch_size = parser["batch_size"]
    parser.get_parsed_content("data_items")  # creates the phantom before any process needs it
    for count in processes:
        if batch_size % count:
            raise ValueError(f"batch_size must be a multiple of the {count} processes, got {batch_size}.")
    wall: dict[int, list[float]] = {count: [] for count in processes}
    cpu: dict[int, list[float]] = {count: [] for count in processes}
    for _ in range(rounds):
        for count in processes:
            ranks = _epoch(count, device, {**overrides, "batch_size": batch_size // count})
            wall[count].append(max(rank["wall_s"] for rank in ranks))
            cpu[count].append(sum(rank["cpu_s"] for rank in ranks))
    table = pd.DataFrame(
        [
            {
                "processes": count,
                "batch_size": batch_size // count,
                "epoch_s": np.median(wall[count]),
                "epoch_s_q25": np.quantile(wall[count], 0.25),
                "epoch_s_q75": np.quantile(wall[count], 0.75),
                "cpu_s": np.median(cpu[count]),
            }
            for count in processes
        ]
    )
    table["speed_up"] = table.epoch_s[0] / table.epoch_s
    table["cpu_ratio"] = table.cpu_s / table.cpu_s[0]
    table.to_csv(out / "scaling.csv", index=False, float_format="%.4g")
    return table


def _epoch(count: int, device: str, overrides: dict[str, Any]) -> list[dict[str, float]]:
    """Return the measurements of each rank."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with TemporaryDirectory() as folder:
        spawn(_work, (count, port, device, overrides, folder), nprocs=count)
        return [json.loads(Path(folder, f"rank{rank}.json").read_text()) for rank in range(count)]


def _work(rank: int, count: int, port: int, device: str, overrides: dict[str, Any], folder: str) -> None:
    torch.set_num_threads(1)
    place = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": count, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    os.environ.update({name: str(value) for name, value in place.items()})
    if device == "cpu":
        os.environ["CUDA_VISIBLE_DEVICES"] = ""
    names = ("train", "multi_gpu_train") if count > 1 else ("train",)
    # Self-training from the first timed epoch on, as in most of a training; no validation, no checkpoints.
    short = {"max_epochs": 2, "self_training_start": 1, "val_interval": 3, "checkpoint_interval": 0}
    parser = bundle_parser(*names, ckpt_dir=f"{folder}/models", output_dir=f"{folder}/eval", **short | overrides)
    parser.get_parsed_content("initialize")
    trainer: Engine = parser.get_parsed_content("train#trainer")
    teacher = parser.get_parsed_content("mean_teacher")
    if teacher:
        teacher.attach(trainer)
    begun: list[tuple[float, float]] = []
    ended: list[tuple[float, float]] = []
    for event, times in ((Events.EPOCH_STARTED, begun), (Events.EPOCH_COMPLETED, ended)):
        trainer.add_event_handler(event, lambda engine, times=times: times.append(_now(device)))
    parser.get_parsed_content("autocast")(trainer.run)()
    wall_s, cpu_s = (end - begin for begin, end in zip(begun[-1], ended[-1]))
    Path(folder, f"rank{rank}.json").write_text(json.dumps({"wall_s": wall_s, "cpu_s": cpu_s}))
    if "finalize" in parser:
        parser.get_parsed_content("finalize")


def _now(device: str) -> tuple[float, float]:
    synchronize(device)
    return time.perf_counter(), time.process_time()
