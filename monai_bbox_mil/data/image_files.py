# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
"""Search for images: files of common types, and folders of DICOM slices."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from monai_bbox_mil.annotations.dicom_geometry import dicom_volume
from monai_bbox_mil.annotations.dicom_headers import holds_images, image_headers, list_series
from monai_bbox_mil.runs.texts import first_few

__all__ = ["IMAGE_EXTENSIONS", "MASK_SUFFIXES", "find_images", "image_stem"]

IMAGE_EXTENSIONS = (
    ".nii.gz", ".nii", ".mhd", ".mha", ".nrrd", ".nhdr", ".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".npy",
    ".dcm",
)  # fmt: skip
"""Endings of the files that :func:`find_images` takes for images, in upper or lower case; ``.dcm`` for DICOM series."""

MASK_SUFFIXES = (
    "_segmentation", "_seg", "_mask", "_label", "_pred", "-segmentation", "-seg", "-mask", "-label", ".seg",
)  # fmt: skip
"""Endings of the names, before the extension, that :func:`find_images` takes for masks or predictions."""


def find_images(
    folder: str | os.PathLike[str],
    extensions: Sequence[str] = IMAGE_EXTENSIONS,
    mask_suffixes: Sequence[str] = MASK_SUFFIXES,
) -> list[dict[str, Any]]:
    """List all images directly in a folder, sorted by name, as image-only items for inference.

    Masks and predictions that lie beside the images, such as PROMISE12's ``CaseNN_segmentation.mhd``, must not be
    segmented as images. So files whose name ends in one of ``mask_suffixes`` are skipped, and so are hidden files.

    A DICOM series is one image, and its path is the series' folder. If the extensions include ``.dcm``, ``folder``
    and each folder below it are searched for series. Slices are recognised by content, not by name; SEG and RTDOSE
    files are not slices. In a folder of files that form no volume, such as X-rays or multi-frame files, each file
    whose name ends in ``.dcm`` is an image.

    Args:
        folder: folder to search. The folders below are searched only for DICOM slices.
        extensions: endings of images, in upper or lower case.
        mask_suffixes: endings of names, before the extension, of files that are not images; ``()`` to skip none.

    Returns:
        a list of ``{"image": path}``.

    Raises:
        ValueError: if the folder does not exist, no image is left, or a folder has DICOM slices that do not form a
            single image, such as those of several series.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     for name in ("b.nii.gz", "a.mhd", "a.raw", "a_segmentation.mhd"):
        ...         _ = Path(folder, name).write_bytes(b"")
        ...     [Path(item["image"]).name for item in find_images(folder)]
        ['a.mhd', 'b.nii.gz']
    """
    root = Path(os.path.abspath(folder))
    if not root.is_dir():
        raise ValueError(
            f"folder {root}: expected a folder with images, got {'a file' if root.exists() else 'nothing'}."
        )
    endings = tuple(extension.lower() for extension in extensions)
    single = tuple(ending for ending in endings if ending != ".dcm")
    here = [path for path in sorted(root.iterdir()) if not path.name.startswith(".")]
    images = [path for path in here if path.is_file() and path.name.lower().endswith(single)]
    if ".dcm" in endings:
        for path in (root, *here):
            if path.is_dir() and holds_images(path):
                images += _dicom_images(path)
    suffixes = tuple(mask_suffixes)
    kept = [path for path in images if path == root or not image_stem(path, endings).lower().endswith(suffixes)]
    if not kept:
        raise ValueError(
            f"folder {root}: expected images ending in {', '.join(endings)}, got none"
            + (f" but {len(images)} passed over as masks: {first_few([p.name for p in images])}." if images else ".")
        )
    return [{"image": str(path)} for path in sorted(kept)]


def image_stem(path: Path, extensions: Sequence[str] = IMAGE_EXTENSIONS) -> str:
    """Return the name of an image without its extension; the name of a folder, a DICOM series, is kept whole.

    Example:
        >>> image_stem(Path("images/case.1.nii.gz"))
        'case.1'
    """
    if path.is_dir():
        return path.name
    ending = max((e for e in extensions if path.name.lower().endswith(e)), key=len, default=path.suffix)
    return path.name[: len(path.name) - len(ending)]


def _dicom_images(folder: Path) -> list[Path]:
    """Return the folder if its DICOM slices are one image, its files if each is an image of its own."""
    headers = image_headers(folder)
    alone = [header.frames > 1 or "ImagePositionPatient" not in header.tags for header in headers]
    if len(headers) > 1 and all(alone) and len(list_series(headers)) == len(headers):
        files = [header.path for header in headers]
        if all(path.suffix.lower() == ".dcm" for path in files):
            return files
    dicom_volume(folder)  # raises unless it is a single image, before other images are segmented
    return [folder]
