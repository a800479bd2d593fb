# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
"""Measure how the cost of the loss grows with box pixels, angles, boxes and classes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from tqdm import tqdm

from benchmarks.speed.cases import OURS, Case, contenders
from benchmarks.speed.measure import threads, time_side_by_side


def _sweeps() -> dict[str, Iterator[tuple[float, Case]]]:
    """Return each quantity with cases that differ in it alone."""
    image = (16, 1, 256, 256)
    return {
        "pixels in boxes": (
            (image[0] * side**2, Case("", image, 1, (side, side), 0.0)) for side in (16, 48, 80, 104, 128, 160, 192)
        ),
        "angles": (
            (n, Case("", image, 1, (85, 85), 0.0, {"angles_deg": np.linspace(-44, 44, n).tolist()}))
            for n in (1, 2, 4, 5, 8, 12, 16)
        ),
        "boxes of 24x24 pixels": ((image[0] * n, Case("", image, n, (24, 24), 0.0)) for n in (1, 4, 8, 16, 24, 32, 48)),
        "classes": ((c, Case("", (4, c, 128, 128), 2, (48, 48), 0.0)) for c in (1, 2, 4, 8, 12, 16)),
    }


def loss_growth(device: str, rounds: int, out: Path) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Time forward and backward with one thread along each sweep; write ``out/loss_growth.csv`` and ``.png``.

    Returns:
        the times, and for each sweep the straight line fitted to them: ms at 0, ms per unit, and ``r2``. ``power`` is
        the slope over the upper half of the sweep in log-log axes: 1 or less is linear growth.
    """
    rows, fits = [], []
    for quantity, sweep in tqdm(_sweeps().items(), desc="loss_growth", leave=False):
        cases = dict(sweep)
        functions = {str(x): contenders(case, device)[OURS] for x, case in cases.items()}
        with threads(1):
            times = time_side_by_side(functions, device, rounds)
        x, y = np.array(list(cases), dtype=float), times.wall_ms.to_numpy()
        slope, base = np.polyfit(x, y, 1)
        upper = slice(len(x) // 2, None)
        fits.append(
            {
                "quantity": quantity,
                "ms_at_0": base,
                "ms_per_unit": slope,
                "r2": np.corrcoef(x, y)[0, 1] ** 2,
                "power": np.polyfit(np.log(x[upper]), np.log(y[upper]), 1)[0],
            }
        )
        rows += [{"quantity": quantity, "value": a, **row} for a, row in zip(x, times.to_dict("records"))]
    table, lines = pd.DataFrame(rows), pd.DataFrame(fits)
    table.to_csv(out / "loss_growth.csv", index=False, float_format="%.4g")
    _draw(table, lines, out / "loss_growth.png")
    return table, lines


def _draw(table: pd.DataFrame, lines: pd.DataFrame, path: Path) -> None:
    figure, axes = plt.subplots(1, len(lines), figsize=(3.4 * len(lines), 3.2), constrained_layout=True, squeeze=False)
    for axis, (_, line) in zip(axes[0], lines.iterrows()):
        part = table[table.quantity == line.quantity]
        error = [part.wall_ms - part.wall_ms_q25, part.wall_ms_q75 - part.wall_ms]
        axis.errorbar(part.value, part.wall_ms, error, fmt="o", capsize=2, label="median and quartiles")
        ends = np.array([0, part.value.max()])
        axis.plot(ends, line.ms_at_0 + line.ms_per_unit * ends, label=f"straight line, r² = {line.r2:.3f}")
        axis.set(xlabel=line.quantity, xlim=(0, None), ylim=(0, None))
        axis.legend(fontsize="x-small", loc="lower right")
    axes[0, 0].set_ylabel("forward and backward, ms, one thread")
    figure.savefig(path, dpi=110)
    plt.close(figure)
