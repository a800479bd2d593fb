# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
"""Draw histograms with matplotlib, as SVG to embed in a page."""

from __future__ import annotations

import io
import re
from collections.abc import Mapping, Sequence
from xml.etree import ElementTree

import numpy as np
from matplotlib import rc_context
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from monai_bbox_mil.visualize import class_color

__all__ = ["GREY", "histogram"]

GREY = "#7a7a7a"
"""Colour of bars that belong to no class."""

_FEWEST_BARS = 6


def histogram(
    values: Mapping[str, Sequence[float] | np.ndarray], unit: str, counted: str, colors: Sequence[str] | None = None
) -> str:
    """Draw stacked bars, one colour per class.

    The drawing has no legend, because one legend serves all charts and pictures of a page. Pointing at a bar shows the
    name of its class and its count.

    Args:
        values: the numbers of each class, by the class's name.
        unit: label of the horizontal axis.
        counted: label of the vertical axis.
        colors: one per class; ``None`` for those of the pictures.

    Returns:
        an ``<svg>`` element without ids, always the same for the same values; an empty string when there are none.

    Example:
        >>> drawn = histogram({"lesion": [1, 2, 2, 9]}, "pixels", "boxes")
        >>> drawn.startswith("<svg"), drawn.count("<title>"), "lesion (pixels: 2; boxes: 2)" in drawn
        (True, 3, True)
    """
    groups = [np.array([value for value in group if np.isfinite(value)], dtype=float) for group in values.values()]
    every = np.concatenate(groups) if groups else np.zeros(0)
    if not len(every):
        return ""
    whole = bool((every == every.round()).all())
    edges = _edges(every, whole)
    counts = [np.histogram(np.clip(group, edges[0], edges[-1]), edges)[0] for group in groups]
    colors = colors or [class_color(channel) for channel in range(len(groups))]
    with rc_context({"svg.fonttype": "none", "font.family": "sans-serif", "font.size": 11, "text.parse_math": False}):
        figure = Figure(figsize=(4.8, 2.6), layout="constrained")
        FigureCanvasSVG(figure)
        axes = figure.subplots()
        titles, bottom = {}, np.zeros(len(edges) - 1)
        for channel, (name, count) in enumerate(zip(values, counts)):
            drawn = axes.bar(
                edges[:-1], count, np.diff(edges), bottom, align="edge", color=colors[channel], edgecolor="white",
                linewidth=0.5, clip_on=False,
            )  # fmt: skip
            for column, bar in enumerate(drawn):
                bar.set_gid(f"bar-{channel}-{column}")
                reach = _spell_reach(edges[column], edges[column + 1], whole)
                titles[f"bar-{channel}-{column}"] = f"{name} ({unit}: {reach}; {counted}: {count[column]})"
                bar.set_visible(bool(count[column]))
            bottom += count
        axes.set_xlabel(unit)
        axes.set_ylabel(counted)
        axes.spines[["top", "right"]].set_visible(False)
        axes.tick_params(length=0)  # ticks are drawn once and then referred to by id
        axes.xaxis.set_major_locator(MaxNLocator(8, integer=whole))
        axes.yaxis.set_major_locator(MaxNLocator(4, integer=True))
        axes.set_xlim(edges[0], edges[-1])
        buffer = io.BytesIO()
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None})
    return _make_embeddable(buffer.getvalue(), titles)


def _make_embeddable(svg: bytes, titles: Mapping[str, str]) -> str:
    """Remove what disturbs a page: ids, which would not be unique, and styles, which would apply to all of it."""
    root = ElementTree.fromstring(svg)
    for element in list(root.iter()):
        element.tag = element.tag.rpartition("}")[2]
        for child in list(element):
            if re.search("}(defs|metadata)$", child.tag):
                element.remove(child)
    for element in root.iter():
        title = titles.get(element.attrib.pop("id", ""))
        if title is not None:
            node = ElementTree.Element("title")
            node.text = title
            element.insert(0, node)
    root.set("role", "img")
    return ElementTree.tostring(root, encoding="unicode")


def _spell_reach(low: float, high: float, whole: bool) -> str:
    """Name the values of one bar; a whole number lies half a unit inside its bar."""
    if not whole:
        return f"{low:g} to {high:g}"
    first, last = round(low + 0.5), round(high - 0.5)
    return f"{first}" if first == last else f"{first} to {last}"


def _edges(values: np.ndarray, whole: bool) -> np.ndarray:
    """Return edges of at most 24 bars of a round width; the few extreme values go into the first and last bar."""
    low, high = np.floor(np.quantile(values, 0.005)), np.ceil(np.quantile(values, 0.995)) + 1
    widths = [factor * 10**power for power in range(9) for factor in (1, 2, 5)]
    width = next(width for width in widths if (high - low) / width <= 24 and width >= 1)
    start = np.floor(low / width) * width
    count = max(int(np.ceil((high - start) / width)), 1)
    if count < _FEWEST_BARS:  # else a single value would fill the chart with its bar
        start -= (_FEWEST_BARS - count) // 2 * width if low < 0 else min((_FEWEST_BARS - count) // 2 * width, start)
        count = _FEWEST_BARS
    return np.asarray(start + width * np.arange(count + 1) - (0.5 if whole else 0))
