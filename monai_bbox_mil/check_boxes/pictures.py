# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
"""Prepare pictures of slices for the page: grey values as JPEG, boxes as lines that stay sharp when enlarged."""

from __future__ import annotations

import base64
import io
from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from monai.data import MetaTensor
from PIL import Image
from torch import Tensor

from monai_bbox_mil.boxes import snap_boxes
from monai_bbox_mil.check_boxes.findings import KINDS
from monai_bbox_mil.check_boxes.options import CheckOptions
from monai_bbox_mil.check_boxes.reading import load_item
from monai_bbox_mil.check_boxes.reports import ImageReport
from monai_bbox_mil.visualize import COLORS, class_color, grey_range

__all__ = ["MarkedRegion", "SlicePicture", "draw_report"]

_MAX_SLICES = 3
_MAX_PIXELS = 512  # of the longer side
_SHOWN_AROUND = 1.0  # of the image's size, on each side, for boxes that lie outside
_LONGER_SIDE = 300.0  # of the image, in units of the drawing; pixels of the page unless boxes lie outside
_RIM, _NUMBER = 6.0, 11.0  # around the image, and for a finding's number above it
_FONT_SIZE = 12.0  # pixels of the page, however small the drawing
_LETTER = 1.0  # width of the widest letter in such a number, an arrow, in font sizes


class MarkedRegion(NamedTuple):
    """A rectangle in a picture, in units of the drawing."""

    x: float
    y: float
    width: float
    height: float
    title: str
    """Text that appears on pointing at the rectangle."""
    color: str = ""
    """Colour of the box's class; empty for the region of a finding."""
    number: str = ""
    """Number of the finding, with an arrow towards a region outside of the picture."""
    number_place: tuple[float, float] = (0, 0)
    """Left end of the number's baseline."""


class SlicePicture(NamedTuple):
    """One slice with its boxes, in units of the drawing unless pixels are named."""

    image: str
    """Grey values, as a data URI."""
    overlay: str
    """Objects of the mask, as a data URI; empty when there are none."""
    size: tuple[float, float]
    """Width and height of the image."""
    view: tuple[float, float, float, float]
    """Left, top, width and height of the part that is shown."""
    shown_size: tuple[float, float]
    """Width and height on the page, in pixels."""
    font_size: float
    """Font size of the numbers of findings."""
    boxes: list[MarkedRegion]
    """Boxes of the slice."""
    found: list[MarkedRegion]
    """Regions of findings on the slice."""
    name: str
    """Description for screen readers."""
    caption: str
    """Which slice it is; empty for an image of one slice."""


