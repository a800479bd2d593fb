# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
"""One reader for each annotation format; :mod:`monai_bbox_mil.transforms.box_files` chooses and places the boxes.

A reader gets the parsed JSON, the text or the DICOM data set of a file and returns the space of its coordinates,
``"index"`` (half-open, of the image's file) or ``"world"`` (RAS mm), and one :class:`.FileBox` a box.
"""

from __future__ import annotations

import csv
import io
import warnings
from collections.abc import Callable, Mapping
from pathlib import PurePosixPath
from typing import Any

import numpy as np
import torch
from monai.data.box_utils import convert_box_to_standard_mode, get_boxmode

from monai_bbox_mil.transforms.box_dicom import read_dicom
from monai_bbox_mil.transforms.box_entries import LPS_TO_RAS, items_of, numbers_of, values_of
from monai_bbox_mil.transforms.box_geometry import map_points, volume_corners
from monai_bbox_mil.transforms.box_records import BoxError, FileBox, Source, label_key

__all__ = ["READERS"]


def _is_image(entry: Any, path: str) -> bool:
    """Whether a file name in an annotation, with or without extension, is that of the image."""
    image = PurePosixPath(path.replace("\\", "/")).name
    stem = image.removesuffix(".gz")
    names = (image, stem, PurePosixPath(stem).stem)
    return PurePosixPath(str(entry).strip().replace("\\", "/")).name in names


def _image_path(file: Source) -> str:
    """Path of the image, for the formats that describe several."""
    if file.frame.path is None:
        raise ValueError(f"{file.name}: expected image.meta['filename_or_obj'], which selects the boxes, got none.")
    return file.frame.path


def _read_json(content: Any, file: Source) -> tuple[str, list[FileBox]]:
    """Our own: MONAI detection's keys."""
    entry = content if isinstance(content, Mapping) else {"box": content}
    rows = items_of(values_of(entry, ["box"], file.name)[0], f"{file.name}, box")
    space, system = entry.get("space", "index"), entry.get("coordinate_system", "RAS")
    if space not in ("index", "world") or system not in ("RAS", "LPS") or (space == "index" and system != "RAS"):
        raise ValueError(
            f"{file.name}: expected space 'index', or 'world' with coordinate_system 'RAS' or 'LPS', "
            f"got {space!r} with {system!r}."
        )
    labels = entry.get("label")
    labels = None if labels is None else items_of(labels, f"{file.name}, label")
    if labels is not None and len(labels) != len(rows):
        raise ValueError(f"{file.name}: expected one label a box ({len(rows)}), got {len(labels)}.")
    name = entry.get("box_mode")
    try:
        mode = get_boxmode(name)
    except ValueError as error:
        raise ValueError(f"{file.name}: expected a box_mode of monai.data.box_utils, got {name!r}.") from error
    counts = [2 * dims for dims in (2, 3) if name is None or mode.get_name(dims) == name]
    boxes = []
    for index, row in enumerate(rows):
        place = f"{file.name}, box[{index}]"
        file.count_box(place)
        with file.one_box(place):
            numbers = torch.tensor([numbers_of(row, counts, place)], dtype=torch.float64)
            low, high = torch.as_tensor(convert_box_to_standard_mode(numbers, mode)).reshape(2, -1).tolist()
            corners = volume_corners(low, high, space, place, file.frame)
            if system == "LPS":
                corners = map_points(corners, LPS_TO_RAS)
            boxes.append(FileBox(corners, () if labels is None else (labels[index],), place))
    return space, boxes


