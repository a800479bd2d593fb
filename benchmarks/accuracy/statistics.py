# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
"""Compute scores of patients, and the difference of two systems on the same patients."""

from __future__ import annotations

from typing import NamedTuple, cast

import pandas as pd

from benchmarks.accuracy.sections import TableRow

__all__ = ["PairedDifference", "ScoreSummary", "compare", "patient_scores", "select_rows", "summarize"]


class ScoreSummary(NamedTuple):
    """One system on one data set."""

    mean: float
    """Over patients, each the mean of its seeds."""
    std: float
    """Over patients; NaN for a single one."""
    seed_std: float
    """Of the seeds' means; NaN for a single seed."""
    num_patients: int
    num_seeds: int
    standard_error: float
    """Of the mean over patients."""


class PairedDifference(NamedTuple):
    """One system minus another, patient by patient."""

    mean: float
    standard_error: float
    percent: float
    """Of the reference's mean, over the same patients."""
    num_patients: int


def select_rows(results: pd.DataFrame, dataset: str, row: TableRow) -> pd.DataFrame:
    """Return the rows of ``results.csv`` that belong to a row of a table on one data set."""
    wanted = {"dataset": dataset, "system": row.system, "variant": row.variant, "evaluation": row.evaluation}
    chosen = pd.Series(True, index=results.index)
    for column, value in wanted.items():
        chosen &= results[column] == value
    return results[chosen]


def patient_scores(rows: pd.DataFrame, score: str = "dice") -> pd.DataFrame:
    """Return the mean score of each patient for each seed, over the patient's cases and classes.

    Args:
        rows: of one system on one data set, see :func:`select_rows`.
        score: column.

    Returns:
        patients x seeds; patients without a defined score are left out.

    Example:
        >>> rows = pd.DataFrame({"patient": ["a", "a", "b"], "seed": [0, 0, 0], "dice": [0.5, 0.7, 0.8]})
        >>> patient_scores(rows)[0].round(3).to_dict()
        {'a': 0.6, 'b': 0.8}
    """
    return rows.groupby(["patient", "seed"])[score].mean().unstack("seed").dropna(how="all")


def summarize(scores: pd.DataFrame) -> ScoreSummary:
    """Return mean and spread of :func:`patient_scores`.

    Example:
        >>> found = summarize(pd.DataFrame({0: [0.6, 0.8], 1: [0.8, 1.0]}, index=["a", "b"]))
        >>> round(found.mean, 3), round(found.std, 3), round(found.seed_std, 3), found.num_seeds
        (0.8, 0.141, 0.141, 2)
    """
    patients, seeds = scores.mean(axis=1), scores.mean(axis=0)
    return ScoreSummary(
        mean=float(patients.mean()),
        std=float(patients.std()),
        seed_std=float(seeds.std()),
        num_patients=len(patients),
        num_seeds=len(seeds),
        standard_error=float(patients.std() / len(patients) ** 0.5),
    )


def compare(scores: pd.DataFrame, reference: pd.DataFrame) -> PairedDifference:
    """Return the difference to a reference, paired by patient, after averaging the seeds; only patients in both count.

    Example:
        >>> table = [pd.DataFrame({0: values}, index=["a", "b"]) for values in ([0.6, 0.7], [0.8, 0.8])]
        >>> found = compare(*table)
        >>> round(found.mean, 3), round(found.standard_error, 3), round(found.percent, 2)
        (-0.15, 0.05, 81.25)
    """
    both = pd.concat([scores.mean(axis=1), reference.mean(axis=1)], axis=1, join="inner").set_axis(
        ["own", "other"], axis=1
    )
    difference = both["own"] - both["other"]
    return PairedDifference(
        mean=float(difference.mean()),
        standard_error=float(cast(float, difference.sem())),
        percent=float(100 * both["own"].mean() / both["other"].mean()),
        num_patients=len(both),
    )
