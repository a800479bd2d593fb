# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
"""Class names of YOLO files: they lie beside them, in ``data.yaml``, ``classes.txt`` or ``obj.names``."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from monai_bbox_mil.annotations.parsing import parse_text
from monai_bbox_mil.annotations.records import as_number, label_key
from monai_bbox_mil.annotations.values import shown

__all__ = ["find_yaml", "names_of_file", "names_of_yaml", "read_yaml"]

# data.yaml lies two folders above train/labels/a.txt and labels/train/a.txt.
_LEVELS = 3
_LISTS = ("classes.txt", "obj.names")


# Names by folder, with the paths that they depend on and the state of these. Threads may read them twice.
_KNOWN: dict[Path, tuple[list[Path], list[tuple[int, ...]], list[str]]] = {}
_MOST = 1024


def names_of_file(path: str | os.PathLike[str]) -> list[str]:
    """Return the class names of a YOLO file, one per class number; an empty list where there are none.

    The first of these is read that lies in the file's folder or in one of the two above: a YAML file with ``names`` and
    ``train`` or ``val``, ``classes.txt`` or ``obj.names``. Where a folder has several such YAML files, nobody knows
    which is meant, and there are no names. The names are kept in memory until a file or folder changes.

    Raises:
        ValueError: when the names are malformed.

    Example:
        >>> names_of_file("nowhere/labels/a.txt")
        []
    """
    folder = Path(os.path.abspath(path)).parent
    known = _KNOWN.get(folder)
    if known is not None and known[1] == _state(known[0]):
        return known[2]
    # Files may be added to the folders, and those of names changed in place.
    above = (folder, *folder.parents[: _LEVELS - 1])
    files = [file for each in above for file in [*_descriptions(each), *(each / name for name in _LISTS)]]
    paths = [*above, *(file for file in files if file.is_file())]
    state = _state(paths)
    names = _read_names(above)
    while len(_KNOWN) >= _MOST:
        _KNOWN.pop(next(iter(_KNOWN)), None)
    _KNOWN[folder] = paths, state, names
    return names


def _state(paths: Sequence[Path]) -> list[tuple[int, ...]]:
    states = [os.stat(path) if path.exists() else None for path in paths]
    return [() if state is None else (state.st_mtime_ns, state.st_size) for state in states]


def _read_names(folders: Sequence[Path]) -> list[str]:
    for folder in folders:
        found = _descriptions(folder)
        if found:
            return names_of_yaml(found[0]) if len(found) == 1 else []
        for name in _LISTS:
            if (folder / name).is_file():
                lines = [line.strip() for line in parse_text(folder / name).splitlines()]
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
    found = _descriptions(folder)
    if len(found) > 1:
        raise ValueError(
            f"{folder}: expected one YAML file with the class names and parts of a YOLO data set, got "
            f"{', '.join(path.name for path in found)}. Rename the one to read to data.yaml."
        )
    return found[0] if found else None


def _descriptions(folder: Path) -> list[Path]:
    """Return the YAML files that describe a YOLO data set; only ``data.yaml`` where there is one."""
    if not folder.is_dir():
        return []
    files = sorted(path for path in folder.iterdir() if path.suffix.lower() in (".yaml", ".yml") and path.is_file())
    found = [path for path in files if not path.name.startswith(".") and _describes_data(path)]
    return [path for path in found if path.stem == "data"][:1] or found


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
