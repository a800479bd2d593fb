# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
"""The interface of annotation formats: one :class:`AnnotationFormat` per format, which reads an :class:`Annotation`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from torch import Tensor

from monai_bbox_mil.annotations.frame import ImageFrame
from monai_bbox_mil.annotations.records import BoxError, BoxFault, FileBox

if TYPE_CHECKING:  # image_names.py imports this module
    from monai_bbox_mil.annotations.image_names import ImageNames

__all__ = ["MAX_BOXES", "MIN_SIZE", "Annotation", "AnnotationFormat", "ClassLabel"]

MAX_BOXES = 20_000
"""The most boxes that one image's annotation may have: more would take hours, and are surely a mistake."""

MIN_SIZE = 2
"""Components of a segmentation with fewer pixels are not objects."""


@dataclass
class Annotation:
    """What a reader needs besides the content: a name for messages, the image and the class names.

    If ``faults`` is a list, the fault of a box is added to it and reading goes on; if it is ``None``, a fault raises.
    Components of a segmentation with fewer than ``min_size`` pixels become regions to ignore.
    """

    name: str
    frame: ImageFrame
    classes: tuple[Any, ...] | None
    faults: list[BoxFault] | None = None
    count: int = 0
    min_size: int = MIN_SIZE

    def original_affine(self) -> Tensor:
        """Return the ``(4, 4)`` float64 affine from voxel centres of the image's file to RAS mm.

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
        """Count one more box of this image.

        Raises:
            ValueError: when the number exceeds :data:`MAX_BOXES`.
        """
        self.count += 1
        if self.count > MAX_BOXES:
            raise ValueError(f"{place}: expected at most {MAX_BOXES} boxes for one image, and this is one more.")

    @contextmanager
    def one_box(self, place: str) -> Iterator[None]:
        """Wrap the reading of the one box at ``place``, and note a fault in it."""
        try:
            yield
        except ValueError as error:
            if self.faults is None:
                raise
            kind = error.kind if isinstance(error, BoxError) else "malformed_box"
            short = place.removeprefix(f"{self.name}, ")
            message = str(error).removeprefix(f"{self.name}, ").removeprefix(f"{short}: ")
            self.faults.append(BoxFault(short, kind, message))


class ClassLabel(NamedTuple):
    """A class as it is written in an annotation."""

    label: str
    """Its name, or its id where it has no name."""
    order: float | None = None
    """Its place among the classes, such as the id of a category, for formats that number them; others are sorted."""


class AnnotationFormat(NamedTuple):
    """One format of box annotations; :data:`monai_bbox_mil.annotations.formats.FORMATS` lists them all."""

    name: str
    """Its name, as in the argument ``format``."""
    suffixes: tuple[str, ...]
    """Extensions of its files, in lower case. Formats with the same extension share one ``parse``."""
    parse: Callable[[Path], Any]
    """Parse a file. Raises ``ValueError`` with the file's name where that fails."""
    read: Callable[[Any, Annotation], tuple[str, list[FileBox]]]
    """Return the space of the coordinates, ``"index"`` (half-open, of the image's file) or ``"world"`` (mm RAS), and
    the boxes."""
    recognise: Callable[[Any], bool] = lambda content: True
    """Return whether parsed content has this format."""
    by_image: Callable[[Any, str], Any] | None = None
    """For formats whose files describe several images: convert parsed content, given its name, to the form that
    ``read`` takes, in which one image's boxes are found quickly. It is made once per run and must not be changed."""
    expects: str = ""
    """What ``recognise`` looks for, for messages."""
    inline: bool = False
    """Whether content may also be given in memory."""
    resembles: Callable[[Any], bool] | None = None
    """For formats whose ``recognise`` takes anything: whether parsed content of a file that was found by its name is
    meant to be boxes, however malformed, and is not something else with the same extension."""
    image_names: Callable[[Any], ImageNames] | None = None
    """For formats with ``by_image``: the images that its result describes; none if it describes the only one."""
    labels: Callable[[Any, str, str | None], list[ClassLabel]] | None = None
    """Return the classes of the boxes in the content that ``read`` takes, given its name and the image's path. Each is
    a label that ``read`` finds among ``classes``. Boxes without a label are passed over."""
