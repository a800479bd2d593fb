# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
"""CSV tables: one row per box, of one image or of a whole data set."""

from __future__ import annotations

import csv
import io

from monai_bbox_mil.annotations.image_names import image_path, is_image
from monai_bbox_mil.annotations.interface import Annotation, AnnotationFormat
from monai_bbox_mil.annotations.parsing import parse_text
from monai_bbox_mil.annotations.placing import volume_corners
from monai_bbox_mil.annotations.records import FileBox
from monai_bbox_mil.annotations.values import flag_of, numbers_of

__all__ = ["FORMAT"]


def _read(content: str, annotation: Annotation) -> tuple[str, list[FileBox]]:
    """CSV; a row with the image's name and no numbers says that it has no box."""
    try:
        rows = list(csv.reader(io.StringIO(content, newline=""), skipinitialspace=True))
    except csv.Error as error:
        raise ValueError(f"{annotation.name}: expected comma separated values, got an error: {error}.") from error
    if not any(map(any, rows)):
        raise ValueError(f"{annotation.name}: expected a header line, got an empty file.")
    header = [name.strip().lower() for name in rows[0]]
    plane, depth = (
        ("x_min", "y_min", "x_max", "y_max"),
        [name for name in ("z_min", "z_max", "slice") if name in header],
    )
    if not set(plane) <= set(header) or depth not in ([], ["slice"], ["z_min", "z_max"]):
        raise ValueError(
            f"{annotation.name}: expected the columns {', '.join(plane)}, and z_min and z_max, or slice, or "
            "none of them, "
            f"got {', '.join(header)}."
        )
    image = next((name for name in ("image", "case") if name in header), None)
    label = next((name for name in ("label", "class") if name in header), None)
    # A table without rows has no box; one that has only other images' rows was not made for this image.
    boxes, described = [], image is None or not any(map(any, rows[1:]))
    for number, row in enumerate(rows[1:], start=2):
        place = f"{annotation.name}, row {number}"
        if not any(cell.strip() for cell in row):
            continue
        if len(row) != len(header):
            raise ValueError(f"{place}: expected {len(header)} values as in the header, got {len(row)}: {row}.")
        cells = dict(zip(header, row, strict=True))
        if image is not None and not is_image(cells[image], image_path(annotation)):
            continue
        described = True
        values = [cells[name] for name in (*plane, *depth)]
        if image is not None and not any(value.strip() for value in values):
            continue
        annotation.count_box(place)
        with annotation.one_box(place):
            x_min, y_min, x_max, y_max, *z = numbers_of(values, [len(values)], place)
            if depth == ["slice"]:
                if not z[0].is_integer():
                    raise ValueError(f"{place}: expected a whole number as slice, got {cells['slice']!r}.")
                z = [z[0], z[0] + 1]
            corners = volume_corners([x_min, y_min, *z[:1]], [x_max, y_max, *z[1:]], "index", place, annotation.frame)
            named = label is not None and cells[label].strip()
            labels = (cells[label],) if label is not None and named else ()
            ignored = flag_of(cells.get("ignored"), "ignored", place)
            boxes.append(FileBox(corners, labels, place, ignored))
    if not described:
        raise ValueError(
            f"{annotation.name}: expected {image_path(annotation)} in the column {image!r} (without numbers if "
            "it has no box), "
            "got no such row."
        )
    return "index", boxes


FORMAT = AnnotationFormat(name="csv", suffixes=(".csv",), parse=parse_text, read=_read)
