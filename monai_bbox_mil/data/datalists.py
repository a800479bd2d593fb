# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
"""Data lists: from the files in a folder to dictionaries of ``image``, ``mask`` or ``box``, and ``patient``."""

from __future__ import annotations

import json
import os
import re
import warnings
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from monai_bbox_mil.data.atlas import atlas_datalist, find_atlas_images
from monai_bbox_mil.data.case_names import shortest_names
from monai_bbox_mil.data.image_files import image_stem
from monai_bbox_mil.data.promise12 import find_promise12_cases, promise12_datalist
from monai_bbox_mil.data.splits import check_files, check_images, check_patients, split_by_patient
from monai_bbox_mil.runs.texts import first_few

__all__ = ["decathlon_datalist", "get_datalist", "load_datalist"]

_SUBJECT = r"sub-[A-Za-z0-9]+"
_SECTIONS = ("training", "validation", "test")
_LIST_FILES = {"dataset.json": "Decathlon", "datalist.json": ""}


class _DataLayout(NamedTuple):
    """A way to lay out a folder of images and masks that needs no list."""

    expects: str
    recognise: Callable[[Path], Any]
    read: Callable[[Path], dict[str, list[dict[str, Any]]]]


# The first one that a folder has is read; a new one is a row here.
_LAYOUTS = (
    _DataLayout("CaseNN.mhd (PROMISE12)", find_promise12_cases, promise12_datalist),
    _DataLayout("Site*/<subject>/t0N/ (ATLAS)", find_atlas_images, atlas_datalist),
)
_KEYS = ("image", "label", "mask", "box", "box_mode", "space", "coordinate_system", "patient")


def get_datalist(
    dataset_dir: str | os.PathLike[str],
    datalist: str | os.PathLike[str] | None = None,
    validation_fraction: float = 0.2,
    seed: int = 0,
    check: bool = True,
) -> dict[str, list[dict[str, Any]]]:
    """Data list of a folder, read in the first of these ways that its content allows.

    ============================  ===================================
    there is                      read by
    ============================  ===================================
    a ``datalist`` argument       :func:`load_datalist`
    ``dataset.json``              :func:`decathlon_datalist`
    ``datalist.json``             :func:`load_datalist`
    ``CaseNN.mhd``                :func:`.promise12_datalist`
    ``Site*/<subject>/t0N/``      :func:`.atlas_datalist`
    ============================  ===================================

    Args:
        dataset_dir: folder of the data set.
        datalist: a data list file, absolute or relative to ``dataset_dir``.
        validation_fraction: part of the patients, for a data list file that names no validation part.
        seed: of that draw.
        check: whether a data list file is refused for missing files and for a patient in two parts.

    Returns:
        ``{"training": [...], "validation": [...]}``, with ``"test"`` where there is one.

    Raises:
        ValueError: when nothing of this is there, or what is there does not fit.
    """
    root = Path(os.path.abspath(dataset_dir))
    known = [name for name in _LIST_FILES if (root / name).is_file()]
    if datalist is not None or known:
        return _load_parts(root, known[0] if datalist is None else datalist, None, validation_fraction, seed, check)
    for layout in _LAYOUTS:
        if layout.recognise(root):
            return layout.read(root)
    there = sorted(path.name for path in root.iterdir()) if root.is_dir() else "no such folder"
    expected = [
        *(f"{name} ({of})" if of else name for name, of in _LIST_FILES.items()),
        *(one.expects for one in _LAYOUTS),
    ]
    raise ValueError(
        f"dataset_dir {root}: expected {', '.join(expected[:-1])} or {expected[-1]}, "
        f"got {there if isinstance(there, str) else first_few(there) or 'an empty folder'}."
    )


