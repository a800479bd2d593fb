# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
"""CSV tables: one row per box, of one image or of a whole data set."""

from __future__ import annotations

import csv
import io
from collections import defaultdict
from typing import NamedTuple

from monai_bbox_mil.annotations.image_names import ImageEntry, ImageNames, image_path
from monai_bbox_mil.annotations.interface import Annotation, AnnotationFormat, ClassLabel
from monai_bbox_mil.annotations.parsing import parse_text
from monai_bbox_mil.annotations.placing import volume_corners
from monai_bbox_mil.annotations.records import FileBox, as_number
from monai_bbox_mil.annotations.values import flag_of, numbers_of, shown

__all__ = ["FORMAT"]

_PLANE = ("x_min", "y_min", "x_max", "y_max")
_DEPTHS = ((), ("slice",), ("z_min", "z_max"))
_LABELS = ("label", "class")
_IMAGES = ("image", "case")
# Excel writes semicolons in countries with decimal commas; tables copied out of it have tabs.
_DELIMITERS = (",", ";", "\t")

_Rows = list[tuple[int, tuple[str, ...]]]


class _Table(NamedTuple):
    """Rows by image, each with its number and its cells, and the positions of the columns."""

    columns: dict[str, int]
    sides: tuple[str, ...]
    label: str | None
    image: str | None
    names: ImageNames
    rows: tuple[_Rows, ...]


def _index(content: str, name: str) -> _Table:
    """Group the rows by the image that they name. Without an image column, all rows are one group."""
    delimiter, lines = _split_lines(content)
    try:
        rows = list(csv.reader(io.StringIO(lines, newline=""), delimiter=delimiter, skipinitialspace=True, strict=True))
    except csv.Error as error:
        raise ValueError(f"{name}: expected comma-separated values, got an error: {error}.") from error
    if not any(map(any, rows)):
        raise ValueError(f"{name}: expected a header line, got an empty file.")
    header = [cell.strip().lower() for cell in rows[0]]
    depth = tuple(column for column in ("z_min", "z_max", "slice") if column in header)
    if not {*_PLANE} <= {*header} or depth not in _DEPTHS:
        raise ValueError(
            f"{name}: expected the columns {', '.join(_PLANE)}, and z_min and z_max, or slice, or none of them, got "
            f"{shown(', '.join(header))[1:-1]}."
        )
    sides = (*_PLANE, *depth)
    twice = [column for column in (*sides, *_LABELS, *_IMAGES, "ignored") if header.count(column) > 1]
    if twice:
        raise ValueError(f"{name}: expected each column once, got {', '.join(twice)} more than once.")
    image = next((column for column in _IMAGES if column in header), None)
    columns = {column: position for position, column in enumerate(header)}
    found: dict[ImageEntry | None, _Rows] = defaultdict(list)
    for number, row in enumerate(rows[1:], start=2):
        if not any(cell.strip() for cell in row):
            continue
        place = f"{name}, row {number}"
        if len(row) != len(header):
            raise ValueError(f"{place}: expected {len(header)} values as in the header, got {len(row)}: {shown(row)}.")
        found[None if image is None else _entry(row, columns, image, place)].append((number, tuple(row)))
    entries = [entry for entry in found if entry is not None]
    label = next((column for column in _LABELS if column in header), None)
    return _Table(columns, sides, label, image, ImageNames(entries), tuple(found.values()))


def _split_lines(content: str) -> tuple[str, str]:
    """Return the delimiter and the lines of a table. The delimiter is the one that finds our columns in the header."""
    first, _, rest = content.partition("\n")
    if first.lower().startswith("sep=") and first[4:5] in _DELIMITERS:
        return first[4], rest
    header = first.lower()
    columns = {
        delimiter: len({*_PLANE} & {cell.strip(' "\t') for cell in header.split(delimiter)})
        for delimiter in _DELIMITERS
    }
    return max(columns, key=lambda delimiter: columns[delimiter]), content


def _entry(row: list[str], columns: dict[str, int], image: str, place: str) -> ImageEntry:
    """Return which image a row belongs to."""
    text = row[columns[image]].strip()
    if not text:
        raise ValueError(f"{place}: expected an image in the column {image!r}, got none.")
    return ImageEntry(text, row[columns["case"]].strip() if image != "case" and "case" in columns else "")


def _read(table: _Table, annotation: Annotation) -> tuple[str, list[FileBox]]:
    """Read the boxes of one image. A row with the image's name and no numbers says that the image has no box."""
    boxes = []
    for number, row in _rows_of_image(table, annotation):
        cells = {column: row[position] for column, position in table.columns.items()}
        place = f"{annotation.name}, row {number}"
        values = [cells[name] for name in table.sides]
        if table.image is not None and not any(value.strip() for value in values):
            continue
        annotation.count_box(place)
        with annotation.one_box(place):
            x_min, y_min, x_max, y_max, *z = numbers_of(values, [len(values)], place)
            if len(z) == 1:
                if not z[0].is_integer():
                    raise ValueError(f"{place}: expected a whole number as slice, got {shown(cells['slice'])}.")
                z = [z[0], z[0] + 1]
            corners = volume_corners([x_min, y_min, *z[:1]], [x_max, y_max, *z[1:]], "index", place, annotation.frame)
            label = None if table.label is None else cells[table.label]
            labels = () if label is None or not label.strip() else (label,)
            ignored = flag_of(cells.get("ignored"), "ignored", place)
            boxes.append(FileBox(corners, labels, place, ignored))
    return "index", boxes


def _rows_of_image(table: _Table, annotation: Annotation) -> _Rows:
    # A table without rows has no boxes. A table with other images' rows only was not made for this image.
    if not table.rows:
        return []
    if table.image is None:
        return table.rows[0]
    path = image_path(annotation)
    found = table.names.find(path, annotation.name)
    if not found:
        raise ValueError(
            f"{annotation.name}: expected {path} in the column {table.image!r} (without numbers if it has no box), got "
            f"no such row{table.names.nearest(path)}."
        )
    return sorted((row for index in found for row in table.rows[index]), key=lambda row: row[0])


def _labels(table: _Table, name: str, image: str | None) -> list[ClassLabel]:
    """Return the labels of all rows."""
    if table.label is None:
        return []
    column = table.columns[table.label]
    labels = dict.fromkeys(cells[column].strip() for rows in table.rows for _, cells in rows)
    return [ClassLabel(label, as_number(label)) for label in labels if label]


def _resembles(content: str) -> bool:
    """Return whether the header has a column of ours, however the cells are separated."""
    first = content.lstrip("\n").partition("\n")
    header = (first[2] if first[0].lower().startswith("sep=") else first[0]).partition("\n")[0].lower()
    return any(column in header for column in _PLANE)


FORMAT = AnnotationFormat(
    name="csv",
    suffixes=(".csv",),
    parse=parse_text,
    read=_read,
    by_image=_index,
    resembles=_resembles,
    image_names=lambda table: table.names,
    labels=_labels,
)
