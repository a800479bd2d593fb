# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
"""Gather the scores of current runs, and of no others, in one tidy table."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from benchmarks.accuracy.earlier import EarlierResults
from benchmarks.accuracy.identity import versions
from benchmarks.accuracy.plan import EVALUATED, TRAINED, RunJob, read_json, write_json
from benchmarks.accuracy.score_tables import CURVE_KEYS, RESULT_COLUMNS, TEXT_COLUMNS
from monai_bbox_mil.csv_tables import read_table, write_table

__all__ = ["gather_results", "write_results"]

_OF_TRAINING = ("peak_memory_mb", "num_parameters", "num_threads", "device")


def gather_results(
    jobs: Sequence[RunJob], metrics: Sequence[str], earlier: EarlierResults | None = None
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return scores and curves of the trained jobs, with the finished evaluations.

    Args:
        jobs: all current runs of the matrix.
        metrics: names of the curves to include.
        earlier: where to look for runs that are not complete here.

    Returns:
        rows of ``results.csv`` and rows of ``curves.csv``.
    """
    scores, curves = [], []
    for job in jobs:
        if not job.done and earlier is not None and earlier.holds(job):
            scores.append(earlier.scores_of(job))
            curves.append(earlier.curves_of(job))
            continue
        if not job.trained:
            continue
        measured = read_json(job.folder / TRAINED)
        training = {"train_seconds": measured["train_seconds"], "train_cpu_seconds": measured["cpu_seconds"]}
        training |= {name: measured[name] for name in _OF_TRAINING}
        names = {name: getattr(job.key, name) for name in CURVE_KEYS}
        curve = read_table(job.folder / "curves.csv", texts=TEXT_COLUMNS)
        curves.append(curve[curve["metric"].isin(metrics)].assign(**names, hash=job.hash))
        for evaluation, score_hash in zip(job.evaluations, job.score_hashes):
            if not evaluation.done:
                continue
            measured = read_json(evaluation.folder / EVALUATED)
            spent = {"evaluate_seconds": measured["seconds"], "evaluate_cpu_seconds": measured["cpu_seconds"]}
            cases = read_table(evaluation.folder / "cases.csv", texts=TEXT_COLUMNS)
            scores.append(cases.assign(**names, **training, **spent, evaluation=evaluation.name, hash=score_hash))
    table = pd.concat(scores)[list(RESULT_COLUMNS)] if scores else pd.DataFrame(columns=list(RESULT_COLUMNS))
    columns = [*CURVE_KEYS, "epoch", "iteration", "metric", "value", "hash"]
    lines = pd.concat(curves)[columns] if curves else pd.DataFrame(columns=columns)
    return table, lines


def write_results(
    jobs: Sequence[RunJob],
    out: str | os.PathLike[str],
    metrics: Sequence[str],
    command: str,
    earlier: EarlierResults | None = None,
) -> Path:
    """Write ``results.csv``, ``curves.csv`` and ``results.json``, each completely or not at all.

    Args:
        jobs, metrics, earlier: as in :func:`gather_results`.
        out: folder.
        command: the command that made them, for the report.

    Returns:
        path of ``results.csv``.
    """
    table, lines = gather_results(jobs, metrics, earlier)
    out = Path(out)
    for name, content, digits in (("results.csv", table, "%.6g"), ("curves.csv", lines, "%.4g")):
        write_table(out / name, content, float_format=digits)
    write_json(out / "results.json", {"command": command, "versions": versions()})
    return out / "results.csv"
