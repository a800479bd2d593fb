# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
"""A grid of pictures, one case a row: image, boxes, ground truth, prediction."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Patch, Rectangle

__all__ = ["CasePicture", "save_picture_grid"]

_COLORS = ("#2ca02c", "#ff7f0e", "#1f77b4", "#d62728", "#9467bd", "#8c564b", "#e377c2", "#bcbd22")


class CasePicture(NamedTuple):
    """One slice of one case."""

    title: str
    image: np.ndarray
    """``(H, W)``, rescaled for display."""
    boxes: np.ndarray
    """``(N, 5)`` box tensor of the slice, ignored boxes drawn dotted."""
    mask: np.ndarray | None
    """``(C, H, W)`` ground truth, ``None`` where there is none."""
    pred: np.ndarray
    """``(C, H, W)`` prediction."""
    aspect: float = 1.0
    """Height over width of a pixel as it is drawn (axis 0 runs to the right)."""
    upright: bool = True
    """Whether axis 1 runs downward."""


def save_picture_grid(path: str | os.PathLike, pictures: Sequence[CasePicture], class_names: Sequence[str]) -> None:
    """Draw one row a case and save it as PNG.

    Args:
        path: file to write.
        pictures: the rows.
        class_names: one a channel, for the legend.

    Raises:
        ValueError: when there is nothing to draw.
    """
    if not pictures:
        raise ValueError("pictures must hold at least one case, got none.")
    columns = ["image", "boxes", "ground truth", "prediction"]
    figure = Figure(figsize=(2.6 * len(columns), 2.75 * len(pictures) + 0.5), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(len(pictures), len(columns), squeeze=False)
    for row, picture in zip(axes, pictures):
        low, high = np.percentile(picture.image, (1, 99.5))
        for axis in row:
            axis.imshow(
                picture.image.T,
                cmap="gray",
                vmin=low,
                vmax=max(high, low + 1e-6),
                origin="upper" if picture.upright else "lower",
                aspect=picture.aspect,
            )
            axis.set_xticks([])
            axis.set_yticks([])
        row[0].set_ylabel(picture.title, fontsize=8)
        _draw_boxes(row[1], picture.boxes)
        if picture.mask is None:
            row[2].text(0.5, 0.5, "no mask", color="white", ha="center", transform=row[2].transAxes)
        else:
            _draw_mask(row[2], picture.mask)
        _draw_mask(row[3], picture.pred)
    for axis, name in zip(axes[0], columns):
        axis.set_title(name, fontsize=10)
    handles = [Patch(color=_COLORS[i % len(_COLORS)], label=name) for i, name in enumerate(class_names)]
    figure.legend(handles=handles, loc="outside lower center", ncols=max(1, len(handles)), fontsize=8, frameon=False)
    figure.savefig(path, dpi=110)


def _draw_boxes(axis: Axes, boxes: np.ndarray) -> None:
    for x0, y0, x1, y1, code in boxes:
        ignored = code < -1
        color = _COLORS[int(-2 - code if ignored else code) % len(_COLORS)]
        style = ":" if ignored else "-"
        # A pixel is drawn around its index, so a half-open box starts half a pixel before its first one.
        corner = (x0 - 0.5, y0 - 0.5)
        axis.add_patch(Rectangle(corner, x1 - x0, y1 - y0, fill=False, edgecolor=color, linewidth=1.2, linestyle=style))


def _draw_mask(axis: Axes, mask: np.ndarray) -> None:
    for channel, region in enumerate(mask):
        if region.any():
            color = _COLORS[channel % len(_COLORS)]
            axis.contourf(region.T, levels=[0.5, 1.5], colors=[color], alpha=0.3)
            axis.contour(region.T, levels=[0.5], colors=[color], linewidths=1.0)
