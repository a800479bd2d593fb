# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
"""The class names that annotations contain."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from typing import Any

from monai_bbox_mil.annotations.guard import errors_with_name
from monai_bbox_mil.annotations.interface import ClassLabel
from monai_bbox_mil.annotations.opening import open_annotation
from monai_bbox_mil.annotations.reading import is_file_list
from monai_bbox_mil.annotations.records import label_key

__all__ = ["collect_class_names"]


def collect_class_names(annotations: Iterable[tuple[Any, str | None]]) -> list[str]:
    """Return the class names in annotations, each once, in one order whatever the order of the files.

    Classes that a format numbers, such as COCO's categories, come first and in that order; the others are sorted as
    people sort names, ``lesion 2`` before ``lesion 10``.

    Args:
        annotations: pairs of an annotation as :func:`.read_boxes` takes it, and of the path of its image.

    Returns:
        names for the argument ``classes`` of :func:`.read_boxes`; an empty list where no box has a label.

    Raises:
        ValueError, OSError: as :func:`.read_boxes`, when a file cannot be read.

    Example:
        >>> collect_class_names([({"box": [[1, 2, 5, 6]], "label": [name]}, None) for name in ("b", "a", "b")])
        ['a', 'b']
    """
    found: dict[str, ClassLabel] = {}
    for label in _labels(annotations):
        known = found.setdefault(label_key(label.label), label)
        if label.order is not None and (known.order is None or label.order < known.order):
            found[label_key(label.label)] = label
    return [label.label for label in sorted(found.values(), key=_order)]


def _labels(annotations: Iterable[tuple[Any, str | None]]) -> Iterator[ClassLabel]:
    """Yield the labels of each file; tables that describe many images are read once."""
    tables: set[str] = set()
    for annotation, image in annotations:
        for source in annotation if is_file_list(annotation) else [annotation]:
            if str(source) in tables:
                continue
            name, format, content = open_annotation(source, "auto", image or "the image")
            if format.by_image is not None and isinstance(source, (str, os.PathLike)):
                tables.add(str(source))
            if format.labels is not None:
                with errors_with_name(name):
                    yield from format.labels(content, name, image)


def _order(label: ClassLabel) -> tuple[bool, float, str, str]:
    natural = re.sub("[0-9]+", lambda number: number[0].rjust(30, "0"), label.label.casefold())
    return label.order is None, label.order or 0.0, natural, label.label
