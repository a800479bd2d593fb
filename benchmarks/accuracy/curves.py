# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
"""Read what a training logged for TensorBoard into a table of epochs."""

from __future__ import annotations

import os
from pathlib import Path

import pandas as pd
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

__all__ = ["CURVE_COLUMNS", "read_curves"]

CURVE_COLUMNS = ("epoch", "iteration", "metric", "value")

_PER_ITERATION = "train_iteration_loss"


def read_curves(folder: str | os.PathLike[str]) -> pd.DataFrame:
    """Read the event files in a folder into one row per epoch and metric, ordered by both.

    The loss of each iteration (``train_iteration_loss``) becomes its mean over the epoch, ``train_loss``, if the
    training logged no metric with that name.

    Args:
        folder: with ``events.out.tfevents.*``.

    Returns:
        table with the columns ``epoch``, ``iteration`` (at the end of the epoch, missing if iterations were not
        logged), ``metric``, ``value``; empty if nothing was logged.
    """
    scalars: dict[str, dict[int, float]] = {}
    for path in sorted(Path(folder).glob("events.out.tfevents.*")):
        # 0 means every event; the default is a random sample of long series.
        events = EventAccumulator(str(path), size_guidance={"scalars": 0}).Reload()
        for tag in events.Tags()["scalars"]:
            scalars.setdefault(tag, {}).update({event.step: event.value for event in events.Scalars(tag)})
    per_iteration = scalars.pop(_PER_ITERATION, {})
    epochs = max((max(series) for series in scalars.values() if series), default=0)
    length = max(per_iteration, default=0) / epochs if epochs else 0
    if per_iteration and length and "train_loss" not in scalars:
        losses = pd.Series(per_iteration).groupby(lambda step: int((step - 1) // length) + 1).mean()
        scalars["train_loss"] = dict(zip(losses.index.tolist(), losses.tolist()))
    rows = [
        (epoch, round(epoch * length) if length else None, metric, value)
        for metric, series in scalars.items()
        for epoch, value in series.items()
    ]
    table = pd.DataFrame(rows, columns=list(CURVE_COLUMNS)).astype({"iteration": "Int64"})
    return table.sort_values(["epoch", "metric"], kind="stable", ignore_index=True)
