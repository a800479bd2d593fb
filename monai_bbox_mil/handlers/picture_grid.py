# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
"""A grid of pictures, one case a row: image, boxes, ground truth, prediction."""

from __future__ import annotations

import os
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Patch, Rectangle

from monai_bbox_mil.runs.files import printable

__all__ = [
    "COLORS",
    "CasePicture",
    "grey_range",
    "literal_texts",
    "load_pictures",
    "save_comparison_grid",
    "save_picture_grid",
    "save_pictures",
]

COLORS = ("#2ca02c", "#ff7f0e", "#1f77b4", "#d62728", "#9467bd", "#8c564b", "#e377c2", "#bcbd22")
"""Colours of the classes, in turn."""


literal_texts = rc_context({"text.parse_math": False})
"""Decorates functions that draw names: a name with two dollar signs is no formula."""


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


@literal_texts
def save_picture_grid(
    path: str | os.PathLike[str], pictures: Sequence[CasePicture], class_names: Sequence[str]
) -> None:
    """Draw one row a case and save it as PNG.

    Args:
        path: file to write.
        pictures: the rows.
        class_names: one a channel, for the legend.

    Raises:
        ValueError: when there is nothing to draw.
    """
    columns = ["image", "boxes", "ground truth", "prediction"]
    figure, axes = _new_grid(pictures, columns)
    for row, picture in zip(axes, pictures):
        _draw_boxes(row[1], picture.boxes)
        _draw_truth(row[2], picture.mask)
        _draw_mask(row[3], picture.pred)
    _save(figure, path, class_names)


@literal_texts
def save_comparison_grid(
    path: str | os.PathLike[str],
    cases: Sequence[tuple[str, Mapping[str, CasePicture]]],
    class_names: Sequence[str],
    dpi: int = 80,
) -> None:
    """Draw predictions of several networks side by side, one row a case, and save it as PNG.

    Args:
        path: file to write.
        cases: for each row its title and, by the networks' names, their pictures of the same slice, whose own titles go
            below the predictions. Image, boxes and ground truth are the first network's. Shown is the part of the slice
            that holds boxes, ground truth and all predictions, with something around it.
        class_names: one a channel, for the legend.
        dpi: pixels an inch; a column is 2.6 inches wide.

    Raises:
        ValueError: when there is nothing to draw.
    """
    first = [next(iter(pictures.values()))._replace(title=title) for title, pictures in cases]
    names = list(cases[0][1]) if cases else []
    figure, axes = _new_grid(
        first, ["given boxes", "ground truth", *(textwrap.fill(printable(name), 28) for name in names)]
    )
    for row, (_, pictures), picture in zip(axes, cases, first):
        _draw_boxes(row[0], picture.boxes)
        _draw_truth(row[1], picture.mask)
        for axis, name in zip(row[2:], names):
            _draw_mask(axis, pictures[name].pred)
            axis.set_xlabel(pictures[name].title, fontsize=9)
        _look_closer(row, pictures.values())
    _save(figure, path, class_names, dpi)


def save_pictures(path: str | os.PathLike[str], pictures: Mapping[str, CasePicture]) -> None:
    """Keep pictures as arrays, small: grey levels as eight bits between the 1st and the 99.5th percentile.

    Args:
        path: ``.npz`` file to write.
        pictures: by name of the case.
    """
    arrays: dict[str, np.ndarray] = {"names": np.array(list(pictures))}
    for number, picture in enumerate(pictures.values()):
        low, high = grey_range(picture.image)
        arrays[f"image{number}"] = (np.clip((picture.image - low) / (high - low), 0, 1) * 255).round().astype(np.uint8)
        arrays[f"boxes{number}"] = picture.boxes
        arrays[f"pred{number}"] = picture.pred
        if picture.mask is not None:
            arrays[f"mask{number}"] = picture.mask
        arrays[f"drawn{number}"] = np.array([picture.aspect, picture.upright])
    np.savez_compressed(path, allow_pickle=False, **arrays)


def load_pictures(path: str | os.PathLike[str]) -> dict[str, CasePicture]:
    """Read what :func:`save_pictures` kept, by name of the case."""
    with np.load(path) as arrays:
        return {
            str(name): CasePicture(
                title=str(name),
                image=arrays[f"image{number}"],
                boxes=arrays[f"boxes{number}"],
                mask=arrays.get(f"mask{number}"),
                pred=arrays[f"pred{number}"],
                aspect=float(arrays[f"drawn{number}"][0]),
                upright=bool(arrays[f"drawn{number}"][1]),
            )
            for number, name in enumerate(arrays["names"])
        }


def _new_grid(pictures: Sequence[CasePicture], columns: Sequence[str]) -> tuple[Figure, np.ndarray]:
    """A figure with each picture's image in all columns of its row."""
    if not pictures:
        raise ValueError("pictures must hold at least one case, got none.")
    figure = Figure(figsize=(2.6 * len(columns), 2.75 * len(pictures) + 0.5), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(len(pictures), len(columns), squeeze=False)
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
    """Leave out what lies far from all boxes and regions; as wide as high, and at least a third of the image."""
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


def _save(figure: Figure, path: str | os.PathLike[str], class_names: Sequence[str], dpi: int = 110) -> None:
    handles = [Patch(color=COLORS[i % len(COLORS)], label=str(i)) for i in range(len(class_names))]
    legend = figure.legend(
        handles=handles, loc="outside lower center", ncols=max(1, len(handles)), fontsize=8, frameon=False
    )
    for text, name in zip(legend.get_texts(), class_names):
        text.set_text(printable(name))  # as the label of a patch, a name that begins with "_" would be left out
    figure.savefig(path, dpi=dpi, bbox_inches="tight", pad_inches=0.05)  # else headings of two lines are cut


def grey_range(image: np.ndarray) -> tuple[float, float]:
    """Values of an image that are drawn black and white: its 1st and 99.5th percentile."""
    low, high = np.percentile(image, (1, 99.5))
    return float(low), float(max(high, low + 1e-6))


def _draw_truth(axis: Axes, mask: np.ndarray | None) -> None:
    if mask is None:
        axis.text(0.5, 0.5, "no mask", color="white", ha="center", transform=axis.transAxes)
    else:
        _draw_mask(axis, mask)


def _draw_boxes(axis: Axes, boxes: np.ndarray) -> None:
    for x0, y0, x1, y1, code in boxes:
        ignored = code < -1
        color = COLORS[int(-2 - code if ignored else code) % len(COLORS)]
        style = ":" if ignored else "-"
        # A pixel is drawn around its index, so a half-open box starts half a pixel before its first one.
        corner = (x0 - 0.5, y0 - 0.5)
        axis.add_patch(Rectangle(corner, x1 - x0, y1 - y0, fill=False, edgecolor=color, linewidth=1.2, linestyle=style))


def _draw_mask(axis: Axes, mask: np.ndarray) -> None:
    for channel, region in enumerate(mask):
        if region.any():
            color = COLORS[channel % len(COLORS)]
            axis.contourf(region.T, levels=[0.5, 1.5], colors=[color], alpha=0.3)
            axis.contour(region.T, levels=[0.5], colors=[color], linewidths=1.0)
