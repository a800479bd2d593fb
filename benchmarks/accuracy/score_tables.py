# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
"""The stored tables of scores and curves: their columns, and how they are read."""

from __future__ import annotations

import os
from pathlib import Path

import pandas as pd

from benchmarks.accuracy.mistakes import ExperimentError
from monai_bbox_mil.csv_tables import read_table

__all__ = ["CURVE_KEYS", "RESULT_COLUMNS", "TEXT_COLUMNS", "read_results"]

RESULT_COLUMNS = (
    "dataset", "system", "variant", "seed", "fold", "evaluation", "case", "patient", "class",
    "dice", "hd95_mm", "box_iou", "threshold",
    "train_seconds", "train_cpu_seconds", "peak_memory_mb", "num_parameters", "num_threads", "device",
    "evaluate_seconds", "evaluate_cpu_seconds", "hash",
)  # fmt: skip
"""Columns of ``results.csv``. The costs of a training and an evaluation are the same in all of their rows."""

CURVE_KEYS = ("dataset", "system", "variant", "seed", "fold")
TEXT_COLUMNS = (
    "dataset",
    "system",
    "variant",
    "fold",
    "evaluation",
    "case",
    "patient",
    "class",
    "hash",
    "device",
    "metric",
)
"""Columns with names, whatever they look like."""


def read_results(path: str | os.PathLike[str]) -> pd.DataFrame:
    """Read ``results.csv`` or ``curves.csv``; names stay texts, and a missing variant is an empty text.

    Raises:
        ExperimentError: when the file is missing, empty or not such a table.
    """
    path = Path(path)
    if not path.is_file():
        raise ExperimentError(f"results {path}: expected a CSV file, got {'a folder' if path.exists() else 'nothing'}.")
    try:
        table = read_table(path, texts=TEXT_COLUMNS)
    except (pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeDecodeError) as error:
        raise ExperimentError(f"results {path}: expected a CSV table, got {error}") from error
    missing = [name for name in CURVE_KEYS if name not in table]
    if missing:
        raise ExperimentError(
            f"results {path}: the columns {', '.join(missing)} are missing; got {', '.join(map(str, table.columns))}."
        )
    return table
