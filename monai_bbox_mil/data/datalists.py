# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
"""Data lists of a folder: dictionaries with ``image``, ``mask`` or ``box``, and ``patient``."""

from __future__ import annotations

import json
import os
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from monai_bbox_mil.data.atlas import atlas_datalist, find_atlas_images
from monai_bbox_mil.data.datalist_entries import first_image, name_patients, read_section
from monai_bbox_mil.data.folder_layouts import annotated_datalist, is_table, yolo_datalist
from monai_bbox_mil.data.promise12 import holds_promise12, promise12_datalist
from monai_bbox_mil.data.splits import check_files, check_images, check_patients, split_by_patient
from monai_bbox_mil.runs.texts import first_few

__all__ = ["decathlon_datalist", "get_datalist", "load_datalist"]

_SECTIONS = ("training", "validation", "test")
_LIST_FILES = {"dataset.json": "Decathlon", "datalist.json": ""}


class _DataLayout(NamedTuple):
    """Layout of a folder that needs no data list."""

    expects: str
    read: Callable[[Path], dict[str, list[dict[str, Any]]] | None]
    """Return the parts of its data list, or ``None`` for a folder with another layout. Without a validation part, one
    is drawn."""


# The first layout that fits the folder is used. To support another layout, add a row.
_LAYOUTS = (
    _DataLayout("CaseNN.mhd (PROMISE12)", lambda root: promise12_datalist(root) if holds_promise12(root) else None),
    _DataLayout("Site*/<subject>/t0N/ (ATLAS)", lambda root: atlas_datalist(root) if find_atlas_images(root) else None),
    _DataLayout("data.yaml (YOLO)", yolo_datalist),
    _DataLayout(
        "images with a COCO file or CSV table of their boxes, with files of their names beside them (a.nii.gz with "
        "a.mrk.json, a.json, a.txt or a_mask.nii.gz), or DICOM series with RTSTRUCT or SEG",
        annotated_datalist,
    ),
)
_KEYS = ("image", "label", "mask", "box", "box_mode", "space", "coordinate_system", "patient")


