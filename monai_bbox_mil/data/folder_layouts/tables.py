# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
"""Box files that describe all images of a folder, such as a COCO file or a CSV table."""

from __future__ import annotations

import re
import warnings
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from monai_bbox_mil.annotations.formats import formats_of_file
from monai_bbox_mil.annotations.image_names import ImageNames
from monai_bbox_mil.annotations.opening import holds_boxes, open_annotation
from monai_bbox_mil.runs.texts import first_few

__all__ = ["BoxTable", "find_tables", "is_table", "items_of_tables"]

_PARTS = {
    "train": "training", "training": "training", "val": "validation", "valid": "validation", "validation": "validation",
    "test": "test", "testing": "test",
}  # fmt: skip


class BoxTable(NamedTuple):
    """A file that describes several images."""

    path: Path
    names: ImageNames
    part: str
    """Part of the data list that its name, or the name of a folder, says it is for; else empty."""


def find_tables(root: Path, candidates: Sequence[Path], required: bool) -> list[BoxTable]:
    """Find the files that describe several images.

    Args:
        root: folder of the data set.
        candidates: files that belong to no image by name.
        required: whether a file that cannot be parsed, or a table that names no images, is an error if there is no
            other table. Where there are other annotations, it may be anything.

    Raises:
        ValueError: when a table is required and none can be read.
    """
    tables, faults = [], []
    for path in candidates:
        if all(format.image_names is None for format in formats_of_file(path)):
            continue
        try:
            format = holds_boxes(path)
            if format is None or format.image_names is None:
                continue
            names = format.image_names(open_annotation(str(path), "auto", "")[2])
        except ValueError as error:
            faults.append(error)
            continue
        if names.entries:
            tables.append(BoxTable(path, names, _part_of(path.relative_to(root))))
        elif format.by_image is not None and path.suffix.lower() == ".csv":
            faults.append(
                ValueError(f"{path}: expected a column 'image' or 'case' that says whose boxes these are, got none.")
            )
    if required and not tables and faults:
        raise faults[0]
    return tables


def is_table(path: Path) -> bool:
    """Return whether a file describes several images, whatever its name; a file that cannot be parsed does not.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = Path(folder, "dataset.json")
        ...     _ = path.write_text('{"images": [], "annotations": []}')
        ...     is_table(path)
        True
    """
    try:
        format = holds_boxes(path)
    except ValueError:  # who reads it for what it is called says what is wrong with it
        return False
    return format is not None and format.image_names is not None


def items_of_tables(root: Path, tables: Sequence[BoxTable], images: Sequence[Path]) -> dict[str, list[dict[str, Any]]]:
    """Return the parts of a data list: the images that the tables describe, with the tables as their boxes.

    Raises:
        ValueError: when several tables are for one part, none is for training, or a table describes none of the images.
    """
    parts = ["training"] if len(tables) == 1 else [table.part for table in tables]
    if "" in parts or max(Counter(parts).values()) > 1 or "training" not in parts:
        raise ValueError(
            f"dataset_dir {root}: expected one file with the boxes of all images, or one for training and others for "
            f"validation and test with these words in their names, got {first_few([table.path for table in tables])}. "
            "Move those that are not to be read out of the folder."
        )
    found: dict[str, list[dict[str, Any]]] = {}
    unlisted = set(images)
    for part, table in zip(parts, tables, strict=True):
        # Tables beside their own images need not name folders: train/boxes.json, valid/boxes.json.
        near = [path for path in images if path.is_relative_to(table.path.parent)]
        listed = {path: table.names.find(str(path), str(table.path)) for path in near or images}
        members = [path for path, entries in listed.items() if entries]
        if not members:
            raise ValueError(
                f"{table.path}: expected images of dataset_dir {root}, got none among its "
                f"{len(table.names.entries)} images, such as {table.names.entries[0].words}."
            )
        unlisted -= {*members}
        entries = {entry for path in members for entry in listed[path]}
        _warn_of_absent(table, entries)
        found[part] = [{"image": str(path), "box": str(table.path), "patient": None} for path in members]
    if unlisted:
        names = sorted(path.name for path in unlisted)
        warnings.warn(
            f"dataset_dir {root}: {len(unlisted)} of {len(images)} images are not listed in "
            f"{first_few([table.path.name for table in tables])} and are left out: {first_few(names)}.",
            stacklevel=5,
        )
    return found


def _warn_of_absent(table: BoxTable, entries: set[int]) -> None:
    """Name images that a table describes and that are not there."""
    absent = [entry.words for number, entry in enumerate(table.names.entries) if number not in entries]
    if absent:
        warnings.warn(
            f"{table.path}: {len(absent)} of {len(table.names.entries)} images are not in the folder and are left out: "
            f"{first_few(absent)}.",
            stacklevel=6,
        )


def _part_of(path: Path) -> str:
    """Return the part that a path is for, by the last word in it that says so.

    Example:
        >>> _part_of(Path("annotations/instances_val2017.json")), _part_of(Path("train/boxes.coco.json"))
        ('validation', 'training')
    """
    words = re.findall("[a-z]+", path.as_posix().lower())
    return next((_PARTS[word] for word in reversed(words) if word in _PARTS), "")
