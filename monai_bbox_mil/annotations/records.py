# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
"""The results of reading annotations: boxes, and faults of those that cannot be read."""

from __future__ import annotations

import re
from typing import Any, NamedTuple

from torch import Tensor

__all__ = ["BoxError", "BoxFault", "BoxSurvey", "FileBox", "as_number", "label_key"]


class BoxError(ValueError):
    """One box is at fault, not the annotation as a whole.

    Args:
        message: what is wrong, including the position of the box.
        kind: ``"malformed_box"``, ``"not_finite"``, ``"min_not_below_max"`` or ``"unknown_class"``.

    Example:
        >>> BoxError("a.json, box[0]: expected numbers.").kind
        'malformed_box'
    """

    def __init__(self, message: str, kind: str = "malformed_box") -> None:
        super().__init__(message)
        self.kind = kind


class BoxFault(NamedTuple):
    """A box that could not be read: its position, the kind of its :class:`BoxError`, and what is wrong."""

    place: str
    kind: str
    message: str


class FileBox(NamedTuple):
    """One box of an annotation, before it is placed in the image."""

    corners: Tensor
    """``(8, 3)`` float64, in the annotation's own space."""
    labels: tuple[Any, ...]
    """Possible names of its class, best first."""
    place: str
    """Its position in the annotation, with the annotation's name, for messages."""
    ignored: bool = False
    """Whether it is a region to ignore, neither positive nor negative, instead of a box around one object."""


class BoxSurvey(NamedTuple):
    """All boxes of an annotation as written, and the faults of those that cannot be read."""

    boxes: Tensor
    """``(N, 2*D)`` float64 in voxels of the image as it is now, half-open, neither snapped nor clipped."""
    given: Tensor
    """``(N, 6)`` float64, minima then maxima in the annotation's own ``space``."""
    space: str
    """``"index"``, voxels of the image's file, or ``"world"``, mm RAS."""
    classes: Tensor
    """``(N,)`` int64 output channels, including those of ignored regions."""
    places: list[str]
    """Position of each box in the annotation, such as ``"box[2]"`` or ``"row 5"``."""
    faults: list[BoxFault]
    """Faults of the boxes that cannot be read."""
    ignored: Tensor
    """``(N,)`` bool, true for regions that are neither positive nor negative, such as a COCO crowd."""


_NUMBER = re.compile(r"([+-]?[0-9]+)(\.[0-9]*)?([eE][+-]?[0-9]{1,3})?")
# Python refuses to convert longer numbers to text and back.
_MAX_DIGITS = 4000
# Beyond this, neighbouring whole numbers share one float, and two ids would become the same.
_EXACT = 2**53


def label_key(label: Any) -> str:
    """Return the spelling by which labels and ids are compared: ``1``, ``1.0``, ``"01"`` and ``" 1"`` are equal.

    Example:
        >>> label_key(1.0), label_key(" prostate"), label_key("0.000e+00"), label_key("9007199254740993")
        ('1', 'prostate', '0', '9007199254740993')
    """
    if isinstance(label, int) and not isinstance(label, bool):
        return str(label) if label.bit_length() < _MAX_DIGITS else f"a number of {label.bit_length()} bits"
    text = str(label).strip()
    found = _NUMBER.fullmatch(text)
    if found is None:
        return text
    whole, fraction, exponent = found.groups(default="")
    if not fraction.strip(".0") and not exponent:
        return str(int(whole)) if len(whole) < _MAX_DIGITS else text
    number = float(text)
    return str(int(number)) if number.is_integer() and abs(number) <= _EXACT else text


def as_number(label: Any) -> float | None:
    """Return the number that a label or an id is, or ``None`` for a name.

    Example:
        >>> as_number("02"), as_number(1.0), as_number("liver")
        (2.0, 1.0, None)
    """
    key = label_key(label)
    return float(key) if _NUMBER.fullmatch(key) and len(key) < _MAX_DIGITS // 20 else None
