# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
"""What the readers of annotations return: boxes, and what is wrong with those that cannot be read."""

from __future__ import annotations

import re
from typing import Any, NamedTuple

from torch import Tensor

__all__ = ["BoxError", "BoxFault", "BoxSurvey", "FileBox", "label_key"]


class BoxError(ValueError):
    """One box is at fault, not the annotation as a whole.

    Args:
        message: with the place of the box.
        kind: ``"malformed_box"``, ``"not_finite"``, ``"min_not_below_max"`` or ``"unknown_class"``.

    Example:
        >>> BoxError("a.json, box[0]: expected numbers.").kind
        'malformed_box'
    """

    def __init__(self, message: str, kind: str = "malformed_box") -> None:
        super().__init__(message)
        self.kind = kind


class BoxFault(NamedTuple):
    """A box that could not be read: where it stands, the kind of its :class:`BoxError`, and what is wrong."""

    place: str
    kind: str
    message: str


class FileBox(NamedTuple):
    """One box of an annotation, before it is placed in the image."""

    corners: Tensor
    """``(8, 3)`` float64, in the annotation's own space."""
    labels: tuple[Any, ...]
    """Names that its class may have, best first."""
    place: str
    """Where it stands, with the annotation's name, for messages."""
    ignored: bool = False
    """Whether it is a region that is neither positive nor negative, instead of a box around one object."""


class BoxSurvey(NamedTuple):
    """All boxes of an annotation as they stand in it, and what is wrong with those that cannot be read."""

    boxes: Tensor
    """``(N, 2*D)`` float64 in voxels of the image as it is now, half-open, neither snapped nor clipped."""
    given: Tensor
    """``(N, 6)`` float64, minima then maxima in the annotation's own ``space``."""
    space: str
    """``"index"``, voxels of the image's file, or ``"world"``, mm RAS."""
    classes: Tensor
    """``(N,)`` int64 output channels, also of ignored regions."""
    places: list[str]
    """Where each box stands in the annotation, such as ``"box[2]"`` or ``"row 5"``."""
    faults: list[BoxFault]
    """Of the boxes that are not among the others."""
    ignored: Tensor
    """``(N,)`` bool, true for regions that are neither positive nor negative, such as a COCO crowd."""


_NUMBER = re.compile(r"([+-]?[0-9]+)(\.[0-9]*)?([eE][+-]?[0-9]{1,3})?")
# Python refuses to turn longer ones into text and back.
_MAX_DIGITS = 4000
# Beyond this neighbouring whole numbers have one float, and two ids would become one.
_EXACT = 2**53


def label_key(label: Any) -> str:
    """Spelling by which labels and ids are compared: ``1``, ``1.0``, ``"01"`` and ``" 1"`` are one.

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
