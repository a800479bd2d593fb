# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
"""Data list of a YOLO folder: ``data.yaml``, and a text file in ``labels/`` for each image in ``images/``."""

from __future__ import annotations

import os
import warnings
from pathlib import Path
from typing import Any

from monai_bbox_mil.annotations.parsing import parse_text
from monai_bbox_mil.annotations.values import shown
from monai_bbox_mil.annotations.yolo_names import find_yaml, names_of_yaml, read_yaml
from monai_bbox_mil.data.datalist_entries import name_patients
from monai_bbox_mil.data.folder_layouts.files import PICTURES, walk
from monai_bbox_mil.data.image_files import image_stem
from monai_bbox_mil.runs.texts import first_few

__all__ = ["yolo_datalist"]

_KEYS = {"train": "training", "val": "validation", "test": "test"}


def yolo_datalist(dataset_dir: str | os.PathLike[str]) -> dict[str, list[dict[str, Any]]] | None:
    """Make the data list of a folder with a ``data.yaml``, or a YAML file of another name with the same keys.

    ``train``, ``val`` and ``test`` are folders, or text files that list images; each may be a list of them. They are
    relative to ``path``, where that exists, or to the folder. The boxes of ``images/train/a.png`` are in
    ``labels/train/a.txt``; those of an image in a folder of another name lie beside it. An image without a text file
    has no object. In a ``test`` part without any text file, the images have no annotation.

    Args:
        dataset_dir: folder with the YAML file.

    Returns:
        parts of items with ``image``, ``box`` and ``patient``: ``"training"``, and others where the YAML file names
        them; ``None`` where there is no such YAML file.

    Raises:
        ValueError: when the YAML file or what it names is malformed or absent, or no training image has boxes.

    Example:
        >>> from tempfile import TemporaryDirectory
        >>> with TemporaryDirectory() as folder:
        ...     for name in ("images/a.png", "images/b.png", "labels/a.txt"):
        ...         Path(folder, name).parent.mkdir(exist_ok=True)
        ...         Path(folder, name).touch()
        ...     _ = Path(folder, "data.yaml").write_text("{train: images, val: images, names: [cell]}")
        ...     items = yolo_datalist(folder)["training"]
        >>> [Path(item["box"]).name if isinstance(item["box"], str) else item["box"] for item in items]
        ['a.txt', {'box': []}]
    """
    root = Path(os.path.abspath(dataset_dir))
    file = find_yaml(root)
    if file is None:
        return None
    content = read_yaml(file)
    names_of_yaml(file)
    images = {part: _images(file, key, content) for key, part in _KEYS.items() if content.get(key)}
    training = images.pop("training", [])
    if not training:
        raise ValueError(f"{file}: expected images under train, got none in {shown(content.get('train'))}.")
    if images.get("validation") == training:
        # As in ultralytics' smallest examples. A validation part is drawn instead.
        del images["validation"]
    parts = {"training": training, **{part: paths for part, paths in images.items() if paths}}
    labels = {part: [_label_file(path) for path in paths] for part, paths in parts.items()}
    for part, paths in labels.items():
        if part != "test" and not any(path.is_file() for path in paths):
            raise ValueError(
                f"{file}: expected a text file with boxes for images of {part}, got none of {len(paths)}, such as "
                f"{paths[0]}."
            )
    items = {
        part: [
            {"image": str(image), **_box(label, any(path.is_file() for path in labels[part])), "patient": None}
            for image, label in zip(paths, labels[part], strict=True)
        ]
        for part, paths in parts.items()
    }
    name_patients([item for part in items.values() for item in part])
    return items


def _box(label: Path, annotated: bool) -> dict[str, Any]:
    if label.is_file():
        return {"box": str(label)}
    return {"box": {"box": []}} if annotated else {}


def _images(file: Path, key: str, content: Any) -> list[Path]:
    """Return the images of one part, each once."""
    named = content[key] if isinstance(content[key], list) else [content[key]]
    if not all(isinstance(entry, str) for entry in named):
        raise ValueError(f"{file}: expected {key} to be a folder, a text file or a list of them, got {shown(named)}.")
    base = content.get("path")
    bases = [file.parent / base, file.parent] if isinstance(base, str) and base else [file.parent]
    found: dict[Path, None] = {}
    for entry in named:
        # Roboflow writes ../train/images for a folder beside the YAML file.
        inside = entry.replace("\\", "/")
        while inside.startswith("../"):
            inside = inside[3:]
        places = [folder / text for text in dict.fromkeys((entry, inside)) for folder in bases]
        place = next((Path(os.path.normpath(place)) for place in places if place.exists()), None)
        if place is None:
            if key == "train":
                raise ValueError(f"{file}: expected the folder or list {key}: {entry}, got nothing at {places[0]}.")
            warnings.warn(f"{file}: {key}: {entry} does not exist, so its images are left out.", stacklevel=5)
            continue
        found.update(dict.fromkeys(_listed(place) if place.is_file() else _in_folder(place)))
    return list(found)


def _in_folder(folder: Path) -> list[Path]:
    return [path for path in walk(folder) if path.name.lower().endswith(PICTURES)]


def _listed(file: Path) -> list[Path]:
    """Return the images that a text file lists, relative to its folder."""
    if file.name.lower().endswith(PICTURES):
        return [file]
    lines = [line.strip().replace("\\", "/") for line in parse_text(file).splitlines()]
    paths = [Path(os.path.normpath(file.parent / line)) for line in lines if line]
    absent = [str(path) for path in paths if not path.is_file()]
    if absent:
        raise ValueError(f"{file}: expected all images to exist, got {len(absent)} missing: {first_few(absent)}.")
    return paths


def _label_file(image: Path) -> Path:
    """Return where the boxes of an image are, whether they exist or not: the last folder images becomes labels."""
    parts = list(image.parts)
    position = next((number for number in reversed(range(len(parts) - 1)) if parts[number] == "images"), None)
    if position is not None:
        parts[position] = "labels"
    return Path(*parts).with_name(f"{image_stem(image)}.txt")