def _read_coco(content: Any, file: Source) -> tuple[str, list[FileBox]]:
    """COCO; a crowd's box is not tight around one object, so it is left out with a warning."""
    images, annotations = values_of(content, ["images", "annotations"], file.name)
    path = _image_path(file)
    found = [
        image
        for index, image in enumerate(items_of(images, f"{file.name}, images"))
        if _is_image(values_of(image, ["id", "file_name"], f"{file.name}, images[{index}]")[1], path)
    ]
    if len(found) != 1:
        raise ValueError(f"{file.name}: expected {path} once among the images, got {len(found)} of {len(images)}.")
    shape, given = file.frame.original_shape, (found[0].get("width"), found[0].get("height"))
    if shape is not None and None not in given and given != shape[:2]:
        raise ValueError(f"{file.name}: expected {path} to have width and height {shape[:2]}, got {given}.")
    names = {}
    for index, category in enumerate(items_of(content.get("categories", []), f"{file.name}, categories")):
        number, name = values_of(category, ["id", "name"], f"{file.name}, categories[{index}]")
        names[label_key(number)] = name
    # Category numbers mostly count from 1, and as channels each would be off by one without a sign of it.
    if file.classes is None and names and set(names) != set(map(str, range(len(names)))):
        raise ValueError(f"{file.name}: without classes the category ids must be 0, 1, .., got {names}; give classes.")
    boxes, crowds = [], 0
    for index, annotation in enumerate(items_of(annotations, f"{file.name}, annotations")):
        place = f"{file.name}, annotations[{index}]"
        if values_of(annotation, ["image_id"], place)[0] != found[0]["id"]:
            continue
        if annotation.get("iscrowd", 0):
            crowds += 1
            continue
        file.count_box(place)
        with file.one_box(place):
            box, category = values_of(annotation, ["bbox", "category_id"], place)
            key = label_key(category)
            if names and key not in names:
                message = f"{place}: expected a category_id among {list(names)}, got {category!r}."
                raise BoxError(message, "unknown_class")
            x, y, width, height = numbers_of(box, [4], place)
            corners = volume_corners([x, y], [x + width, y + height], "index", place, file.frame)
            boxes.append(FileBox(corners, (names[key], category) if file.classes and names else (category,), place))
    if crowds:
        warnings.warn(
            f"{file.name}: left out {crowds} boxes of {path} with iscrowd, their area counts as background.",
            stacklevel=4,
        )
    return "index", boxes


def _read_yolo(content: str, file: Source) -> tuple[str, list[FileBox]]:
    """YOLO; its class number is a position in ``classes``, unless these are numbers themselves."""
    shape = file.frame.original_shape
    if shape is None:
        raise ValueError(f"{file.name}: YOLO boxes need the size of the image's file, which {file.frame.name} lacks.")
    positions = file.classes is not None and not any(label_key(name).lstrip("-").isdecimal() for name in file.classes)
    boxes = []
    for number, line in enumerate(content.splitlines(), start=1):
        place = f"{file.name}, line {number}"
        if not line.strip():
            continue
        file.count_box(place)
        with file.one_box(place):
            label, *values = line.split()
            x, y, width, height = numbers_of(values, [4], f"{place}, after the class")
            if not all(-1e-6 <= value <= 1 + 1e-6 for value in (x, y, width, height)):
                raise ValueError(f"{place}: expected parts of the image between 0 and 1, got {values}.")
            low = [(x - width / 2) * shape[0], (y - height / 2) * shape[1]]
            high = [(x + width / 2) * shape[0], (y + height / 2) * shape[1]]
            name: Any = label
            if file.classes is not None and positions:
                if not label.isdecimal() or int(label) >= len(file.classes):
                    message = f"{place}: expected a class 0..{len(file.classes) - 1} of {file.classes}, got {label!r}."
                    raise BoxError(message, "unknown_class")
                name = file.classes[int(label)]
            boxes.append(FileBox(volume_corners(low, high, "index", place, file.frame), (name,), place))
    return "index", boxes


def _read_csv(content: str, file: Source) -> tuple[str, list[FileBox]]:
    """CSV; a row with the image's name and no numbers says that it has no box."""
    try:
        rows = list(csv.reader(io.StringIO(content, newline=""), skipinitialspace=True))
    except csv.Error as error:
        raise ValueError(f"{file.name}: expected comma separated values, got an error: {error}.") from error
    header = [name.strip().lower() for name in rows[0]]
    plane, depth = (
        ("x_min", "y_min", "x_max", "y_max"),
        [name for name in ("z_min", "z_max", "slice") if name in header],
    )
    if not set(plane) <= set(header) or depth not in ([], ["slice"], ["z_min", "z_max"]):
        raise ValueError(
            f"{file.name}: expected the columns {', '.join(plane)}, and z_min and z_max, or slice, or none of them, "
            f"got {', '.join(header)}."
        )
    image = next((name for name in ("image", "case") if name in header), None)
    label = next((name for name in ("label", "class") if name in header), None)
    # A table without rows has no box; one that has only other images' rows was not made for this image.
    boxes, described = [], image is None or not any(map(any, rows[1:]))
    for number, row in enumerate(rows[1:], start=2):
        place = f"{file.name}, row {number}"
        if not any(cell.strip() for cell in row):
            continue
        if len(row) != len(header):
            raise ValueError(f"{place}: expected {len(header)} values as in the header, got {len(row)}: {row}.")
        cells = dict(zip(header, row, strict=True))
        if image is not None and not _is_image(cells[image], _image_path(file)):
            continue
        described = True
        values = [cells[name] for name in (*plane, *depth)]
        if image is not None and not any(value.strip() for value in values):
            continue
        file.count_box(place)
        with file.one_box(place):
            x_min, y_min, x_max, y_max, *z = numbers_of(values, [len(values)], place)
            if depth == ["slice"]:
                if not z[0].is_integer():
                    raise ValueError(f"{place}: expected a whole number as slice, got {cells['slice']!r}.")
                z = [z[0], z[0] + 1]
            corners = volume_corners([x_min, y_min, *z[:1]], [x_max, y_max, *z[1:]], "index", place, file.frame)
            named = label is not None and cells[label].strip()
            boxes.append(FileBox(corners, (cells[label],) if label is not None and named else (), place))
    if not described:
        raise ValueError(
            f"{file.name}: expected {_image_path(file)} in the column {image!r} (without numbers if it has no box), "
            "got no such row."
        )
    return "index", boxes


