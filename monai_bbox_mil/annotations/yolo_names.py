# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
"""Class names of YOLO files: they lie beside them, in ``data.yaml``, ``classes.txt`` or ``obj.names``."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from monai_bbox_mil.annotations.parsing import parse_text
from monai_bbox_mil.annotations.records import as_number, label_key
from monai_bbox_mil.annotations.values import shown

__all__ = ["find_yaml", "names_of_folder", "names_of_yaml", "read_yaml"]

# data.yaml lies above the labels: two folders up in train/labels/a.txt and labels/train/a.txt.
_LEVELS = 4
_LISTS = ("classes.txt", "obj.names")


def names_of_folder(folder: str | os.PathLike[str]) -> list[str]:
    """Return the class names of the YOLO files in a folder, one per class number; an empty list where there are none.

    The first of these is read that lies in the folder or in one of the three above: a YAML file with ``names`` and
    ``train`` or ``val``, ``classes.txt`` or ``obj.names``.

    Raises:
        ValueError: when the names are malformed, or a folder has several such YAML files.

    Example:
        >>> names_of_folder("nowhere/labels")
        []
    """
    here = Path(os.path.abspath(folder))
    for above in (here, *here.parents[: _LEVELS - 1]):
        found = find_yaml(above)
        if found is not None:
            return names_of_yaml(found)
        for name in _LISTS:
            if (above / name).is_file():
                lines = [line.strip() for line in parse_text(above / name).splitlines()]
                return _for_positions([line for line in lines if line])
    return []


def find_yaml(folder: Path) -> Path | None:
    """Return the YAML file in a folder that describes a YOLO data set, or ``None``.

    Raises:
        ValueError: when there are several.

    Example:
        >>> find_yaml(Path("nowhere")) is None
        True
    """
    if not folder.is_dir():
        return None
    files = sorted(path for path in folder.iterdir() if path.suffix.lower() in (".yaml", ".yml") and path.is_file())
    found = [path for path in files if not path.name.startswith(".") and _describes_data(path)]
    named = [path for path in found if path.stem == "data"] or found
    if len(named) > 1:
        raise ValueError(
            f"{folder}: expected one YAML file with the class names and parts of a YOLO data set, got "
            f"{', '.join(path.name for path in named)}. Rename the one to read to data.yaml."
        )
    return named[0] if named else None


def _describes_data(path: Path) -> bool:
    """Return whether a YAML file has the keys of a YOLO data set. Any other YAML file may be there too."""
    try:
        content = read_yaml(path)
    except ValueError:
        # A file by the name of data.yaml is meant; others, such as templates, need not even be YAML.
        if path.stem == "data":
            raise
        return False
    return isinstance(content, Mapping) and "names" in content and bool({"train", "val"} & {*content})


def read_yaml(path: Path) -> Any:
    """Read a YAML file.

    Raises:
        ValueError: when it is no YAML.
    """
    try:
        return yaml.safe_load(parse_text(path))
    except (yaml.YAMLError, RecursionError) as error:
        raise ValueError(f"{path}: expected YAML, got {' '.join(str(error).split()):.200}.") from error


def names_of_yaml(path: Path) -> list[str]:
    """Return ``names`` of a ``data.yaml``, a list or a mapping from class number to name.

    Raises:
        ValueError: when ``names`` is something else.
    """
    names = read_yaml(path)["names"]
    if isinstance(names, Mapping):
        numbers = {as_number(key): name for key, name in names.items()}
        if not names or not all(n is not None and n.is_integer() and 0 <= n < 10_000 for n in numbers):
            raise ValueError(f"{path}: expected names as a list or by class number (0, 1, ..), got {shown(names)}.")
        last = max(int(number) for number in numbers if number is not None)
        names = [numbers.get(number, f"class {number}") for number in range(last + 1)]
    if not isinstance(names, list) or not names or not all(isinstance(name, (str, int, float)) for name in names):
        raise ValueError(f"{path}: expected names as a list or by class number (0, 1, ..), got {shown(names)}.")
    return _for_positions([str(name) for name in names])


def _for_positions(names: list[str]) -> list[str]:
    """Return names that are read as positions. Names that are other numbers would be taken for class numbers."""
    keys = [label_key(name) for name in names]
    if keys == [str(number) for number in range(len(names))] or not any(map(_is_number, keys)):
        return names
    return [f"class {name}" if _is_number(key) else name for name, key in zip(names, keys, strict=True)]


def _is_number(key: str) -> bool:
    return key.lstrip("-").isdecimal()
