# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
"""Write the page ``results.md`` and its pictures, from the tables of scores alone."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from benchmarks.accuracy.matrix import DEFAULT_MATRIX, ExperimentMatrix
from benchmarks.accuracy.mistakes import ExperimentError
from benchmarks.accuracy.picture_rows import draw_pictures
from benchmarks.accuracy.plan import RunJob, read_json
from benchmarks.accuracy.plots import METRIC_NAMES, SCORE_NAMES, plot_curve, plot_learning, plot_patients
from benchmarks.accuracy.score_tables import read_results
from benchmarks.accuracy.sections import ViewSpec
from benchmarks.accuracy.tables import table_view
from monai_bbox_mil.runs.files import replacing

__all__ = ["write_report"]


def write_report(
    matrix: ExperimentMatrix,
    results: str | os.PathLike[str],
    report_dir: str | os.PathLike[str],
    curves: str | os.PathLike[str] | None = None,
    jobs: Sequence[RunJob] = (),
) -> Path:
    """Write ``results.md`` and PNG files.

    Args:
        matrix: sections and labels.
        results: ``results.csv``; ``results.json`` beside it says what the computation took.
        report_dir: folder to write to, created if needed.
        curves: ``curves.csv``; with ``None``, the one beside ``results`` if it exists.
        jobs: runs that saved pictures; without them, the pictures in ``report_dir`` stay.

    Returns:
        path of the page.

    Raises:
        ExperimentError: when a table is missing or has no row.
    """
    table = read_results(results)
    if table.empty:
        raise ExperimentError(f"results {results}: expected scores, got a table without rows.")
    folder, stem = Path(report_dir), Path(results).with_suffix("")
    folder.mkdir(parents=True, exist_ok=True)
    curve_path = Path(curves) if curves is not None else stem.with_name("curves.csv")
    lines = read_results(curve_path) if curves is not None or curve_path.is_file() else None
    facts = stem.with_suffix(".json")
    page = [f"# {matrix.title}", "", *_head(table, matrix, read_json(facts) if facts.is_file() else {})]
    for section in matrix.report:
        page += [f"## {section.title}", ""]
        if section.text:
            page += [section.text.strip(), ""]
        for number, view in enumerate(section.views):
            name = f"results_{_slug(section.title)}_{view.kind}{number if number else ''}"
            page += _view(table, lines, matrix, view, folder, name, jobs)
    path = folder / "results.md"
    with replacing(path) as unfinished:
        unfinished.write_text("\n".join(page).rstrip() + "\n", encoding="utf-8")
    return path


def _head(table: pd.DataFrame, matrix: ExperimentMatrix, facts: dict[str, Any]) -> list[str]:
    """Return the lines that say how the figures were obtained."""
    lines = []
    if "command" in facts:
        lines += ["Made by", "", "```bash", facts["command"], "```", ""]
    lines += [
        "This page and its plots again, from the table of all scores in its folder, `REPORT`:",
        "",
        "```bash",
        f"python -m benchmarks.accuracy report{_matrix(matrix.path)} --results REPORT/results.csv --report REPORT",
        "```",
        "",
    ]
    if matrix.text:
        lines += [matrix.text.strip(), ""]
    runs = table.drop_duplicates(["dataset", "system", "variant", "seed", "fold"])
    evaluations = table.drop_duplicates("hash")
    hours = {name: part[name].sum() / 3600 for part, name in (
        (runs, "train_seconds"), (runs, "train_cpu_seconds"), (evaluations, "evaluate_cpu_seconds"))}  # fmt: skip
    spent = (
        f"{len(runs)} trainings: {hours['train_seconds']:.2g} hours of wall time added up, "
        f"{hours['train_cpu_seconds']:.2g} CPU hours, at most {runs['peak_memory_mb'].max():.0f} MB of memory each; "
        f"{len(evaluations)} evaluations: {hours['evaluate_cpu_seconds']:.2g} CPU hours"
    )
    threads = "/".join(str(int(n)) for n in sorted(runs["num_threads"].unique()))
    where = ", ".join(sorted(runs["device"].astype(str).unique()))
    libraries = ", ".join(f"{name} {version}" for name, version in facts.get("versions", {}).items())
    spent += f". Device: {where}; {threads} thread{'' if threads == '1' else 's'} a run"
    return [*lines, spent + (f"; {libraries}." if libraries else "."), ""]


def _view(
    table: pd.DataFrame,
    curves: pd.DataFrame | None,
    matrix: ExperimentMatrix,
    view: ViewSpec,
    folder: Path,
    name: str,
    jobs: Sequence[RunJob],
) -> list[str]:
    if view.kind == "table":
        return table_view(table, matrix, view)
    if view.kind == "pictures":
        return _pictures(table, matrix, view, folder, name, jobs)
    if view.kind == "learning":
        drawn = curves is not None and plot_learning(curves, matrix, view, folder / f"{name}.png")
    elif view.kind == "patients":
        drawn = plot_patients(table, matrix, view, folder / f"{name}.png")
    else:
        drawn = plot_curve(table, matrix, view, folder / f"{name}.png")
    caption = _caption(view)
    return _picture(f"{name}.png", caption) if drawn else [f"*{caption}: no results yet.*", ""]


def _caption(view: ViewSpec) -> str:
    if view.kind == "patients":
        return f"{SCORE_NAMES[view.score]} of each patient (points), their mean (diamonds) and quartiles (boxes)"
    if view.kind == "learning":
        metric = METRIC_NAMES.get(view.metric, view.metric)
        return f"Course of the {metric}: lines are means over seeds, bands reach from the lowest to the highest seed"
    reference = "; dashed: the reference" if view.reference else ""
    axes = f"{SCORE_NAMES[view.score]} against {view.xlabel or 'x'}"
    return f"{axes}: means over patients, bars their standard errors{reference}"


def _pictures(
    table: pd.DataFrame, matrix: ExperimentMatrix, view: ViewSpec, folder: Path, name: str, jobs: Sequence[RunJob]
) -> list[str]:
    lines = []
    for dataset in view.datasets:
        file = f"{name}_{dataset}.png"
        drawn = draw_pictures(table, matrix, view, dataset, jobs, folder / file)
        if drawn or (folder / file).is_file():
            title = matrix.datasets[dataset].title
            lines += _picture(file, f"{title}: the best, the median and the worst case of the reference, lowest seed")
    return lines or ["*Pictures are drawn where the runs are.*", ""]


def _picture(file: str, caption: str) -> list[str]:
    return [f"![{caption}]({file})", "", f"*{caption}.*", ""]


def _matrix(path: Path) -> str:
    """Return the option that selects the matrix, as typed in the repository, never a path of this machine."""
    if path.resolve() == DEFAULT_MATRIX:
        return ""
    try:
        return f" --matrix {path.resolve().relative_to(Path.cwd())}"
    except ValueError:
        return f" --matrix {path.name}"


def _slug(title: str) -> str:
    return re.sub(r"[^a-z0-9]+", "_", title.lower()).strip("_")
