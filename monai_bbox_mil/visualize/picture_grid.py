# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
"""Draw grids of pictures, one row per case: image, boxes, ground truth, prediction."""

from __future__ import annotations

import os
import textwrap
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Patch, Rectangle

from monai_bbox_mil.runs.files import printable
from monai_bbox_mil.visualize.case_pictures import CasePicture
from monai_bbox_mil.visualize.styles import class_color, grey_range, literal_texts

__all__ = ["save_comparison_grid", "save_picture_grid"]

_COLUMN = 2.6  # inches


@literal_texts
def save_picture_grid(
    path: str | os.PathLike[str], pictures: Sequence[CasePicture], class_names: Sequence[str]
) -> None:
    """Draw one row per case and save the grid as PNG.

    Args:
        path: file to write.
        pictures: the rows.
        class_names: one per channel, for the legend.

    Raises:
        ValueError: when there is nothing to draw.
    """
    columns = ["image", "boxes", "ground truth", "prediction"]
    # Rows are as high as their pictures, or wide images would float in white space; titles need some height too.
    shapes = [picture.aspect * picture.image.shape[1] / picture.image.shape[0] for picture in pictures]
    figure, axes = _new_grid(pictures, columns, [_COLUMN * min(max(shape, 0.75), 2.5) + 0.15 for shape in shapes])
    for row, picture in zip(axes, pictures):
        _draw_boxes(row[1], picture.boxes)
        _draw_truth(row[2], picture.mask)
        _draw_mask(row[3], picture.pred)
    _save(figure, path, class_names, _any_ignored(pictures))


@literal_texts
def save_comparison_grid(
    path: str | os.PathLike[str],
    cases: Sequence[tuple[str, Mapping[str, CasePicture]]],
    class_names: Sequence[str],
    dpi: int = 80,
) -> None:
    """Draw predictions of several networks side by side, one row per case, and save the grid as PNG.

    Args:
        path: file to write.
        cases: for each row its title and, by the networks' names, their pictures of the same slice, whose own titles go
            below the predictions. Image, boxes and ground truth are the first network's; without any ground truth, that
            column is left out. Each row shows the part of the slice that holds boxes, ground truth and all predictions,
            with a margin around it.
        class_names: one per channel, for the legend.
        dpi: pixels per inch; a column is 2.6 inches wide.

    Raises:
        ValueError: when there is nothing to draw.
    """
    first = [next(iter(pictures.values()))._replace(title=title) for title, pictures in cases]
    names = list(cases[0][1]) if cases else []
    truth = ["ground truth"] if any(picture.mask is not None for picture in first) else []
    columns = ["given boxes", *truth, *(textwrap.fill(printable(name), 28) for name in names)]
    figure, axes = _new_grid(first, columns, [_COLUMN + 0.15] * len(first))
    for row, (_, pictures), picture in zip(axes, cases, first):
        _draw_boxes(row[0], picture.boxes)
        if truth:
            _draw_truth(row[1], picture.mask)
        for axis, name in zip(row[1 + len(truth) :], names):
            _draw_mask(axis, pictures[name].pred)
            axis.set_xlabel(pictures[name].title, fontsize=9)
        _look_closer(row, pictures.values())
    _save(figure, path, class_names, _any_ignored(first), dpi)


def _new_grid(
    pictures: Sequence[CasePicture], columns: Sequence[str], heights: Sequence[float]
) -> tuple[Figure, np.ndarray]:
    """Make a figure with each picture's image in all columns of its row; ``heights`` of the rows are in inches."""
    if not pictures:
        raise ValueError("pictures must hold at least one case, got none.")
    figure = Figure(figsize=(_COLUMN * len(columns), sum(heights) + 0.5), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(len(pictures), len(columns), squeeze=False, height_ratios=heights)
    for row, picture in zip(axes, pictures):
        low, high = grey_range(picture.image)
        for axis in row:
            axis.imshow(
                picture.image.T,
                cmap="gray",
                vmin=low,
                vmax=high,
                origin="upper" if picture.upright else "lower",
                aspect=picture.aspect,
            )
            axis.set_xticks([])
            axis.set_yticks([])
        lines = printable(picture.title).splitlines()
        row[0].set_ylabel("\n".join(textwrap.fill(line, 36) for line in lines), fontsize=8)
    for axis, name in zip(axes[0], columns):
        axis.set_title(name, fontsize=10)
    return figure, axes


def _look_closer(axes: np.ndarray, pictures: Iterable[CasePicture]) -> None:
    """Zoom to boxes and regions with a margin: a square of at least a third of the image's longer side."""
    first, *_ = pictures = list(pictures)
    size = np.array(first.image.shape)
    shown = np.zeros(first.image.shape, dtype=bool)
    for region in [picture.pred for picture in pictures] + ([] if first.mask is None else [first.mask]):
        shown |= region.astype(bool).any(0)
    for x0, y0, x1, y1, _ in first.boxes.astype(int):
        shown[max(x0, 0) : x1, max(y0, 0) : y1] = True
    if not shown.any():
        return
    places = np.argwhere(shown)
    low, high = places.min(0), places.max(0) + 1
    width = np.minimum(max(1.6 * (high - low).max(), size.max() / 3), size)
    start = np.clip((low + high - width) / 2, 0, size - width) - 0.5
    for axis in axes:
        axis.set_xlim(start[0], start[0] + width[0])
        bottom_up = (start[1], start[1] + width[1])
        axis.set_ylim(bottom_up[::-1] if first.upright else bottom_up)


def _any_ignored(pictures: Sequence[CasePicture]) -> bool:
    return any((picture.boxes[:, 4] < -1).any() for picture in pictures)


def _save(
    figure: Figure, path: str | os.PathLike[str], class_names: Sequence[str], ignored: bool, dpi: int = 110
) -> None:
    handles = [Patch(color=class_color(i), label=str(i)) for i in range(len(class_names))]
    if ignored:
        handles.append(Patch(fill=False, edgecolor="black", linestyle=":", label="region to ignore"))
    legend = figure.legend(
        handles=handles, loc="outside lower center", ncols=max(1, len(handles)), fontsize=8, frameon=False
    )
    for text, name in zip(legend.get_texts(), class_names):
        text.set_text(printable(name))  # not as the patch's label, where matplotlib skips names that begin with "_"
    figure.savefig(path, dpi=dpi, bbox_inches="tight", pad_inches=0.05)  # "tight", or headings of two lines are cut


def _draw_truth(axis: Axes, mask: np.ndarray | None) -> None:
    if mask is None:
        axis.text(0.5, 0.5, "no mask", color="white", ha="center", transform=axis.transAxes, backgroundcolor="black")
    else:
        _draw_mask(axis, mask)


def _draw_boxes(axis: Axes, boxes: np.ndarray) -> None:
    for x0, y0, x1, y1, code in boxes:
        ignored = code < -1
        color = class_color(int(-2 - code if ignored else code))
        style = ":" if ignored else "-"
        # A pixel is drawn around its index, so a half-open box starts half a pixel before its first one.
        corner = (x0 - 0.5, y0 - 0.5)
        axis.add_patch(Rectangle(corner, x1 - x0, y1 - y0, fill=False, edgecolor=color, linewidth=1.2, linestyle=style))


def _draw_mask(axis: Axes, mask: np.ndarray) -> None:
    for channel, region in enumerate(mask):
        if region.any():
            color = class_color(channel)
            axis.contourf(region.T, levels=[0.5, 1.5], colors=[color], alpha=0.3)
            axis.contour(region.T, levels=[0.5], colors=[color], linewidths=1.0)
