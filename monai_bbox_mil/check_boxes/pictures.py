# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
"""Slices with their boxes as SVG: the grey values as JPEG inside, the boxes as lines that stay sharp."""

from __future__ import annotations

import base64
import io
from collections import Counter
from collections.abc import Sequence
from html import escape

import numpy as np
from monai.data import MetaTensor
from PIL import Image
from torch import Tensor

from monai_bbox_mil.boxes import snap_boxes
from monai_bbox_mil.check_boxes.findings import KINDS
from monai_bbox_mil.check_boxes.options import CheckOptions
from monai_bbox_mil.check_boxes.reading import load_item
from monai_bbox_mil.check_boxes.survey import ImageReport
from monai_bbox_mil.visualize import COLORS, grey_range

__all__ = ["draw_report"]

_MAX_SLICES = 3
_MAX_PIXELS = 512  # of the longer side
_SHOWN_AROUND = 1.0  # of the image's size, on each side, for boxes that lie outside
_LONGER_SIDE = 300.0  # of the image, in units of the drawing; pixels of the page unless boxes lie outside
_RIM, _NUMBER = 6.0, 11.0  # around the image, and for a finding's number above it


def draw_report(report: ImageReport, options: CheckOptions) -> list[str]:
    """Pictures of one image: the slices that its findings are about, or the one with most boxes.

    Boxes have the colour of their class; regions of findings are dashed and carry the finding's number. The objects of
    the mask, where there is one, shine through in their class's colour.

    Args:
        report: of an image.
        options: that it was checked with.

    Returns:
        one ``<figure>`` a slice; none for an image that cannot be read.
    """
    loaded = load_item(report.item, options)
    if loaded.image is None or report.shape is None:
        return []
    across = 2 if options.slice_axis is None else options.slice_axis
    plane = [axis for axis in range(3) if axis != across]
    volume = loaded.image.as_subclass(Tensor)[0]
    size_mm = [report.spacing_mm[axis] * report.shape[axis] for axis in plane]
    unit = tuple(report.spacing_mm[axis] * _LONGER_SIDE / max(size_mm) for axis in plane)
    frame = _Frame(across, report.shape, unit, _is_upright(loaded.image, plane[1]))
    figures = []
    for index in _choose_slices(report, across):
        grey = volume.select(across, index).double().numpy()
        mask = None if loaded.mask is None else loaded.mask.select(across + 1, index).numpy()
        figures.append(_draw_slice(report, options, frame, grey, mask, index))
    return figures


class _Frame:
    """Where voxels of a slice lie in the picture."""

    def __init__(self, across: int, shape: tuple[int, ...], unit: tuple[float, ...], upright: bool) -> None:
        self.across, self.unit, self.upright = across, unit, upright
        self.plane = [axis for axis in range(3) if axis != across]
        self.slices = shape[across]
        self.size = (shape[self.plane[0]] * unit[0], shape[self.plane[1]] * unit[1])

    def place(self, box: Sequence[float]) -> tuple[float, float, float, float]:
        """x, y, width, height of a box ``(6,)``."""
        first, second = self.plane
        width, height = (box[3 + first] - box[first]) * self.unit[0], (box[3 + second] - box[second]) * self.unit[1]
        top = box[second] * self.unit[1]
        return box[first] * self.unit[0], top if self.upright else self.size[1] - top - height, width, height

    def turn(self, pixels: np.ndarray) -> np.ndarray:
        """Pixels ``(H, W)`` with axis 0 to the right, as rows from the top."""
        return np.ascontiguousarray(pixels.T if self.upright else pixels.T[::-1])


def _is_upright(image: MetaTensor, axis: int) -> bool:
    """Whether ``axis`` runs downward: as in evaluation's pictures, front and head belong at the top."""
    flat = len(np.atleast_1d(image.meta.get("spatial_shape", (0, 0, 0)))) == 2
    return flat or float(image.affine[axis, axis]) < 0


