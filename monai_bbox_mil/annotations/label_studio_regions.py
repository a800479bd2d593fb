# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
"""Boxes around the regions of Label Studio: rectangles, also turned ones, polygons, ellipses and brushes.

Coordinates are percentages of the picture's width and height. A rectangle is turned about its upper left corner.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from torch import Tensor

from monai_bbox_mil.annotations.frame import ImageFrame
from monai_bbox_mil.annotations.placing import turned_corners, volume_corners
from monai_bbox_mil.annotations.records import BoxError
from monai_bbox_mil.annotations.values import items_of, numbers_of, shown, values_of

__all__ = ["brush_mask", "region_corners", "region_labels"]

_SHAPES = ("rectangle", "polygon", "ellipse", "brush")
# Results that say something about the whole image.
_NO_SHAPES = ("choices", "textarea", "rating", "number", "taxonomy", "datetime", "pairwise", "ranker")


def region_corners(item: Mapping[str, Any], place: str, frame: ImageFrame) -> Tensor | None:
    """Return the corners of a region's box.

    Args:
        item: one result of an annotation.
        place: its position in the file, for messages.
        frame: of the image, whose size is known.

    Returns:
        ``(8, 3)`` float64, pixels of the image's file; ``None`` for a result that is no region.

    Raises:
        ValueError: for a region of an unknown shape, without extent, or of a picture of another size.

    Example:
        >>> import torch
        >>> from monai.data import MetaTensor
        >>> from monai_bbox_mil.annotations.frame import image_frame
        >>> frame = image_frame(MetaTensor(torch.zeros(1, 20, 10)))
        >>> item = {"type": "rectanglelabels", "value": {"x": 10, "y": 20, "width": 30, "height": 40}}
        >>> region_corners(item, "result[0]", frame)[[0, -1]].tolist()
        [[2.0, 2.0, 0.0], [8.0, 6.0, 1.0]]
    """
    kind, value = values_of(item, ["type", "value"], place)
    if kind in _NO_SHAPES:
        return None
    shape = str(kind).removesuffix("labels")
    if shape not in _SHAPES:
        raise ValueError(f"{place}: expected a rectangle, polygon, ellipse or brush, got {shown(kind)}.")
    assert frame.original_shape is not None  # checked by the caller
    width, height = frame.original_shape[:2]
    given = [item.get("original_width"), item.get("original_height")]
    if None not in given and numbers_of(given, [2], f"{place}, original size") != [width, height]:
        raise ValueError(f"{place}: expected {frame.name} of {width} x {height} pixels, got one of {given}.")
    if item.get("image_rotation"):
        raise ValueError(f"{place}: expected a picture as in its file, got one turned by {item['image_rotation']}.")
    if shape == "brush":
        return _corners_of_brush(value, (width, height), place, frame)
    if shape == "polygon":
        rows = items_of(values_of(value, ["points"], place)[0], f"{place}, points")
        points = np.array([numbers_of(row, [2], f"{place}, points") for row in rows]).reshape(-1, 2)
        if not len(points):
            raise ValueError(f"{place}: expected a polygon with points, got none.")
        points *= (width / 100, height / 100)
        return volume_corners(points.min(axis=0).tolist(), points.max(axis=0).tolist(), "index", place, frame)
    size = ("radiusX", "radiusY") if shape == "ellipse" else ("width", "height")
    x, y, across, down = _pixels(value, ("x", "y", *size), (width, height), place)
    degrees = numbers_of([value.get("rotation") or 0], [1], f"{place}, rotation")[0]
    c, s = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    if shape == "ellipse":
        half = math.hypot(across * c, down * s), math.hypot(across * s, down * c)
        return volume_corners([x - half[0], y - half[1]], [x + half[0], y + half[1]], "index", place, frame)
    # From the turn about the corner to the one about the centre.
    left = x + (across * c - down * s) / 2 - across / 2
    top = y + (across * s + down * c) / 2 - down / 2
    return turned_corners(left, top, across, down, degrees, place, frame)


def region_labels(item: Mapping[str, Any], named: Mapping[str, Any] | None, place: str) -> tuple[Any, ...]:
    """Return the class of a region as a tuple; an empty one where the region has none.

    Args:
        item: one result of an annotation.
        named: the result that names the classes of this region, where they are apart.
        place: its position in the file, for messages.

    Raises:
        ValueError: for a region of several classes.

    Example:
        >>> region_labels({"type": "rectanglelabels", "value": {"rectanglelabels": ["organ"]}}, None, "result[0]")
        ('organ',)
    """
    labels = item["value"].get(item["type"])
    if labels is None and named is not None:
        labels = values_of(named, ["value"], place)[0].get("labels")
    found = tuple(items_of(labels or [], f"{place}, labels"))
    if len(found) > 1:
        raise BoxError(f"{place}: expected one class per region, got {shown(list(found))}.", "unknown_class")
    return found


def brush_mask(data: Any, size: tuple[int, int], place: str) -> np.ndarray:
    """Unpack a brush: runs of bytes of an RGBA picture, packed in bits.

    Args:
        data: bytes as whole numbers.
        size: width and height of the picture, pixels.
        place: position in the file, for messages.

    Returns:
        ``(width, height)`` bool, true where the picture is not transparent.

    Raises:
        ValueError: when the runs do not make a picture of this size.

    Example:
        >>> brush_mask([0, 0, 0, 4, 57, 27, 252, 127, 224], (1, 1), "result[0]")
        array([[ True]])
    """
    numbers = items_of(data, f"{place}, rle")
    if not all(isinstance(number, int) and 0 <= number <= 255 for number in numbers):
        raise ValueError(f"{place}, rle: expected bytes, got {shown(numbers)}.")
    bits, at = "".join(f"{number:08b}" for number in numbers), 0

    def read(count: int) -> int:
        nonlocal at
        if at + count > len(bits):
            raise ValueError(f"{place}, rle: expected a whole picture, got {len(numbers)} bytes, which end early.")
        at += count
        return int(bits[at - count : at], 2)

    total, word, lengths = read(32), read(5) + 1, [read(4) + 1 for _ in range(4)]
    if total != 4 * size[0] * size[1]:
        raise ValueError(
            f"{place}, rle: expected a picture of {size[0]} x {size[1]} pixels with 4 bytes each, got {total} bytes."
        )
    values: list[int] = []
    runs: list[int] = []
    done = 0
    while done < total:
        repeated, length = read(1), read(lengths[read(2)]) + 1
        part = [read(word)] if repeated else [read(word) for _ in range(length)]
        values += part
        runs += [length] if repeated else [1] * length
        done += length
    if done != total:
        raise ValueError(f"{place}, rle: expected {total} bytes of a picture, got {done}.")
    pixels = np.repeat(np.array(values), runs).reshape(size[1], size[0], 4)
    return np.asarray(pixels[..., 3].T > 0)


def _corners_of_brush(value: Mapping[str, Any], size: tuple[int, int], place: str, frame: ImageFrame) -> Tensor:
    kind, data = values_of(value, ["format", "rle"], place)
    if kind != "rle":
        raise ValueError(f"{place}: expected a brush in the format 'rle', got {shown(kind)}.")
    where = np.argwhere(brush_mask(data, size, place))
    if not len(where):
        raise ValueError(f"{place}: expected a brush with pixels, got an empty one.")
    low, high = where.min(axis=0).tolist(), (where.max(axis=0) + 1).tolist()
    return volume_corners([*map(float, low)], [*map(float, high)], "index", place, frame)


def _pixels(value: Any, names: tuple[str, ...], size: tuple[int, int], place: str) -> list[float]:
    """Return numbers in pixels: across, down, across, down."""
    numbers = numbers_of(values_of(value, names, place), [4], place)
    return [number * side / 100 for number, side in zip(numbers, (*size, *size), strict=True)]
