# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
"""Histograms as SVG, without a library, so that the page needs nothing but itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape

import numpy as np

from monai_bbox_mil.visualize import COLORS

__all__ = ["histogram"]

_WIDTH, _HEIGHT, _LEFT, _BOTTOM = 420, 150, 40, 34


def histogram(values: Mapping[str, Sequence[float] | np.ndarray], title: str, unit: str) -> str:
    """Stacked bars, one colour a class.

    Args:
        values: of each class, by its name; the order gives the colours.
        title: above the bars.
        unit: below the axis.

    Returns:
        a ``<figure>``; an empty string where there are no values.

    Example:
        >>> histogram({"lesion": [1, 2, 2, 9]}, "Sizes", "pixels").count("<rect")
        3
    """
    every = np.array([value for group in values.values() for value in group if np.isfinite(value)], dtype=float)
    if not len(every):
        return ""
    edges = _edges(every)
    counts = np.array([np.histogram(np.clip(group, edges[0], edges[-1]), edges)[0] for group in values.values()])
    tallest = int(counts.sum(axis=0).max())
    step = (_WIDTH - _LEFT) / (len(edges) - 1)
    bars = []
    for column in range(len(edges) - 1):
        top = float(_HEIGHT)
        for channel, name in enumerate(values):
            count = int(counts[channel, column])
            if not count:
                continue
            height = count / tallest * (_HEIGHT - 20)
            top -= height
            reach = f"{edges[column]:g} to {edges[column + 1]:g} {unit}"
            bars.append(
                f'<rect x="{_LEFT + column * step:.1f}" y="{top:.1f}" width="{max(step - 1, 0.5):.1f}" '
                f'height="{height:.1f}" fill="{COLORS[channel % len(COLORS)]}">'
                f"<title>{escape(name)}: {count} of {reach}</title></rect>"
            )
    labels = range(0, len(edges), max(1, (len(edges) - 1) // 6))
    ticks = "".join(
        f'<text x="{_LEFT + i * step:.1f}" y="{_HEIGHT + 14}" text-anchor="middle">{edges[i]:g}</text>' for i in labels
    )
    middle = (_WIDTH + _LEFT) / 2
    return (
        f'<figure class="chart"><figcaption>{escape(title)}</figcaption>'
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{_WIDTH + 20}" height="{_HEIGHT + _BOTTOM}" role="img" '
        f'aria-label="{escape(title)}">{"".join(bars)}'
        f'<line x1="{_LEFT}" y1="{_HEIGHT}" x2="{_WIDTH}" y2="{_HEIGHT}"/>'
        f'<text x="{_LEFT - 4}" y="24" text-anchor="end">{tallest}</text>'
        f'<text x="{_LEFT - 4}" y="{_HEIGHT}" text-anchor="end">0</text>{ticks}'
        f'<text x="{middle}" y="{_HEIGHT + 30}" text-anchor="middle">{escape(unit)}</text></svg></figure>'
    )


def _edges(values: np.ndarray) -> np.ndarray:
    """At most 24 bars of a round width; the few values far out share the last bars."""
    low, high = np.floor(np.quantile(values, 0.005)), np.ceil(np.quantile(values, 0.995)) + 1
    widths = [factor * 10**power for power in range(9) for factor in (1, 2, 5)]
    width = next(width for width in widths if (high - low) / width <= 24 and width >= 1)
    start = np.floor(low / width) * width
    return np.arange(start, high + width, width)
