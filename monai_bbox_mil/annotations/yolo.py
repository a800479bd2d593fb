# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
"""YOLO: one line per box or polygon, as fractions of the image's width and height."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from monai_bbox_mil.annotations.interface import Annotation, AnnotationFormat, ClassLabel
from monai_bbox_mil.annotations.parsing import parse_text
from monai_bbox_mil.annotations.placing import volume_corners
from monai_bbox_mil.annotations.records import BoxError, FileBox, as_number, label_key
from monai_bbox_mil.annotations.values import numbers_of, shown
from monai_bbox_mil.annotations.yolo_names import names_of_file

__all__ = ["FORMAT"]


def _read(content: str, annotation: Annotation) -> tuple[str, list[FileBox]]:
    """Read the lines.

    A class number is a position in the names beside the file, if these contain all of ``classes``. Otherwise it is a
    position in ``classes``, unless these are numbers themselves.
    """
    shape = annotation.frame.original_shape
    if shape is None:
        raise ValueError(
            f"{annotation.name}: YOLO boxes need the size of the image's file, which {annotation.frame.name} lacks."
        )
    names = _names(annotation)
    boxes = []
    for number, line in enumerate(content.splitlines(), start=1):
        place = f"{annotation.name}, line {number}"
        if not line.strip():
            continue
        annotation.count_box(place)
        with annotation.one_box(place):
            label, *values = line.split()
            low, high = _ends(values, place)
            low, high = ([end * size for end, size in zip(ends, shape[:2])] for ends in (low, high))
            name = label if names is None else _name(label, names, place)
            boxes.append(FileBox(volume_corners(low, high, "index", place, annotation.frame), (name,), place))
    return "index", boxes


def _ends(values: Sequence[str], place: str) -> tuple[list[float], list[float]]:
    """Return minima and maxima of a box or of the polygon around an object, as fractions of the image."""
    is_polygon = len(values) >= 6 and len(values) % 2 == 0
    if not is_polygon and len(values) != 4:
        raise ValueError(
            f"{place}, after the class: expected 4 numbers, or x and y of at least 3 points, got {len(values)}: "
            f"{shown(list(values))}."
        )
    numbers = numbers_of(values, [len(values)], f"{place}, after the class")
    if not all(-1e-6 <= number <= 1 + 1e-6 for number in numbers):
        raise ValueError(f"{place}: expected fractions of the image between 0 and 1, got {shown(list(values))}.")
    if is_polygon:
        return [min(numbers[::2]), min(numbers[1::2])], [max(numbers[::2]), max(numbers[1::2])]
    x, y, width, height = numbers
    return [x - width / 2, y - height / 2], [x + width / 2, y + height / 2]


def _names(annotation: Annotation) -> Sequence[Any] | None:
    """Return the names by class number, or ``None`` where the classes are numbers themselves."""
    if annotation.classes is None:
        return None
    listed = names_of_file(annotation.name)
    if {*annotation.classes} <= {*listed}:
        # The classes may be some of the file's own, in any order.
        return listed
    numbers = any(label_key(name).lstrip("-").isdecimal() for name in annotation.classes)
    return None if numbers else annotation.classes


def _name(label: str, names: Sequence[Any], place: str) -> Any:
    """Return the name of a class number."""
    key = label_key(label)
    if not key.isdecimal() or len(key) > 9 or int(key) >= len(names):
        message = f"{place}: expected a class 0..{len(names) - 1} of {tuple(names)}, got {shown(label)}."
        raise BoxError(message, "unknown_class")
    return names[int(key)]


def _labels(content: str, name: str, image: str | None) -> list[ClassLabel]:
    """Return the classes of the lines: their names where these lie beside the file, else their numbers."""
    names = names_of_file(name)
    found = {}
    for number, line in enumerate(content.splitlines(), start=1):
        if line.strip():
            label = line.split()[0]
            text = str(_name(label, names, f"{name}, line {number}")) if names else label_key(label)
            found[text] = ClassLabel(text, as_number(label))
    return list(found.values())


def _resembles(content: str) -> bool:
    """Return whether the first line that is not blank begins with a number; an empty file has no box."""
    first = next((line.split()[0] for line in content.splitlines() if line.strip()), "0")
    return as_number(first) is not None


FORMAT = AnnotationFormat(
    name="yolo",
    suffixes=(".txt",),
    parse=parse_text,
    read=_read,
    resembles=_resembles,
    labels=_labels,
)
