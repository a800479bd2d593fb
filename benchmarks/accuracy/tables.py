# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
"""Write Markdown tables: one with all data sets side by side, and a detailed one per data set."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pandas as pd

from benchmarks.accuracy.matrix import ExperimentMatrix
from benchmarks.accuracy.sections import TableRow, ViewSpec
from benchmarks.accuracy.statistics import compare, patient_scores, select_rows, summarize

__all__ = ["pick_reference", "row_label", "table_view"]

_HEADS = {"hd95_mm": "HD95, mm", "box_iou": "box IoU"}
_NOTHING = "–"


def row_label(matrix: ExperimentMatrix, row: TableRow) -> str:
    """Return the name of a row: its own label, or its system's label with the variant's name."""
    label = row.label or matrix.systems[row.system].label
    return label if row.label or not row.variant else f"{label}, {row.variant}"


def pick_reference(
    results: pd.DataFrame, matrix: ExperimentMatrix, view: ViewSpec, dataset: str, score: str = "dice"
) -> TableRow | None:
    """Return the best of the view's reference systems on a data set; ``None`` if none of them has results.

    A reference that is among the view's rows is that row, preferably one without a variant. Otherwise its runs without
    a variant and its first evaluation count.
    """
    found: dict[TableRow, float] = {}
    for system in view.reference:
        rows = sorted((row for row in view.rows if row.system == system), key=lambda row: bool(row.variant))
        row = rows[0] if rows else TableRow(system, evaluation=matrix.systems[system].evaluations[0])
        scores = patient_scores(select_rows(results, dataset, row), score)
        if len(scores):
            found[row] = summarize(scores).mean
    return max(found, key=found.__getitem__) if found else None


def table_view(results: pd.DataFrame, matrix: ExperimentMatrix, view: ViewSpec) -> list[str]:
    """Return the lines of Markdown for a ``table`` view."""
    datasets = [name for name in view.datasets if len(results[results["dataset"] == name])]
    missing = [matrix.datasets[name].title for name in view.datasets if name not in datasets]
    lines = _overview(results, matrix, view, datasets) if len(datasets) > 1 else []
    for name in datasets:
        lines += _one_dataset(results, matrix, view, name)
    return lines + ([f"No results yet: {', '.join(missing)}.", ""] if missing else [])


def _overview(results: pd.DataFrame, matrix: ExperimentMatrix, view: ViewSpec, datasets: Sequence[str]) -> list[str]:
    bold = {name: _best(results, matrix, view, name) for name in datasets}
    body = []
    for row in view.rows:
        cells = [row_label(matrix, row)]
        for name in datasets:
            scores = patient_scores(select_rows(results, name, row))
            cells.append(_emphasized(_mean_std(scores), row == bold[name]))
        body.append(cells)
    heads = ["3D Dice", *(matrix.datasets[name].title for name in datasets)]
    return [*_markdown(heads, body), "Mean over patients, in brackets the standard deviation over patients.", ""]


def _one_dataset(results: pd.DataFrame, matrix: ExperimentMatrix, view: ViewSpec, dataset: str) -> list[str]:
    reference = pick_reference(results, matrix, view, dataset)
    bold = _best(results, matrix, view, dataset)
    reference_scores = None if reference is None else patient_scores(select_rows(results, dataset, reference))
    counts: set[tuple[int, int]] = set()
    body = []
    for row in view.rows:
        rows = select_rows(results, dataset, row)
        scores = patient_scores(rows)
        cells = [row_label(matrix, row), _mean_std(scores)]
        if not len(scores):
            body.append(cells + [_NOTHING] * (3 + 2 * (reference is not None) + len(view.columns)))
            continue
        summary = summarize(scores)
        counts.add((summary.num_patients, summary.num_seeds))
        cells += [str(summary.num_seeds), _number(summary.seed_std)]
        if reference_scores is not None:
            found = compare(scores, reference_scores)
            own = row == reference
            cells += ["reference" if own else f"{found.mean:+.3f} ± {_number(found.standard_error)}"]
            cells += [_NOTHING if own else f"{found.percent:.1f} %"]
        cells.append(_threshold(rows))
        cells += [_mean_std(patient_scores(rows, name), digits=1 if name == "hd95_mm" else 3) for name in view.columns]
        body.append([_emphasized(cell, row == bold and bool(i < 2)) for i, cell in enumerate(cells)])
    heads = [matrix.datasets[dataset].title, "3D Dice", "seeds", "between seeds"]
    if reference is not None:
        heads += ["difference", "share"]
    heads += ["threshold", *(_HEADS[name] for name in view.columns)]
    return [*_markdown(heads, body), _caption(results, matrix, view, dataset, reference, counts), ""]


def _caption(
    results: pd.DataFrame,
    matrix: ExperimentMatrix,
    view: ViewSpec,
    dataset: str,
    reference: TableRow | None,
    counts: set[tuple[int, int]],
) -> str:
    patients = sorted({number for number, _ in counts})
    text = [f"{' or '.join(map(str, patients))} patients. Mean over patients (standard deviation over patients)"]
    text.append("; between seeds: standard deviation of the seeds' means")
    if reference is not None:
        choice = ", the better one on this set" if len(view.reference) > 1 else ""
        text.append(f"; difference to {row_label(matrix, reference)}{choice}, paired by patient, ± its standard error")
        text.append("; share: of its mean Dice")
    if "hd95_mm" in view.columns:
        rows = pd.concat([select_rows(results, dataset, row) for row in view.rows])
        blank = int(rows["hd95_mm"].isna().sum())
        if blank:
            text.append(f"; HD95 is undefined in {blank} of {len(rows)} predictions (all rows), which do not count")
    return "".join(text) + "."


def _best(results: pd.DataFrame, matrix: ExperimentMatrix, view: ViewSpec, dataset: str) -> TableRow | None:
    """Return the best row that is not a yardstick; ``None`` if there are not two to choose from."""
    means = {}
    for row in view.rows:
        scores = patient_scores(select_rows(results, dataset, row))
        if len(scores) and row.system not in view.reference and not matrix.systems[row.system].yardstick:
            means[row] = summarize(scores).mean
    return max(means, key=means.__getitem__) if len(means) > 1 else None


def _mean_std(scores: pd.DataFrame, digits: int = 3) -> str:
    if not len(scores):
        return _NOTHING
    summary = summarize(scores)
    return f"{summary.mean:.{digits}f} ({_number(summary.std, digits)})"


def _number(value: float, digits: int = 3) -> str:
    return _NOTHING if math.isnan(value) else f"{value:.{digits}f}"


def _threshold(rows: pd.DataFrame) -> str:
    low, high = rows["threshold"].min(), rows["threshold"].max()
    return _number(low, 2) if low == high or math.isnan(low) else f"{low:.2f} to {high:.2f}"


def _emphasized(text: str, yes: bool) -> str:
    return f"**{text}**" if yes else text


def _markdown(heads: Sequence[str], body: Sequence[Sequence[str]]) -> list[str]:
    rows = [heads, ["---"] + ["---:"] * (len(heads) - 1), *body]
    return ["| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in rows] + [""]
