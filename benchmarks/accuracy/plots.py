# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
"""Plots of a report: scores of patients, training curves, scores against a variant's number."""

from __future__ import annotations

import os
import textwrap
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

from benchmarks.accuracy.matrix import ExperimentMatrix
from benchmarks.accuracy.sections import ViewSpec
from benchmarks.accuracy.statistics import patient_scores, select_rows, summarize
from benchmarks.accuracy.tables import pick_reference, row_label
from monai_bbox_mil.visualize import literal_texts

__all__ = ["METRIC_NAMES", "SCORE_NAMES", "plot_curve", "plot_learning", "plot_patients", "shrink_png"]

SCORE_NAMES = {"dice": "3D Dice", "hd95_mm": "HD95, mm", "box_iou": "box IoU"}
"""Names of the scores on the axes."""

METRIC_NAMES = {
    "val_dice": "validation Dice at 0.5",
    "train_loss": "training loss",
    "val_loss": "validation loss",
}
"""Names of the curves on the axes."""
_COLORS = ("#1f77b4", "#ff7f0e", "#2ca02c", "#d62728", "#9467bd", "#8c564b", "#e377c2", "#7f7f7f", "#bcbd22", "#17becf")


@literal_texts
def plot_patients(
    results: pd.DataFrame, matrix: ExperimentMatrix, view: ViewSpec, path: str | os.PathLike[str]
) -> bool:
    """Draw a point per patient (mean of its seeds) and a box for the quartiles, with a panel per data set.

    Returns:
        whether there was anything to draw.
    """
    datasets = [name for name in view.datasets if len(results[results["dataset"] == name])]
    if not datasets:
        return False
    figure, panels = _new_figure(len(datasets), height=1.1 + 0.42 * len(view.rows), sharey=True)
    for panel, name in zip(panels, datasets):
        for place, row in enumerate(view.rows):
            scores = patient_scores(select_rows(results, name, row), view.score).mean(axis=1).to_numpy()
            if not len(scores):
                continue
            color = _COLORS[place % len(_COLORS)]
            panel.boxplot(scores, positions=[place], orientation="horizontal", widths=0.6, showfliers=False,
                          medianprops={"color": "black"}, boxprops={"color": color}, whiskerprops={"color": color},
                          capprops={"color": color})  # fmt: skip
            # Spread evenly, not at random, so that the same table gives the same picture.
            shift = (np.arange(len(scores)) * 0.618 % 1 - 0.5) * 0.4
            panel.scatter(scores, place + shift, s=10, color=color, alpha=0.6, linewidths=0)
            panel.scatter([scores.mean()], [place], marker="D", s=28, color="white", edgecolors="black", zorder=5)
        panel.set_title(matrix.datasets[name].title, fontsize=10)
        panel.set_xlabel(SCORE_NAMES[view.score], fontsize=9)
        panel.grid(axis="x", alpha=0.3)
    panels[0].set_yticks(range(len(view.rows)), [_short(row_label(matrix, row)) for row in view.rows], fontsize=8)
    panels[0].set_ylim(len(view.rows) - 0.5, -0.5)
    _save(figure, path)
    return True


@literal_texts
def plot_learning(curves: pd.DataFrame, matrix: ExperimentMatrix, view: ViewSpec, path: str | os.PathLike[str]) -> bool:
    """Draw a metric over epochs or iterations: the mean over seeds and folds as a line, their range as a band.

    Returns:
        whether there was anything to draw.
    """
    chosen = curves[(curves["metric"] == view.metric) & curves["dataset"].isin(view.datasets)]
    datasets = [name for name in view.datasets if (chosen["dataset"] == name).any()]
    if not datasets:
        return False
    figure, panels = _new_figure(len(datasets), height=3.2)
    for panel, name in zip(panels, datasets):
        for place, row in enumerate(view.rows):
            part = chosen[(chosen["dataset"] == name) & (chosen["system"] == row.system)]
            values = part[part["variant"] == row.variant].groupby(view.x)["value"].agg(["mean", "min", "max"])
            if len(values):
                color = _COLORS[place % len(_COLORS)]
                panel.plot(
                    values.index, values["mean"], color=color, label=_short(row_label(matrix, row)), linewidth=1.4
                )
                panel.fill_between(values.index, values["min"], values["max"], color=color, alpha=0.15, linewidth=0)
        panel.set_title(matrix.datasets[name].title, fontsize=10)
        panel.set_xlabel("training iterations" if view.x == "iteration" else "epochs", fontsize=9)
        panel.grid(alpha=0.3)
    panels[0].set_ylabel(METRIC_NAMES.get(view.metric, view.metric), fontsize=9)
    _legend(figure, panels)
    _save(figure, path)
    return True


