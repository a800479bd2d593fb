# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
"""Turn a file or an annotation in memory into content that a format's reader takes."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from monai_bbox_mil.annotations.formats import FORMATS, formats_of_file, recognise_format
from monai_bbox_mil.annotations.guard import errors_with_name
from monai_bbox_mil.annotations.interface import AnnotationFormat
from monai_bbox_mil.annotations.tables import TABLES, Loaded

__all__ = ["holds_boxes", "open_annotation"]


def open_annotation(source: Any, format: str, image: str) -> tuple[str, AnnotationFormat, Any]:
    """Return a name for messages, the format, and the content for the format's ``read``.

    Args:
        source: path of a file, a mapping, or a list of boxes.
        format: ``"auto"``, or a name of :data:`.FORMATS`.
        image: name of the image, which names an annotation in memory.

    Raises:
        TypeError: when ``source`` is none of these.
        ValueError, OSError: when the format is unknown, or the file cannot be read in it.

    Example:
        >>> name, found, _ = open_annotation({"box": []}, "auto", "a.nii.gz")
        >>> name, found.name
        ('inline annotation of a.nii.gz', 'json')
    """
    if format != "auto" and format not in FORMATS:
        raise ValueError(f"format must be one of {('auto', *FORMATS)}, got {format!r}.")
    if isinstance(source, (str, os.PathLike)):
        path = Path(source)
        formats = formats_of_file(source) if format == "auto" else [FORMATS[format]]
        name = str(path)
        with errors_with_name(name):
            return (name, *TABLES.load(path, format, lambda: _parse(path, formats, name, format == "auto")))
    if not isinstance(source, (Mapping, Sequence, np.ndarray, Tensor)) or isinstance(source, bytes):
        raise TypeError(f"source must be a path, a mapping or a list of boxes, got {type(source).__name__}.")
    name = f"inline annotation of {image}"
    formats = [known for known in FORMATS.values() if known.inline] if format == "auto" else [FORMATS[format]]
    if not formats[0].inline:
        raise ValueError(f"{name}: format {format!r} is read from files only, got a {type(source).__name__}.")
    with errors_with_name(name):
        return (name, *_index(source, formats, name, format == "auto"))


def holds_boxes(path: str | os.PathLike[str]) -> AnnotationFormat | None:
    """Return the format of a file that is meant to hold boxes, or ``None`` for any other JSON, text or CSV file.

    Raises:
        ValueError, OSError: when the file cannot be parsed.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     sidecar, labels = Path(folder, "a.json"), Path(folder, "a.txt")
        ...     _ = sidecar.write_text('{"RepetitionTime": 2}'), labels.write_text("0 0.5 0.5 0.1 0.1")
        ...     holds_boxes(sidecar), holds_boxes(labels).name
        (None, 'yolo')
    """
    formats = formats_of_file(path)
    content = formats[0].parse(Path(path))
    for format in formats:
        if format.recognise(content):
            return format if format.resembles is None or format.resembles(content) else None
    return None


def _parse(path: Path, formats: list[AnnotationFormat], name: str, recognise: bool) -> Loaded:
    return _index(formats[0].parse(path), formats, name, recognise)


def _index(content: Any, formats: list[AnnotationFormat], name: str, recognise: bool) -> Loaded:
    found = recognise_format(content, formats, name) if recognise else formats[0]
    return found, content if found.by_image is None else found.by_image(content, name)
