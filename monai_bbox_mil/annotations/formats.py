# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
"""The table of annotation formats. A new format is a module with its ``FORMAT``, and a row here."""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import Any

from monai_bbox_mil.annotations import (
    coco,
    csv_table,
    cvat,
    detection_json,
    dicom,
    label_studio,
    slicer_markups,
    yolo,
)
from monai_bbox_mil.annotations.dicom_headers import is_dicom
from monai_bbox_mil.annotations.interface import AnnotationFormat

__all__ = ["FORMATS", "formats_of_file", "recognise_format"]

FORMATS: dict[str, AnnotationFormat] = {
    module.FORMAT.name: module.FORMAT
    # A task of Label Studio has annotations, as COCO has, but COCO has no data.
    for module in (detection_json, slicer_markups, label_studio, coco, yolo, csv_table, cvat, dicom)
}


def formats_of_file(path: str | os.PathLike[str]) -> list[AnnotationFormat]:
    """Return the formats whose files have this extension. A DICOM file may have any name.

    Raises:
        ValueError: when no format has it.

    Example:
        >>> [format.name for format in formats_of_file("a.mrk.json")]
        ['json', 'slicer', 'label_studio', 'coco']
    """
    name = os.fspath(path).lower()
    found = [format for format in FORMATS.values() if name.endswith(format.suffixes)]
    if not found and os.path.isfile(path) and is_dicom(path):
        found = [FORMATS[dicom.FORMAT.name]]
    if not found:
        known = dict.fromkeys(suffix for format in FORMATS.values() for suffix in format.suffixes)
        raise ValueError(
            f"{path}: expected the extension {', '.join(known)} or format=..., got {os.path.splitext(path)[1]!r}."
        )
    return found


def recognise_format(content: Any, formats: Iterable[AnnotationFormat], name: str) -> AnnotationFormat:
    """Return the first of the formats that fits the parsed content.

    Args:
        content: the result of one of the formats' ``parse``, or an annotation in memory.
        formats: the candidates.
        name: of the annotation, for messages.

    Raises:
        ValueError: when none of them fits.

    Example:
        >>> recognise_format({"markups": []}, FORMATS.values(), "a.mrk.json").name
        'slicer'
    """
    candidates = list(formats)
    for format in candidates:
        if format.recognise(content):
            return format
    expected = ", or ".join(format.expects for format in candidates if format.expects)
    got = sorted(map(str, content)) if isinstance(content, dict) else type(content).__name__
    raise ValueError(f"{name}: expected {expected}, got {got}.")