@literal_texts
def plot_curve(results: pd.DataFrame, matrix: ExperimentMatrix, view: ViewSpec, path: str | os.PathLike[str]) -> bool:
    """Draw a score against the variants' ``x``, a panel per series and a line per system; bars are standard errors.

    Returns:
        whether there was anything to draw.
    """
    datasets = [name for name in view.datasets if len(results[results["dataset"] == name])]
    series = list(dict.fromkeys(matrix.variants[name].series for name in view.variants))
    shown = [(dataset, group) for dataset in datasets for group in series]
    drawn = False
    if not shown:
        return False
    # Scores of different data sets have different ranges.
    figure, panels = _new_figure(len(shown), height=4.2, sharey=len(datasets) == 1)
    for panel, (dataset, group) in zip(panels, shown):
        points = {v.x: name for name, v in matrix.variants.items() if name in view.variants and v.series == group}
        if view.base_x is not None:
            points = {view.base_x: "", **points}
        for place, row in enumerate(view.rows):
            found = []
            for x, variant in sorted(points.items(), key=lambda point: point[0] or 0.0):
                rows = select_rows(results, dataset, replace(row, variant=variant))
                scores = patient_scores(rows, view.score)
                if len(scores):
                    summary = summarize(scores)
                    found.append((x, summary.mean, summary.standard_error))
            if found:
                drawn = True
                x_values, means, errors = np.array(found, dtype=float).T
                label, color = _short(row_label(matrix, row)), _COLORS[place % len(_COLORS)]
                panel.errorbar(x_values, means, errors, color=color, label=label, marker="o", markersize=4, capsize=3)
        reference = pick_reference(results, matrix, view, dataset, view.score)
        if reference is not None:
            level = summarize(patient_scores(select_rows(results, dataset, reference), view.score)).mean
            panel.axhline(level, color="black", linestyle="--", linewidth=1, label=_short(row_label(matrix, reference)))
        title = matrix.datasets[dataset].title
        panel.set_title(f"{title}, {group}" if group else title, fontsize=10)
        panel.set_xlabel(view.xlabel or "x", fontsize=9)
        panel.grid(alpha=0.3)
    panels[0].set_ylabel(SCORE_NAMES[view.score], fontsize=9)
    _legend(figure, panels)
    if drawn:
        _save(figure, path)
    return drawn


def shrink_png(path: str | os.PathLike[str]) -> None:
    """Store a PNG with 256 colours, which takes a third of the bytes."""
    with Image.open(path) as picture:
        small = picture.convert("RGB").quantize(256, dither=Image.Dither.NONE)
    small.save(path, optimize=True)


def _new_figure(num_panels: int, height: float, sharey: bool = False) -> tuple[Figure, Sequence[Any]]:
    figure = Figure(figsize=(1.2 + 3.6 * num_panels, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure, figure.subplots(1, num_panels, squeeze=False, sharey=sharey)[0]


def _legend(figure: Figure, panels: Sequence[Any]) -> None:
    """Draw one legend for all panels, below them."""
    entries = {label: line for panel in panels for line, label in zip(*panel.get_legend_handles_labels())}
    columns = max(1, len(panels))
    figure.legend(
        entries.values(), entries.keys(), loc="outside lower center", ncols=columns, fontsize=8, frameon=False
    )


def _short(label: str) -> str:
    return textwrap.fill(label, 34)


def _save(figure: Figure, path: str | os.PathLike[str]) -> None:
    figure.savefig(path, dpi=100)
    shrink_png(path)
