# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
"""Find the corners of a COCO annotation's box, rotated boxes included.

COCO itself has upright boxes only: ``[x, y, width, height]`` from the upper left corner. Rotated ones come in three
ways:

* CVAT writes the upright box, and degrees clockwise about its centre in ``attributes: {"rotation": ..}``.
* detectron2 writes ``bbox_mode`` 4 and ``[centre x, centre y, width, height, degrees]``, counterclockwise.
* Others write five numbers, or a ``rotation``, ``angle`` or ``theta``, from the corner or the centre, in degrees or
  radians. Their box is the one around the outline in ``segmentation``. Without an outline they are refused.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from monai_bbox_mil.annotations.frame import ImageFrame
from monai_bbox_mil.annotations.placing import turned_corners, volume_corners
from monai_bbox_mil.annotations.values import items_of, numbers_of, shown, values_of

__all__ = ["corners_of", "needs_outline"]

_TURNED = ("rotation", "angle", "theta")
_XYWH, _XYWHA = "1", "4"


def needs_outline(entry: Mapping[str, Any]) -> bool:
    """Return whether only the outline of an annotation can say what its box is.

    Example:
        >>> needs_outline({"bbox": [1, 2, 3, 4]}), needs_outline({"bbox": [1, 2, 3, 4, 0.5]})
        (False, True)
    """
    box = entry.get("bbox")
    return not isinstance(box, list) or len(box) != 4 or any(name in entry for name in _TURNED)


def corners_of(entry: Mapping[str, Any], place: str, frame: ImageFrame) -> Tensor:
    """Return the corners of an annotation's box.

    Args:
        entry: the annotation.
        place: its position in the file, for messages.
        frame: of the image.

    Returns:
        ``(8, 3)`` float64, voxels of the image's file.

    Raises:
        ValueError: for a box without extent, or one of unknown meaning.

    Example:
        >>> import torch
        >>> from monai.data import MetaTensor
        >>> from monai_bbox_mil.annotations.frame import image_frame
        >>> frame = image_frame(MetaTensor(torch.zeros(1, 20, 20)))
        >>> turned = {"bbox": [4, 8, 8, 2], "attributes": {"rotation": 90.0}}
        >>> corners = corners_of(turned, "annotations[0]", frame)
        >>> corners.amin(dim=0).round(decimals=3).tolist(), corners.amax(dim=0).round(decimals=3).tolist()
        ([7.0, 5.0, 0.0], [9.0, 13.0, 1.0])
    """
    values = items_of(values_of(entry, ["bbox"], place)[0], place)
    mode = shown(entry.get("bbox_mode", _XYWH))
    turned = next((name for name in _TURNED if _angle(entry.get(name), place)), None)
    if mode.strip("'") not in (_XYWH, _XYWHA):
        raise ValueError(f"{place}: expected bbox_mode 1 (x, y, width, height) or 4 (rotated), got {mode}.")
    if turned is not None or (len(values) == 5 and mode.strip("'") == _XYWH):
        what = f"{turned} {shown(entry[turned])}" if turned is not None else f"the five numbers {shown(values)}"
        return _corners_of_outline(entry.get("segmentation"), what, place, frame)
    if mode.strip("'") == _XYWHA:
        x, y, width, height, degrees = numbers_of(values, [5], place)
        return turned_corners(x - width / 2, y - height / 2, width, height, -degrees, place, frame)
    x, y, width, height = numbers_of(values, [4], place)
    attributes = entry.get("attributes")
    given = attributes.get("rotation") if isinstance(attributes, Mapping) else None
    return turned_corners(x, y, width, height, _angle(given, place), place, frame)


def _angle(value: Any, place: str) -> float:
    """Return degrees, or 0 for a word: an annotator's own attribute may have this name and mean something else."""
    if value is None or isinstance(value, (bool, list, Mapping)):
        return 0.0
    if isinstance(value, str):
        try:
            float(value)
        except ValueError:
            return 0.0
    return numbers_of([value], [1], f"{place}, rotation")[0]


def _corners_of_outline(outline: Any, what: str, place: str, frame: ImageFrame) -> Tensor:
    """Return the corners of the box around polygons, each written as ``x, y, x, y, ..``."""
    if not isinstance(outline, list) or not outline:
        raise ValueError(
            f"{place}: expected an upright box, or attributes.rotation as CVAT writes it, or bbox_mode 4 with five "
            f"numbers as detectron2 writes it, got {what} without an outline in segmentation."
        )
    points: list[float] = []
    for polygon in outline:
        numbers = items_of(polygon, f"{place}, segmentation")
        if len(numbers) < 6 or len(numbers) % 2:
            raise ValueError(f"{place}, segmentation: expected pairs of x and y, got {shown(numbers)}.")
        points += numbers_of(numbers, [len(numbers)], f"{place}, segmentation")
    low, high = [min(points[::2]), min(points[1::2])], [max(points[::2]), max(points[1::2])]
    return volume_corners(low, high, "index", place, frame)