def draw_report(report: ImageReport, options: CheckOptions) -> list[SlicePicture]:
    """Draw the slices that an image's findings are about, or the slice with most boxes.

    Boxes have the colour of their class; regions of findings are dashed and carry the finding's number. The objects of
    the mask, if any, are filled with their class's colour.

    Args:
        report: the image's report.
        options: those of the check.

    Returns:
        one picture per slice; none for an image that cannot be read.
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
    """Convert positions in voxels to positions in the picture."""

    def __init__(self, across: int, shape: tuple[int, ...], unit: tuple[float, ...], upright: bool) -> None:
        self.across, self.unit, self.upright = across, unit, upright
        self.plane = [axis for axis in range(3) if axis != across]
        self.slices = shape[across]
        self.size = (shape[self.plane[0]] * unit[0], shape[self.plane[1]] * unit[1])

    def place(self, box: Sequence[float]) -> tuple[float, float, float, float]:
        """Return x, y, width and height of a box ``(6,)``."""
        first, second = self.plane
        width, height = (box[3 + first] - box[first]) * self.unit[0], (box[3 + second] - box[second]) * self.unit[1]
        top = box[second] * self.unit[1]
        return box[first] * self.unit[0], top if self.upright else self.size[1] - top - height, width, height

    def turn(self, pixels: np.ndarray) -> np.ndarray:
        """Turn pixels ``(H, W)``, whose axis 0 runs to the right, into rows from the top."""
        return np.ascontiguousarray(pixels.T if self.upright else pixels.T[::-1])


def _is_upright(image: MetaTensor, axis: int) -> bool:
    """Return whether ``axis`` runs downward; as in the pictures of evaluation, front and head belong at the top."""
    flat = len(np.atleast_1d(image.meta.get("spatial_shape", (0, 0, 0)))) == 2
    return flat or float(image.affine[axis, axis]) < 0


def _choose_slices(report: ImageReport, across: int) -> list[int]:
    """Choose the slices with most findings; without findings, the one with the largest area of boxes."""
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
) -> SlicePicture:
    snapped = snap_boxes(report.boxes)
    on_slice = (snapped[:, frame.across] <= index) & (index < snapped[:, 3 + frame.across])
    boxes = []
    for row in on_slice.nonzero().flatten().tolist():
        channel = int(report.classes[row])
        title = f"{report.places[row]}, {options.class_names[channel]}"
        boxes.append(MarkedRegion(*frame.place(report.boxes[row].tolist()), title, class_color(channel)))
    found = [
        MarkedRegion(
            *frame.place(finding.region), f"{number}: {KINDS[finding.kind].title}, {finding.detail}", "", str(number)
        )
        for number, finding in enumerate(report.findings, 1)
        if finding.region is not None and _is_on(finding.region, index, frame)
    ]
    view = _view([*boxes, *found], frame.size)
    shrink = _LONGER_SIDE / max(_LONGER_SIDE, *view[2:])
    font_size = _FONT_SIZE / shrink
    caption = f"slice {index} (numbered 0 to {frame.slices - 1})" if frame.slices > 1 else ""
    return SlicePicture(
        image=_jpeg(grey, frame),
        overlay="" if mask is None or not mask.any() else _overlay(mask, frame),
        size=frame.size,
        view=view,
        shown_size=(view[2] * shrink, view[3] * shrink),
        font_size=font_size,
        boxes=boxes,
        found=[_place_number(mark, view, font_size) for mark in found],
        name=f"{report.name} {caption}".strip(),
        caption=caption,
    )


def _is_on(region: tuple[float, ...], index: int, frame: _Frame) -> bool:
    """Return whether a region is on a slice; a region beyond the first or last slice is shown on that one."""
    low, high = min(region[frame.across], frame.slices - 1), max(region[3 + frame.across], 1)
    return bool(np.floor(low) <= index < np.ceil(high))


def _place_number(mark: MarkedRegion, view: tuple[float, float, float, float], font_size: float) -> MarkedRegion:
    """Place the number above the region, or at the border of the picture when the region lies beyond it."""
    left, top, right, bottom = view[0], view[1], view[0] + view[2], view[1] + view[3]
    arrow = ""
    for beyond, sign in (
        (mark.x >= right - _RIM, "\N{RIGHTWARDS ARROW}"),
        (mark.x + mark.width <= left + _RIM, "\N{LEFTWARDS ARROW}"),
        (mark.y >= bottom - _RIM, "\N{DOWNWARDS ARROW}"),
        (mark.y + mark.height <= top + _RIM, "\N{UPWARDS ARROW}"),
    ):
        arrow += sign if beyond else ""
    number = mark.number + arrow
    x = float(np.clip(mark.x, left + 2, right - 2 - _LETTER * font_size * len(number)))
    y = float(np.clip(mark.y - 2, top + font_size, bottom - 2))
    return mark._replace(number=number, number_place=(x, y))


def _near(value: float, size: float) -> float:
    """Limit a coordinate to the part that a picture can show."""
    return float(np.clip(value, -_SHOWN_AROUND * size, (1 + _SHOWN_AROUND) * size))


def _view(marks: Sequence[MarkedRegion], size: tuple[float, float]) -> tuple[float, float, float, float]:
    """Return left, top, width and height of what to show: the image, and boxes outside of it unless far away."""
    lefts, rights = [mark.x for mark in marks], [mark.x + mark.width for mark in marks]
    tops, bottoms = [mark.y for mark in marks], [mark.y + mark.height for mark in marks]
    left, right = min([0, *(_near(x, size[0]) for x in lefts)]), max([size[0], *(_near(x, size[0]) for x in rights)])
    top, bottom = min([0, *(_near(y, size[1]) for y in tops)]), max([size[1], *(_near(y, size[1]) for y in bottoms)])
    return left - _RIM, top - _RIM - _NUMBER, right - left + 2 * _RIM, bottom - top + 2 * _RIM + _NUMBER


def _jpeg(grey: np.ndarray, frame: _Frame) -> str:
    low, high = grey_range(grey)
    pixels = np.clip((grey - low) / (high - low), 0, 1) * 255
    picture = Image.fromarray(frame.turn(pixels.round().astype(np.uint8)))
    picture.thumbnail((_MAX_PIXELS, _MAX_PIXELS))
    return _data_uri(picture, "JPEG", quality=85)


def _overlay(mask: np.ndarray, frame: _Frame) -> str:
    """Colour objects by their classes and make all else transparent."""
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