def get_datalist(
    dataset_dir: str | os.PathLike[str],
    datalist: str | os.PathLike[str] | None = None,
    validation_fraction: float = 0.2,
    seed: int = 0,
    check: bool = True,
) -> dict[str, list[dict[str, Any]]]:
    """Read the data list of a folder in the first of these ways that its content allows.

    ============================  ===================================
    there is                      read by
    ============================  ===================================
    a ``datalist`` argument       :func:`load_datalist`
    ``dataset.json``              :func:`decathlon_datalist`
    ``datalist.json``             :func:`load_datalist`
    ``CaseNN.mhd``                :func:`.promise12_datalist`
    ``Site*/<subject>/t0N/``      :func:`.atlas_datalist`
    ``data.yaml``                 :func:`.yolo_datalist`
    annotated images              :func:`.annotated_datalist`
    ============================  ===================================

    A patient is an image, or the ``sub-<name>`` that the image's file name starts with. Where the folder or the data
    list file names no validation part, it is drawn by patient. With one patient it stays empty.

    Args:
        dataset_dir: folder of the data set.
        datalist: a data list file, absolute or relative to ``dataset_dir``.
        validation_fraction: part of the patients, where no validation part is named.
        seed: seed of that draw.
        check: whether to refuse a patient or an image in two parts, and missing files of a data list file.

    Returns:
        ``{"training": [...], "validation": [...]}``, with ``"test"`` where there is one.

    Raises:
        ValueError: when the folder has none of these, when its content is malformed or fits in two ways, or when a
            patient or an image is in two parts.

    Example:
        >>> from tempfile import TemporaryDirectory
        >>> from monai_bbox_mil.data import make_phantom
        >>> with TemporaryDirectory() as folder:
        ...     _ = make_phantom(folder, num_patients=2, image_size=(48, 48), progress=False)
        ...     parts = get_datalist(folder)
        >>> [item["patient"] for item in parts["validation"]]
        ['Case01']
    """
    root = Path(os.path.abspath(dataset_dir))
    known = [name for name in _LIST_FILES if (root / name).is_file() and not is_table(root / name)]
    if datalist is not None or known:
        return _load_parts(root, known[0] if datalist is None else datalist, None, validation_fraction, seed, check)
    for layout in _LAYOUTS:
        parts = layout.read(root)
        if parts is not None:
            parts = _with_validation(parts, validation_fraction, seed)
            if check:
                check_patients(parts, f"dataset_dir {root}")
                check_images(parts, f"dataset_dir {root}")
            return parts
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
    - ``box`` as a path, a list of paths or a mapping stays. As a list of boxes it becomes the mapping
      ``{"box": .., "label": ..}`` that :class:`~monai_bbox_mil.transforms.LoadBoxes` reads, with ``label`` where it is
      a list of classes, and with ``box_mode``, ``space`` and ``coordinate_system`` where the entry has them.
    - ``patient`` is the entry's own, or else the ``sub-<name>`` that the image's file name starts with. Without either
      it is the file name without extension. Where files in several folders share that name, the folders that
      distinguish them come first. A DICOM series is named after its folder.
    - A plain string, as in Decathlon's ``test``, becomes ``{"image": ..}``.

    Other keys are left out. Relative paths start at ``dataset_dir``. If the first image exists only below the data
    list's folder, they start there.

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

    Example:
        >>> from tempfile import TemporaryDirectory
        >>> with TemporaryDirectory() as folder:
        ...     for name in ("a.nii", "b.nii"):
        ...         _ = Path(folder, name).write_bytes(b"")
        ...     content = {"training": [{"image": "a.nii", "box": [[1, 2, 5, 6]], "label": [0]}, {"image": "b.nii"}]}
        ...     _ = Path(folder, "datalist.json").write_text(json.dumps(content))
        ...     items = load_datalist(folder, section="training", validation_fraction=0)
        >>> [item["patient"] for item in items], items[0]["box"]
        (['a', 'b'], {'box': [[1, 2, 5, 6]], 'label': [0]})
    """
    parts = _load_parts(Path(os.path.abspath(dataset_dir)), datalist, section, validation_fraction, seed, True)
    return parts if section is None else parts[section]


def decathlon_datalist(
    dataset_dir: str | os.PathLike[str], validation_fraction: float = 0.2, seed: int = 0
) -> dict[str, list[dict[str, Any]]]:
    """Read the ``dataset.json`` of a Medical Segmentation Decathlon task; see :func:`load_datalist`.

    The Decathlon publishes no validation part. Without one in ``dataset.json``, it is drawn from ``training``.

    Args:
        dataset_dir: folder of the task, such as ``Task04_Hippocampus``.
        validation_fraction: part of the patients, for that draw.
        seed: seed of that draw.

    Returns:
        ``{"training": [...], "validation": [...]}``, with ``"test"`` where there is one.

    Raises:
        ValueError: as :func:`load_datalist`.

    Example:
        >>> from tempfile import TemporaryDirectory
        >>> with TemporaryDirectory() as folder:
        ...     for name in ("a.nii", "b.nii", "a_label.nii", "b_label.nii"):
        ...         _ = Path(folder, name).write_bytes(b"")
        ...     content = {"training": [{"image": f"./{name}.nii", "label": f"./{name}_label.nii"} for name in "ab"]}
        ...     _ = Path(folder, "dataset.json").write_text(json.dumps(content))
        ...     parts = decathlon_datalist(folder, validation_fraction=0.5)
        >>> {name: [Path(item["mask"]).name for item in items] for name, items in parts.items()}
        {'training': ['a_label.nii'], 'validation': ['b_label.nii']}
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
    """Read all parts of a data list file, and check that the files of one section, or of all, exist."""
    path = root / datalist
    if section not in (None, *_SECTIONS):
        raise ValueError(f"section must be None or one of {_SECTIONS}, got {section!r}.")
    content = _read_json(path)
    found = [name for name in _SECTIONS if content.get(name)]
    if not found:
        raise ValueError(f"{path}: expected a non-empty list {', '.join(_SECTIONS)}, got the keys {list(content)}.")
    _warn_of_other_lists(path, content)
    base = next((b for b in (root, path.parent) if (b / first_image(content[found[0]])).exists()), root)
    parts = {name: read_section(path, name, content[name], base) for name in found}
    name_patients([item for items in parts.values() for item in items])
    parts = _with_validation(parts, validation_fraction, seed)
    if not check:
        return parts
    check_patients(parts, str(path))
    check_images(parts, str(path))
    if section is not None and section not in parts:
        raise ValueError(f"{path}: expected the list {section!r}, got {found}.")
    check_files((item for name in ([section] if section else parts) for item in parts[name]), str(path))
    return parts


def _with_validation(parts: dict[str, list[dict[str, Any]]], fraction: float, seed: int) -> dict[str, Any]:
    """Draw the validation part from the training part if there is none."""
    if "training" in parts and "validation" not in parts:
        parts = {**parts, **split_by_patient(parts["training"], fraction, seed)}
    return {"training": [], "validation": [], **parts}


def _read_json(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise ValueError(f"datalist {path}: expected a JSON file, got {'a folder' if path.exists() else 'nothing'}.")
    content = path.read_bytes()
    if not content.strip():
        raise ValueError(f"datalist {path}: expected JSON, got an empty file.")
    try:
        # From bytes, json detects UTF-8, UTF-16 and UTF-32, each with or without a byte order mark.
        parsed = json.loads(content, object_pairs_hook=_without_duplicates)
    except UnicodeDecodeError as error:
        raise ValueError(
            f"datalist {path}: expected a text file in UTF-8 or UTF-16, got other bytes; save it as UTF-8 ({error})."
        ) from error
    except ValueError as error:
        raise ValueError(f"datalist {path}: expected JSON, got {error}.") from error
    except RecursionError as error:
        raise ValueError(f"datalist {path}: expected JSON, got lists nested too deeply.") from error
    if not isinstance(parsed, dict):
        raise ValueError(
            f'datalist {path}: expected an object such as {{"training": [...], "validation": [...]}}, got a '
            f"{type(parsed).__name__}."
        )
    return parsed


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Make an object of a JSON file. Python would silently take the last of two values under one key."""
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
