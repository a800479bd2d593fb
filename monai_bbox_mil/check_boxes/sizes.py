# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
"""How large boxes are, and how tight, over the whole data set."""

from __future__ import annotations

from collections import defaultdict

import numpy as np

from monai_bbox_mil.check_boxes.charts import histogram
from monai_bbox_mil.check_boxes.survey import CheckResult

__all__ = ["draw_sizes", "tell_tightness"]


def tell_tightness(result: CheckResult) -> list[str]:
    """One sentence on the margins of drawn boxes around the masks' objects; none where no margin is known."""
    margins = _margins(result)
    every = np.concatenate(list(margins.values())) if margins else np.zeros(0)
    if not len(every):
        return []
    beyond, cut = (every > result.options.tolerance).mean(), (every < -result.options.tolerance).mean()
    return [
        f"Against the masks, the sides of the boxes lie {every.mean():+.2f} voxels beyond the objects in the mean "
        f"(negative: inside); {beyond:.0%} of the sides lie more than {result.options.tolerance:g} voxels beyond, "
        f"{cut:.0%} more than that inside."
    ]


def draw_sizes(result: CheckResult) -> list[str]:
    """The section of histograms, as lines of HTML; none where there is nothing to show."""
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
        histogram(sizes, "Size of the boxes (geometric mean of the sides)", "voxels"),
        histogram({"images": counts}, "Boxes of an image", "boxes"),
        histogram(
            _margins(result), "Margins: how far sides lie beyond the mask's objects", "voxels (negative: inside)"
        ),
    ]
    return ["<h2>Sizes</h2>", f'<div class="charts">{"".join(charts)}</div>'] if any(charts) else []


def _margins(result: CheckResult) -> dict[str, np.ndarray]:
    """Margins of all sides that are known, by class."""
    margins: dict[str, list[np.ndarray]] = defaultdict(list)
    for image in result.images:
        if image.shape is None or not len(image.margins):
            continue
        axes = result.options.plane_axes(image.shape)
        for channel, row in zip(image.classes.tolist(), image.margins.numpy()):
            values = row[[*axes, *(3 + axis for axis in axes)]]
            margins[result.options.class_names[channel]].append(values[np.isfinite(values)])
    joined = {name: np.concatenate(margins[name]) for name in result.options.class_names if margins[name]}
    return joined if any(len(values) for values in joined.values()) else {}
