# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
"""What the readers of :mod:`monai_bbox_mil.transforms.box_formats` are told, what they return, and what a box lacks."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from torch import Tensor

if TYPE_CHECKING:  # which raises BoxError itself
    from monai_bbox_mil.transforms.box_geometry import ImageFrame

__all__ = ["MAX_BOXES", "BoxError", "BoxFault", "BoxSurvey", "FileBox", "Source", "label_key"]

MAX_BOXES = 20_000
"""Boxes that an annotation of one image may hold: more would take hours, and are a fault of whoever made them."""


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
    """One box: its eight corners ``(8, 3)`` float64, the names its class may have (best first), where it stands."""

    corners: Tensor
    labels: tuple[Any, ...]
    place: str


@dataclass
class Source:
    """What a reader needs to know besides the content: a name for messages, the image and the class names.

    With a list as ``faults``, a box at fault is noted there and the next one is read; with ``None`` it is an error.
    """

    name: str
    frame: ImageFrame
    classes: tuple[Any, ...] | None
    faults: list[BoxFault] | None = None
    count: int = 0

    def original_affine(self) -> Tensor:
        """``(4, 4)`` float64, voxel centres of the image's file to RAS mm.

        Raises:
            ValueError: when the image has lost it.
        """
        if self.frame.original_affine is None:
            raise ValueError(
                f"{self.name}: index boxes need image.meta['original_affine'], which {self.frame.name} lacks after "
                f"{', '.join(self.frame.operations)}; read the boxes earlier or give them in world coordinates."
            )
        return self.frame.original_affine

    def count_box(self, place: str) -> None:
        """One more box of this image, which stands at ``place``.

        Raises:
            ValueError: at the first one above :data:`MAX_BOXES`.
        """
        self.count += 1
        if self.count > MAX_BOXES:
            raise ValueError(f"{place}: expected at most {MAX_BOXES} boxes for one image, and this is one more.")

    @contextmanager
    def one_box(self, place: str) -> Iterator[None]:
        """Around what may find a fault in one box, which stands at ``place``."""
        try:
            yield
        except ValueError as error:
            if self.faults is None:
                raise
            kind = error.kind if isinstance(error, BoxError) else "malformed_box"
            short = place.removeprefix(f"{self.name}, ")
            message = str(error).removeprefix(f"{self.name}, ").removeprefix(f"{short}: ")
            self.faults.append(BoxFault(short, kind, message))


class BoxSurvey(NamedTuple):
    """All boxes of an annotation as they stand in it, and what is wrong with those that cannot be read."""

    boxes: Tensor
    """``(N, 2*D)`` float64 in voxels of the image as it is now, half-open, neither snapped nor clipped."""
    given: Tensor
    """``(N, 6)`` float64, minima then maxima in the annotation's own ``space``."""
    space: str
    """``"index"``, voxels of the image's file, or ``"world"``, mm RAS."""
    classes: Tensor
    """``(N,)`` int64 output channels."""
    places: list[str]
    """Where each box stands in the annotation, such as ``"box[2]"`` or ``"row 5"``."""
    faults: list[BoxFault]
    """Of the boxes that are not among the others."""


def label_key(label: Any) -> str:
    """Spelling by which labels are compared: ``1``, ``1.0`` and ``" 1"`` are one class.

    Example:
        >>> label_key(1.0), label_key(" prostate")
        ('1', 'prostate')
    """
    text = str(label).strip()
    try:
        number = float(text)
    except ValueError:
        return text
    return str(int(number)) if number.is_integer() else text