def load_datalist(
    dataset_dir: str | os.PathLike[str],
    datalist: str | os.PathLike[str] = "datalist.json",
    section: str | None = None,
    validation_fraction: float = 0.2,
    seed: int = 0,
) -> dict[str, list[dict[str, Any]]] | list[dict[str, Any]]:
    """Read a MONAI data list, Decathlon or detection style, into items of ``image``, ``mask`` or ``box``, ``patient``.

    - ``label`` as a path, or a list of paths, becomes ``mask``; a ``mask`` stays.
    - ``box`` as a path or a mapping stays. As a list of boxes it becomes the mapping ``{"box": .., "label": ..}`` that
      :class:`~monai_bbox_mil.transforms.LoadBoxes` reads, with ``label`` where it is a list of classes, and with
      ``box_mode``, ``space`` and ``coordinate_system`` where the entry has them.
    - ``patient`` is the entry's, else the ``sub-<name>`` that the image's file name starts with, else that name without
      extension, preceded by as many folders as tell it from the files of that name in others. The name of a DICOM
      series is that of its folder.
    - A plain string, as in Decathlon's ``test``, becomes ``{"image": ..}``.

    Other keys are left out. Relative paths start at ``dataset_dir``, or, if the first image is only found there, at
    the data list's folder.

    Args:
        dataset_dir: folder of the data set.
        datalist: JSON file with the lists ``training``, ``validation`` or ``test``; absolute or relative to
            ``dataset_dir``.
        section: one of the three, to get only its list; ``None`` for a dictionary of all.
        validation_fraction: part of the patients drawn from ``training`` where ``validation`` is absent or empty.
        seed: of that draw; see :func:`.split_by_patient`.

    Returns:
        ``{"training": [...], "validation": [...]}``, with ``"test"`` where the file has one; or the one list.

    Raises:
        ValueError: when the file is absent, is no JSON, or has none of the lists; when an entry is malformed; when a
            patient or an image is in two parts; when files are missing.
    """
    parts = _load_parts(Path(os.path.abspath(dataset_dir)), datalist, section, validation_fraction, seed, True)
    return parts if section is None else parts[section]


def decathlon_datalist(
    dataset_dir: str | os.PathLike[str], validation_fraction: float = 0.2, seed: int = 0
) -> dict[str, list[dict[str, Any]]]:
    """Data list of a Medical Segmentation Decathlon task, a folder with ``dataset.json``; see :func:`load_datalist`.

    The Decathlon publishes no validation part: without one in ``dataset.json`` it is drawn from ``training``.

    Args:
        dataset_dir: folder of the task, such as ``Task04_Hippocampus``.
        validation_fraction: part of the patients, for that draw.
        seed: of that draw.

    Returns:
        ``{"training": [...], "validation": [...]}``, with ``"test"`` where there is one.

    Raises:
        ValueError: as :func:`load_datalist`.
    """
    return _load_parts(Path(os.path.abspath(dataset_dir)), "dataset.json", None, validation_fraction, seed, True)


def _load_parts(
    root: Path,
    datalist: str | os.PathLike[str],
    section: str | None,
    validation_fraction: float,
    seed: int,
    check: bool,
) -> dict[str, list[dict[str, Any]]]:
    """All parts of a data list file; if checked, the files of all, or of the one section, are there."""
    path = root / datalist
    if section not in (None, *_SECTIONS):
        raise ValueError(f"section must be None or one of {_SECTIONS}, got {section!r}.")
    content = _read_json(path)
    found = [name for name in _SECTIONS if content.get(name)]
    if not found:
        raise ValueError(f"{path}: expected a non-empty list {', '.join(_SECTIONS)}, got the keys {list(content)}.")
    _warn_of_other_lists(path, content)
    base = next((b for b in (root, path.parent) if (b / _first_image(content[found[0]])).exists()), root)
    parts = {name: _read_section(path, name, content[name], base) for name in found}
    _name_patients([item for items in parts.values() for item in items])
    if "training" in parts and "validation" not in parts:
        parts.update(split_by_patient(parts["training"], validation_fraction, seed))
    parts = {"training": [], "validation": [], **parts}
    if not check:
        return parts
    check_patients(parts, str(path))
    check_images(parts, str(path))
    if section is not None and section not in parts:
        raise ValueError(f"{path}: expected the list {section!r}, got {found}.")
    check_files((item for name in ([section] if section else parts) for item in parts[name]), str(path))
    return parts


