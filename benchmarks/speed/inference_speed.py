# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
"""Measure volumes per second of ``inference.yaml`` over a whole folder, and its memory."""

from __future__ import annotations

import time
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pandas as pd
import torch
from ignite.engine import Events
from monai.bundle import ConfigParser
from tqdm import tqdm

from benchmarks.speed.bundle_parts import bundle_parser
from benchmarks.speed.measure import resident_mib, synchronize

VARIANTS: dict[str, tuple[dict[str, Any], bool, AbstractContextManager[None]]] = {
    # name: overrides, channels last, and the context of the run
    **{f"batch_size {n}": ({"batch_size": n}, False, nullcontext()) for n in (1, 4, 16, 64)},
    "batch_size 16, channels_last": ({"batch_size": 16}, True, nullcontext()),
    "batch_size 16, inference_mode": ({"batch_size": 16}, False, torch.inference_mode()),
    "batch_size 16, amp": ({"batch_size": 16, "amp": True}, False, nullcontext()),
}


def inference_speed(folder: Path, device: str, overrides: dict[str, Any], rounds: int, out: Path) -> pd.DataFrame:
    """Segment a folder in several ways with an untrained network; write ``out/inference_speed.csv``.

    Every round runs each variant once, so that a slow moment of the machine affects all of them.
    """
    with TemporaryDirectory() as models:
        network = bundle_parser("inference", **overrides).get_parsed_content("network")
        torch.save(network.state_dict(), f"{models}/model.pt")
        places = {"ckpt_dir": models, "dataset_dir": str(folder), "output_dir": f"{models}/masks", "progress": False}
        runs: dict[str, list[dict[str, float]]] = {name: [] for name in VARIANTS}
        for _ in tqdm(range(rounds + 1), desc="inference_speed", leave=False):
            for name, (options, channels_last, context) in VARIANTS.items():
                parser = bundle_parser("inference", **{**overrides, **places, **options, "threshold": 0.5})
                runs[name].append(_segment(parser, device, channels_last, context))
    # The first round is the warm-up.
    table = pd.DataFrame([pd.DataFrame(found[1:]).median() for found in runs.values()], index=list(runs))
    table.insert(1, "speed_ratio", table.volumes_per_s / table.volumes_per_s["batch_size 1"])
    table.to_csv(out / "inference_speed.csv", float_format="%.4g")
    return table


def _segment(
    parser: ConfigParser, device: str, channels_last: bool, context: AbstractContextManager[None]
) -> dict[str, float]:
    evaluator = parser.get_parsed_content("evaluator")
    network = parser.get_parsed_content("network")
    if channels_last:
        network.to(memory_format=torch.channels_last)
    clock = {"network": 0.0, "start": 0.0}
    memory: list[float] = []

    def started(*_: object) -> None:
        synchronize(device)
        clock["start"] = time.perf_counter()

    def finished(*_: object) -> None:
        synchronize(device)
        clock["network"] += time.perf_counter() - clock["start"]

    network.register_forward_pre_hook(started)
    network.register_forward_hook(finished)
    evaluator.add_event_handler(Events.ITERATION_COMPLETED, lambda: memory.append(resident_mib()))
    with context, parser.get_parsed_content("autocast"):
        begun, cpu = time.perf_counter(), time.process_time()
        evaluator.run()
        wall, cpu = time.perf_counter() - begun, time.process_time() - cpu
    half = len(memory) // 2
    growth = np.polyfit(range(len(memory) - half), memory[half:], 1)[0] if len(memory) > 3 else np.nan
    return {
        "volumes_per_s": len(memory) / wall,
        "cpu_s_per_volume": cpu / len(memory),
        "network_percent": 100 * clock["network"] / wall,
        "growth_MiB_per_volume": growth,
    }
