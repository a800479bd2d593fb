# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
"""Entries of a data list file, checked and converted to items of ``image``, ``mask`` or ``box``, and ``patient``."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from monai_bbox_mil.annotations.reading import is_file_list
from monai_bbox_mil.data.case_names import shortest_names
from monai_bbox_mil.data.image_files import image_stem

__all__ = ["first_image", "name_patients", "read_section"]

_SUBJECT = r"sub-[A-Za-z0-9]+"


def first_image(entries: Any) -> str:
    """Return the path of the first image of a list; empty text where there is none."""
    first = entries[0] if isinstance(entries, list) else entries
    image = first.get("image", "") if isinstance(first, dict) else first
    image = image[0] if isinstance(image, list) and image else image
    return image if isinstance(image, str) else ""


def read_section(path: Path, name: str, entries: Any, base: Path) -> list[dict[str, Any]]:
    """Convert the list ``name`` of the data list file ``path``, with relative paths below ``base``.

    Raises:
        ValueError: when an entry is malformed.
    """
    if not isinstance(entries, list):
        raise ValueError(f"{path}: expected {name} to be a list, got a {type(entries).__name__}.")
    plain = name == "test" and all(isinstance(entry, str) for entry in entries)
    if plain:
        entries = [{"image": entry} for entry in entries]
    for number, entry in enumerate(entries):
        if not isinstance(entry, dict) or not _is_path(entry.get("image")):
            raise ValueError(f"{path}: expected {name}[{number}] to be an object with an image, got {entry!r:.200}.")
    return [
        {"image": _join(base, entry["image"])} if plain else _convert(entry, base, f"{path}: {name}[{number}]")
        for number, entry in enumerate(entries)
    ]


def _join(base: Path, paths: Any) -> Any:
    """Put a path, or each path of a list, below a folder."""
    if isinstance(paths, list):
        return [_join(base, path) for path in paths]
    return os.path.normpath(os.path.join(base, paths))


def _is_path(value: Any) -> bool:
    """Return whether a value is a path, or a list of paths."""
    paths = value if isinstance(value, list) else [value]
    return bool(paths) and all(isinstance(path, str) and path for path in paths)


def _convert(entry: Mapping[str, Any], base: Path, where: str) -> dict[str, Any]:
    item: dict[str, Any] = {"image": _join(base, entry["image"])}
    label, box = entry.get("label"), entry.get("box")
    rows = box if isinstance(box, list) and not is_file_list(box) else None
    classes = label if rows is not None and isinstance(label, list) else None
    paths = label if isinstance(label, list) else [label]
    is_path = classes is None and bool(paths) and all(isinstance(path, str) for path in paths)
    if label is not None and classes is None and not is_path:
        raise ValueError(
            f"{where}: expected label to be a mask's path, or a list of classes beside box, got {label!r:.200}."
        )
    if "mask" in entry and not _is_path(entry["mask"]):
        raise ValueError(f"{where}: expected mask to be a path, or a list of paths, got {entry['mask']!r:.200}.")
    if "mask" in entry or is_path:
        item["mask"] = _join(base, entry["mask" if "mask" in entry else "label"])
    if rows is not None:
        annotation: dict[str, Any] = {"box": rows}
        if classes is not None:
            if len(classes) != len(rows):
                raise ValueError(f"{where}: expected a label for each of {len(rows)} boxes, got {len(classes)}.")
            annotation["label"] = classes
        annotation.update({key: entry[key] for key in ("box_mode", "space", "coordinate_system") if key in entry})
        item["box"] = annotation
    elif box is not None:
        item["box"] = _join(base, box) if _is_path(box) else box
    item["patient"] = None if entry.get("patient") is None else str(entry["patient"]).strip()
    _check_subjects(item, where)
    return item


def _check_subjects(item: Mapping[str, Any], where: str) -> None:
    """Refuse a mask or a box file that is named after another subject than the image."""
    values = [item.get(key) for key in ("image", "mask", "box")]
    paths = [path for value in values for path in (value if isinstance(value, list) else [value])]
    names = [Path(path).name for path in paths if isinstance(path, str)]
    subjects = [match[0] for name in names if (match := re.match(_SUBJECT, name))]
    if len(set(subjects)) > 1:
        raise ValueError(f"{where}: expected the files of one subject, got {' and '.join(dict.fromkeys(subjects))}.")


def name_patients(items: Iterable[dict[str, Any]]) -> None:
    """Fill in, in place, the patients that are ``None``; see :func:`.load_datalist`."""
    unnamed = [(item, Path(first_image([item]))) for item in items if item.get("patient", "") is None]
    # Images in one folder that differ only in their extension belong to one patient.
    stems = {image: image.with_name(image_stem(image)) for _, image in unnamed}
    names = shortest_names(f"{stem}.nii" for stem in stems.values())
    for item, image in unnamed:
        subject = re.match(_SUBJECT, stems[image].name)
        item["patient"] = subject[0] if subject else names[f"{stems[image]}.nii"]
