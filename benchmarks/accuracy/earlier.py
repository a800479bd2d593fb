# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
"""Look up results of runs whose folders no longer exist here: older ones, or those of another machine."""

from __future__ import annotations

import os
from pathlib import Path

import pandas as pd

from benchmarks.accuracy.plan import RunJob
from benchmarks.accuracy.score_tables import read_results

__all__ = ["EarlierResults"]


class EarlierResults:
    """Tables from :func:`~benchmarks.accuracy.write_results`, in which single runs are found by their hash.

    Args:
        path: ``results.csv``; ``curves.csv`` beside it is read too. ``None`` means no table.

    Raises:
        ExperimentError: when a table is missing or invalid.

    Example:
        >>> known = EarlierResults(None)
    """

    def __init__(self, path: str | os.PathLike[str] | None) -> None:
        self._scores: dict[str, pd.DataFrame] = {}
        self._curves: dict[str, pd.DataFrame] = {}
        if path is not None:
            self._scores = _by_hash(read_results(path))
            self._curves = _by_hash(read_results(Path(path).with_name("curves.csv")))

    def holds(self, job: RunJob) -> bool:
        """Return whether there are curves and scores of all evaluations of a run with its current hash."""
        return job.hash in self._curves and all(name in self._scores for name in job.score_hashes)

    def curves_of(self, job: RunJob) -> pd.DataFrame:
        """Return the run's rows of ``curves.csv``."""
        return self._curves[job.hash]

    def scores_of(self, job: RunJob) -> pd.DataFrame:
        """Return the run's rows of ``results.csv``."""
        return pd.concat([self._scores[name] for name in job.score_hashes])


def _by_hash(table: pd.DataFrame) -> dict[str, pd.DataFrame]:
    return {str(name): rows for name, rows in table.groupby("hash", sort=False)}