def _choose_slices(report: ImageReport, across: int) -> list[int]:
    """Slices that most findings are about; else the one with most of the boxes' area."""
    assert report.shape is not None
    count = report.shape[across]
    found = [finding.region for finding in report.findings if finding.region is not None]
    if found:
        middles = [int(np.clip((region[across] + region[3 + across]) // 2, 0, count - 1)) for region in found]
        return sorted(index for index, _ in Counter(middles).most_common(_MAX_SLICES))
    area = np.zeros(count)
    sides = (report.boxes[:, 3:] - report.boxes[:, :3]).double()
    for box, side in zip(snap_boxes(report.boxes).long().tolist(), sides):
        area[max(box[across], 0) : max(box[3 + across], 0)] += float(side.prod() / side[across])
    return [int(area.argmax()) if area.any() else count // 2]


def _draw_slice(
    report: ImageReport, options: CheckOptions, frame: _Frame, grey: np.ndarray, mask: np.ndarray | None, index: int
) -> str:
    size = f'width="{frame.size[0]:.1f}" height="{frame.size[1]:.1f}"'
    shapes = [f'<image {size} preserveAspectRatio="none" href="{_jpeg(grey, frame)}"/>']
    if mask is not None and mask.any():
        shapes.append(f'<image {size} preserveAspectRatio="none" opacity="0.4" href="{_overlay(mask, frame)}"/>')
    shapes.append(f'<rect class="edge" {size}/>')
    placed, snapped = [], snap_boxes(report.boxes)
    on_slice = (snapped[:, frame.across] <= index) & (index < snapped[:, 3 + frame.across])
    for row in on_slice.nonzero().flatten().tolist():
        channel = int(report.classes[row])
        placed.append(frame.place(report.boxes[row].tolist()))
        title = f"{report.places[row]}, {options.class_names[channel]}"
        shapes.append(_rectangle(placed[-1], f'stroke="{COLORS[channel % len(COLORS)]}"', title))
    for number, finding in enumerate(report.findings, 1):
        if finding.region is not None and _is_on(finding.region, index, frame):
            placed.append(frame.place(finding.region))
            title = f"{number}: {KINDS[finding.kind].title}, {finding.detail}"
            shapes.append(_rectangle(placed[-1], 'class="found"', title))
            x, y = (_near(placed[-1][axis], frame.size[axis]) for axis in range(2))
            shapes.append(f'<text x="{x:.1f}" y="{y - 2:.1f}">{number}</text>')
    left, top, width, height = _view(placed, frame.size)
    shrink = _LONGER_SIDE / max(_LONGER_SIDE, width, height)
    caption = f"slice {index}, of {frame.slices}" if frame.slices > 1 else ""
    name = escape(f"{report.name} {caption}".strip())
    return (
        f'<figure><svg xmlns="http://www.w3.org/2000/svg" width="{width * shrink:.0f}" height="{height * shrink:.0f}" '
        f'viewBox="{left:.1f} {top:.1f} {width:.1f} {height:.1f}" role="img" '
        f'aria-label="{name}">{"".join(shapes)}</svg><figcaption>{caption}</figcaption></figure>'
    )


def _is_on(region: tuple[float, ...], index: int, frame: _Frame) -> bool:
    """Whether a region is on a slice; one beyond the first or the last is shown there."""
    low, high = min(region[frame.across], frame.slices - 1), max(region[3 + frame.across], 1)
    return bool(np.floor(low) <= index < np.ceil(high))


def _rectangle(place: tuple[float, float, float, float], style: str, title: str) -> str:
    x, y, width, height = place
    size = f'x="{x:.1f}" y="{y:.1f}" width="{max(width, 0.1):.1f}" height="{max(height, 0.1):.1f}"'
    return f"<rect {size} {style}><title>{escape(title)}</title></rect>"


def _near(value: float, size: float) -> float:
    """A coordinate, or where the picture ends when it is far out."""
    return float(np.clip(value, -_SHOWN_AROUND * size, (1 + _SHOWN_AROUND) * size))


def _view(
    placed: Sequence[tuple[float, float, float, float]], size: tuple[float, float]
) -> tuple[float, float, float, float]:
    """x, y, width, height of what is shown: the image, and boxes outside of it unless they are far away."""
    low = [min(0.0, *(_near(p[axis], size[axis]) for p in placed), 0.0) for axis in range(2)]
    high = [max(0.0, *(_near(p[axis] + p[2 + axis], size[axis]) for p in placed), size[axis]) for axis in range(2)]
    left, top = low[0] - _RIM, low[1] - _RIM - _NUMBER
    return left, top, high[0] + _RIM - left, high[1] + _RIM - top


def _jpeg(grey: np.ndarray, frame: _Frame) -> str:
    low, high = grey_range(grey)
    pixels = np.clip((grey - low) / (high - low), 0, 1) * 255
    picture = Image.fromarray(frame.turn(pixels.round().astype(np.uint8)))
    picture.thumbnail((_MAX_PIXELS, _MAX_PIXELS))
    return _data_uri(picture, "JPEG", quality=85)


def _overlay(mask: np.ndarray, frame: _Frame) -> str:
    """Objects in the colours of their classes, all else transparent."""
    labels = np.zeros(mask.shape[1:], dtype=np.uint8)
    for channel, region in enumerate(mask):
        labels[region > 0] = channel % len(COLORS) + 1
    picture = Image.fromarray(frame.turn(labels), mode="P")
    colors = [0, 0, 0] + [int(color[i : i + 2], 16) for color in COLORS for i in (1, 3, 5)]
    picture.putpalette(colors)
    return _data_uri(picture, "PNG", transparency=0, optimize=True)


def _data_uri(picture: Image.Image, kind: str, **options: int) -> str:
    buffer = io.BytesIO()
    picture.save(buffer, kind, **options)
    return f"data:image/{kind.lower()};base64,{base64.b64encode(buffer.getvalue()).decode()}"
