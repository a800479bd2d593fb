# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
"""Which image an entry of an annotation means, for the formats that describe several."""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import Any

from monai_bbox_mil.annotations.interface import Annotation

__all__ = ["image_path", "is_image"]


def is_image(entry: Any, path: str) -> bool:
    """Whether a file name in an annotation, with or without extension, is that of the image."""
    image = PurePosixPath(path.replace("\\", "/")).name
    stem = image.removesuffix(".gz")
    names = (image, stem, PurePosixPath(stem).stem)
    return PurePosixPath(str(entry).strip().replace("\\", "/")).name in names


def image_path(annotation: Annotation) -> str:
    """Path of the image, for the formats that describe several."""
    if annotation.frame.path is None:
        raise ValueError(
            f"{annotation.name}: expected image.meta['filename_or_obj'], which selects the boxes, got none."
        )
    return annotation.frame.path