def _read_json(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise ValueError(f"datalist {path}: expected a JSON file, got {'a folder' if path.exists() else 'nothing'}.")
    content = path.read_bytes()
    if not content.strip():
        raise ValueError(f"datalist {path}: expected JSON, got an empty file.")
    try:
        # Of bytes the encoding is found out: UTF-8, UTF-16 or UTF-32, each with or without a byte order mark.
        parsed = json.loads(content, object_pairs_hook=_without_duplicates)
    except UnicodeDecodeError as error:
        raise ValueError(
            f"datalist {path}: expected a text file in UTF-8 or UTF-16, got other bytes; save it as UTF-8 ({error})."
        ) from error
    except ValueError as error:
        raise ValueError(f"datalist {path}: expected JSON, got {error}.") from error
    except RecursionError as error:
        raise ValueError(f"datalist {path}: expected JSON, got lists in lists without end.") from error
    if not isinstance(parsed, dict):
        raise ValueError(
            f'datalist {path}: expected an object such as {{"training": [...], "validation": [...]}}, got a '
            f"{type(parsed).__name__}."
        )
    return parsed


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """The object of a JSON file; of two values under one of our keys, Python would take the last without a word."""
    content = dict(pairs)
    if len(content) < len(pairs):
        names = [name for name, _ in pairs]
        twice = [name for name in (*_SECTIONS, *_KEYS) if names.count(name) > 1]
        if twice:
            raise ValueError(f"the key {twice[0]!r} twice in one object")
    return content


def _warn_of_other_lists(path: Path, content: Mapping[str, Any]) -> None:
    """Name lists of images that are not read, such as one under ``"val"``."""
    others = [
        name
        for name, entries in content.items()
        if name not in _SECTIONS
        and isinstance(entries, list)
        and any(isinstance(entry, dict) and "image" in entry for entry in entries)
    ]
    if others:
        warnings.warn(
            f"datalist {path}: the lists {', '.join(map(repr, others))} are not read, only {', '.join(_SECTIONS)} are.",
            stacklevel=2,
        )


def _first_image(entries: Any) -> str:
    first = entries[0] if isinstance(entries, list) else entries
    image = first.get("image", "") if isinstance(first, dict) else first
    image = image[0] if isinstance(image, list) and image else image
    return image if isinstance(image, str) else ""


def _read_section(path: Path, name: str, entries: Any, base: Path) -> list[dict[str, Any]]:
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
    """A path, or each path of a list, below a folder."""
    if isinstance(paths, list):
        return [_join(base, path) for path in paths]
    return os.path.normpath(os.path.join(base, paths))


def _is_path(value: Any) -> bool:
    """Whether it is a path, or a list of paths."""
    paths = value if isinstance(value, list) else [value]
    return bool(paths) and all(isinstance(path, str) and path for path in paths)


def _convert(entry: Mapping[str, Any], base: Path, where: str) -> dict[str, Any]:
    item: dict[str, Any] = {"image": _join(base, entry["image"])}
    label, box = entry.get("label"), entry.get("box")
    classes = label if isinstance(box, list) and isinstance(label, list) else None
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
    if isinstance(box, list):
        annotation: dict[str, Any] = {"box": box}
        if classes is not None:
            if len(classes) != len(box):
                raise ValueError(f"{where}: expected a label for each of {len(box)} boxes, got {len(classes)}.")
            annotation["label"] = classes
        annotation.update({key: entry[key] for key in ("box_mode", "space", "coordinate_system") if key in entry})
        item["box"] = annotation
    elif box is not None:
        item["box"] = _join(base, box) if isinstance(box, str) else box
    item["patient"] = None if entry.get("patient") is None else str(entry["patient"]).strip()
    _check_subjects(item, where)
    return item


def _check_subjects(item: Mapping[str, Any], where: str) -> None:
    """Refuse a mask or a box file that is named after another subject than the image."""
    paths = [_first_image([{"image": item.get(key)}]) for key in ("image", "mask", "box")]
    subjects = [match[0] for path in paths if (match := re.match(_SUBJECT, Path(path).name))]
    if len(set(subjects)) > 1:
        raise ValueError(f"{where}: expected the files of one subject, got {' and '.join(dict.fromkeys(subjects))}.")


def _name_patients(items: Iterable[dict[str, Any]]) -> None:
    """Fill the patients that are ``None``, in place."""
    unnamed = [(item, Path(_first_image([item]))) for item in items if item.get("patient", "") is None]
    # Images of one folder that differ in their extension alone are of one patient.
    stems = {image: image.with_name(image_stem(image)) for _, image in unnamed}
    names = shortest_names(f"{stem}.nii" for stem in stems.values())
    for item, image in unnamed:
        subject = re.match(_SUBJECT, stems[image].name)
        item["patient"] = subject[0] if subject else names[f"{stems[image]}.nii"]
