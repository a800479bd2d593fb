# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
"""Draw predictions of several systems side by side, for the best, the median and the worst case of the reference."""

from __future__ import annotations

import os
from collections.abc import Sequence

import numpy as np
import pandas as pd

from benchmarks.accuracy.matrix import ExperimentMatrix
from benchmarks.accuracy.plan import RunJob
from benchmarks.accuracy.plots import shrink_png
from benchmarks.accuracy.sections import TableRow, ViewSpec
from benchmarks.accuracy.statistics import select_rows
from benchmarks.accuracy.tables import pick_reference, row_label
from monai_bbox_mil.visualize import CasePicture, load_pictures, save_comparison_grid

__all__ = ["draw_pictures"]

# The repository stores the pictures, so a grid of many systems is made smaller until it fits.
_MAX_BYTES = 300_000
_DPI = (90, 75, 62, 50, 40)


def draw_pictures(
    results: pd.DataFrame,
    matrix: ExperimentMatrix,
    view: ViewSpec,
    dataset: str,
    jobs: Sequence[RunJob],
    path: str | os.PathLike[str],
) -> bool:
    """Draw the grid of one data set from the slices that the runs of its lowest seed saved.

    Args:
        results: scores.
        matrix: for labels.
        view: a ``pictures`` view.
        dataset: its name.
        jobs: runs whose folders have a ``pictures.npz``.
        path: PNG to write.

    Returns:
        whether there was anything to draw.
    """
    reference = pick_reference(results, matrix, view, dataset) or view.rows[0]
    # Each fold names its own images, so images of two folds may have the same name.
    kept: dict[TableRow, dict[tuple[str, str], CasePicture]] = {}
    dice: dict[TableRow, pd.Series] = {}
    for row in dict.fromkeys([*view.rows, reference]):
        rows = select_rows(results, dataset, row)
        rows = rows[rows["seed"] == rows["seed"].min()]
        dice[row] = rows.groupby(["fold", "case"])["dice"].mean()
        kept[row] = _load(jobs, dataset, row, None if rows.empty else int(rows["seed"].min()))
    shown = [row for row in view.rows if len(dice[row])]
    # A row whose run is elsewhere would be missing. Then draw no grid, and keep the one drawn over there.
    common = [case for case in dice[reference].index if all(case in kept[row] for row in shown)]
    if not shown or not common:
        return False
    order = dice[reference].loc[common].sort_values(ascending=False)
    places = dict.fromkeys(np.linspace(0, len(order) - 1, min(3, len(order))).round().astype(int))
    grid = []
    for place in places:
        case = order.index[place]
        rank = "best" if place == 0 else "worst" if place == len(order) - 1 else "median"
        pictures = {
            row_label(matrix, row): kept[row][case]._replace(title=f"Dice {dice[row][case]:.3f}") for row in shown
        }
        grid.append((f"{rank}: {case[1]}", pictures))
    first = results[results["dataset"] == dataset]
    for dpi in _DPI:
        save_comparison_grid(path, grid, list(dict.fromkeys(first["class"])), dpi=dpi)
        shrink_png(path)
        if os.path.getsize(path) < _MAX_BYTES:
            break
    return True


def _load(jobs: Sequence[RunJob], dataset: str, row: TableRow, seed: int | None) -> dict[tuple[str, str], CasePicture]:
    """Load the pictures of all folds by fold and name of the case."""
    pictures: dict[tuple[str, str], CasePicture] = {}
    for job in jobs:
        if (job.key.dataset, job.key.system, job.key.variant, job.key.seed) == (dataset, row.system, row.variant, seed):
            for evaluation in job.evaluations:
                file = evaluation.folder / "pictures.npz"
                if evaluation.name == row.evaluation and evaluation.done and file.is_file():
                    pictures |= {(str(job.key.fold), name): kept for name, kept in load_pictures(file).items()}
    return pictures
