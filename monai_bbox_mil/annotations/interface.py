# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
"""The interface of annotation formats: one :class:`AnnotationFormat` per format, given one :class:`Annotation`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from torch import Tensor

from monai_bbox_mil.annotations.frame import ImageFrame
from monai_bbox_mil.annotations.records import BoxError, BoxFault, FileBox

__all__ = ["MAX_BOXES", "MIN_SIZE", "Annotation", "AnnotationFormat"]

MAX_BOXES = 20_000
"""Boxes that an annotation of one image may hold: more would take hours, and are a fault of whoever made them."""

MIN_SIZE = 2
"""Pixels that a component of a segmentation must have to count as an object."""


@dataclass
class Annotation:
    """What a reader needs to know besides the content: a name for messages, the image and the class names.

    With a list as ``faults``, a box at fault is noted there and the next one is read; with ``None`` it is an error.
    Components of a segmentation of fewer than ``min_size`` pixels are no objects but regions to ignore.
    """

    name: str
    frame: ImageFrame
    classes: tuple[Any, ...] | None
    faults: list[BoxFault] | None = None
    count: int = 0
    min_size: int = MIN_SIZE

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


class AnnotationFormat(NamedTuple):
    """One format of box annotations; :data:`monai_bbox_mil.annotations.formats.FORMATS` lists them all."""

    name: str
    """The word for it, as the argument ``format`` takes it."""
    suffixes: tuple[str, ...]
    """Endings of its files, in lower case. Formats of one ending share one ``parse``."""
    parse: Callable[[Path], Any]
    """Content of a file. Raises ``ValueError``, with the file's name, where it cannot be parsed."""
    read: Callable[[Any, Annotation], tuple[str, list[FileBox]]]
    """Space of the coordinates in parsed content, ``"index"`` (half-open, of the image's file) or ``"world"`` (mm RAS),
    and the boxes."""
    recognise: Callable[[Any], bool] = lambda content: True
    """Whether parsed content is of this format."""
    by_image: Callable[[Any, str], Any] | None = None
    """What ``read`` is given instead of parsed content, from it and its name: of a format whose files describe several
    images, in a form that has those of one image at hand. It is made once per run and must not be changed."""
    expects: str = ""
    """What ``recognise`` looks for, for messages."""
    inline: bool = False
    """Whether content may also be given in memory."""
