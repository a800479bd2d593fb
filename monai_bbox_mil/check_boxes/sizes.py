# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
"""Describe the sizes and margins of all boxes of a data set."""

from __future__ import annotations

from collections import defaultdict
from typing import NamedTuple

import numpy as np

from monai_bbox_mil.check_boxes.charts import GREY, histogram
from monai_bbox_mil.check_boxes.reports import CheckResult

__all__ = ["Chart", "describe_tightness", "draw_sizes"]


class Chart(NamedTuple):
    """A histogram and its title."""

    title: str
    svg: str


def describe_tightness(result: CheckResult) -> str:
    """Describe the margins of drawn boxes around the masks' objects; empty when no margin is known."""
    margins = _margins(result)
    every = np.concatenate(list(margins.values())) if margins else np.zeros(0)
    if not len(every):
        return ""
    tolerance = result.options.tolerance
    mean = every.mean()
    where = f"{abs(mean):.2f} voxels {'outside' if mean > 0 else 'inside'}" if abs(mean) >= 0.005 else "exactly on"
    return (
        f"On average, a side of a box lies {where} the edge of its object in the mask. "
        f"{(every > tolerance).mean():.0%} of the sides lie more than {tolerance:g} voxels outside, "
        f"{(every < -tolerance).mean():.0%} more than {tolerance:g} voxels inside."
    )


def draw_sizes(result: CheckResult) -> list[Chart]:
    """Draw histograms of the boxes' sizes, numbers and margins, without those that would be empty."""
    sizes: dict[str, list[float]] = {name: [] for name in result.options.class_names}
    counts: list[float] = []
    for image in result.images:
        if image.shape is None:
            continue
        counts.append(len(image.boxes))
        axes = result.options.plane_axes(image.shape)
        sides = (image.boxes[:, 3:] - image.boxes[:, :3])[:, axes].double()
        means = sides.prod(dim=1) ** (1 / max(1, len(axes)))
        for channel, mean in zip(image.classes.tolist(), means.tolist()):
            sizes[result.options.class_names[channel]].append(mean)
    charts = [
        Chart("Size of the boxes", histogram(sizes, "geometric mean of the sides, voxels", "boxes")),
        Chart("Number of boxes per image", histogram({"all classes": counts}, "boxes per image", "images", [GREY])),
        Chart(
            "Margin of the boxes around their objects",
            histogram(_margins(result), "margin of a side, voxels (negative: it cuts the object)", "sides"),
        ),
    ]
    return [chart for chart in charts if chart.svg]


def _margins(result: CheckResult) -> dict[str, np.ndarray]:
    """Collect all known margins by class; empty when none is known."""
    margins: dict[str, list[np.ndarray]] = defaultdict(list)
    for image in result.images:
        if image.shape is None or not len(image.margins):
            continue
        axes = result.options.plane_axes(image.shape)
        for channel, row in zip(image.classes.tolist(), image.margins.numpy()):
            values = row[[*axes, *(3 + axis for axis in axes)]]
            margins[result.options.class_names[channel]].append(values[np.isfinite(values)])
    # Classes without margins stay in the list, so that each class keeps its colour.
    joined = {name: np.concatenate(margins[name] or [np.zeros(0)]) for name in result.options.class_names}
    return joined if any(len(values) for values in joined.values()) else {}