def _read_slicer(content: Any, file: Source) -> tuple[str, list[FileBox]]:
    """3D Slicer markups (schema 1.0): ROIs, whose axes are the columns of the row-major ``orientation``."""
    boxes = []
    for index, markup in enumerate(items_of(values_of(content, ["markups"], file.name)[0], f"{file.name}, markups")):
        place = f"{file.name}, markups[{index}]"
        file.count_box(place)
        with file.one_box(place):
            kind = values_of(markup, ["type"], place)[0]
            if kind != "ROI":
                raise ValueError(f"{place}: expected a markup of type 'ROI', got {kind!r}.")
            points = items_of(markup.get("controlPoints", []), f"{place}, controlPoints")
            point = points[0] if points and isinstance(points[0], Mapping) else {}
            # Slicer itself takes the centre from a single control point where none is written.
            center = markup.get("center", point.get("position") if len(points) == 1 else None)
            size, center = values_of(
                {**markup, **({} if center is None else {"center": center})}, ["size", "center"], place
            )
            size, center = numbers_of(size, [3], f"{place}, size"), numbers_of(center, [3], f"{place}, center")
            turn = numbers_of(markup.get("orientation", np.eye(3).ravel()), [9], f"{place}, orientation")
            axes = torch.tensor(turn, dtype=torch.float64).reshape(3, 3)
            if not torch.allclose(axes.T @ axes, torch.eye(3, dtype=torch.float64), atol=1e-3):
                raise ValueError(f"{place}: expected an orientation of three unit vectors at right angles, got {turn}.")
            system, unit = markup.get("coordinateSystem", "LPS"), markup.get("coordinateUnits", "mm")
            unit = unit[0] if isinstance(unit, list) and unit else unit
            if system not in ("LPS", "RAS") or unit != "mm" or markup.get("insideOut", False):
                raise ValueError(
                    f"{place}: expected coordinateSystem 'LPS' or 'RAS', coordinateUnits 'mm' and insideOut false, "
                    f"got {system!r}, {unit!r} and {markup.get('insideOut', False)}."
                )
            half = [value / 2 for value in size]
            corners = volume_corners([-value for value in half], half, "world", f"{place}, size", file.frame)
            matrix = torch.eye(4, dtype=torch.float64)
            matrix[:3, :3], matrix[:3, 3] = axes, torch.tensor(center, dtype=torch.float64)
            corners = map_points(corners, LPS_TO_RAS @ matrix if system == "LPS" else matrix)
            boxes.append(FileBox(corners, _roi_labels(markup, point, file.classes is None), place))
    return "world", boxes


def _roi_labels(markup: Mapping[str, Any], point: Mapping[str, Any], numbers_only: bool) -> tuple[Any, ...]:
    """What may name an ROI's class, best first.

    MONAI's detection bundles write ``label: {"value": ..}``. Slicer writes no name into the file; a person sees it in
    the first control point's label, as name and number ("prostate-1"), and can type a description beside it.
    """
    value = markup.get("label")
    value = value.get("value") if isinstance(value, Mapping) else value
    if numbers_only:
        return () if value is None else (value,)
    label = str(point.get("label") or "")
    texts = (value, markup.get("name"), point.get("description"), label, label.rpartition("-")[0])
    return tuple(dict.fromkeys(text for text in texts if text not in (None, "")))


READERS: dict[str, Callable[[Any, Source], tuple[str, list[FileBox]]]] = {
    "json": _read_json,
    "coco": _read_coco,
    "slicer": _read_slicer,
    "yolo": _read_yolo,
    "csv": _read_csv,
    "dicom": read_dicom,
}
