# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
"""Measure time and memory of the loss relative to a pixel-wise loss."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
from tqdm import tqdm

from benchmarks.speed.cases import CASES, OTHER_SYSTEMS_GOAL, OURS, PIXEL_WISE, contenders
from benchmarks.speed.measure import all_threads, peak_memory, threads, time_side_by_side


def loss_cost(names: list[str], device: str, rounds: int, out: Path) -> pd.DataFrame:
    """Time forward and backward pass of every case with one thread and with all; write ``out/loss_cost.csv``."""
    rows = []
    counts = [1] if device == "cuda" else sorted({1, all_threads()})
    for name, count in tqdm([(n, c) for n in names for c in counts], desc="loss_cost", leave=False):
        case = CASES[name]
        functions = contenders(case, device)
        with threads(count):
            times = time_side_by_side(functions, device, rounds)
            memory = {system: peak_memory(function, device) for system, function in functions.items()}
        for system in functions:
            rows.append(
                {
                    "case": name,
                    "threads": count,
                    "system": system,
                    **times.loc[system].to_dict(),
                    "time_ratio": times.wall_ms[system] / times.wall_ms[PIXEL_WISE],
                    "cpu_ratio": times.cpu_ms[system] / times.cpu_ms[PIXEL_WISE],
                    "peak_MiB": memory[system] / 2**20,
                    "memory_ratio": memory[system] / memory[PIXEL_WISE],
                    "goal": {PIXEL_WISE: None, OURS: case.goal}.get(system, OTHER_SYSTEMS_GOAL),
                }
            )
    table = pd.DataFrame(rows)
    table.to_csv(out / "loss_cost.csv", index=False, float_format="%.4g")
    return table
