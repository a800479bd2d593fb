# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
"""Path and integer type of the mask of an image."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

__all__ = [
    "LARGEST_LABEL",
    "check_label_values",
    "label_dtype",
    "largest_label",
    "mask_extension",
    "mask_path",
]

# A lossy format would change a mask's values; a DICOM series is many files, each of one slice.
_SAVED_AS = {e: e for e in (".nii.gz", ".nii", ".mhd", ".mha", ".nrrd", ".png")} | {
    ".jpg": ".png", ".jpeg": ".png", ".bmp": ".png", ".dcm": ".nii.gz"
}  # fmt: skip

_BY_ITK = (".mhd", ".mha", ".nrrd")

LARGEST_LABEL = int(np.iinfo(np.uint32).max)
"""The largest value of a mask that any file type holds."""


def mask_path(
    image: str | os.PathLike[str],
    output_dir: str | os.PathLike[str],
    postfix: str = "_segmentation",
    data_root_dir: str | os.PathLike[str] = "",
) -> Path:
    """Return the path where :class:`.SaveLikeInput` writes the mask of an image.

    ``{output_dir}/{name of the image}{postfix}{extension of the image}``, ``.png`` for ``.jpg`` and ``.bmp``,
    ``.nii.gz`` for a DICOM series, whose name is that of its folder. Folders between ``data_root_dir`` and the image
    are repeated below ``output_dir``.

    Args:
        image: file, or folder of a DICOM series.
        output_dir: folder of the masks.
        postfix: put behind the image's name, after one ``_``; ``output_postfix`` of the bundle.
        data_root_dir: folder that the image lies in, at any depth; when empty, no folders are repeated.

    Raises:
        ValueError: for a type of file that cannot be written, for an image that does not lie in ``data_root_dir``, for
            a ``postfix`` that names a folder, and for a path that the writer of the file cannot take.

    Example:
        >>> mask_path("images/a/case1.nii.gz", "masks", data_root_dir="images").as_posix()
        'masks/a/case1_segmentation.nii.gz'
    """
    if not isinstance(postfix, str) or any(part in postfix for part in ("/", "\\", "\0")):
        raise ValueError(
            f"output_postfix (postfix): expected a part of a file's name, such as _segmentation, got {postfix!r}. "
            "Name the folder of the masks by output_dir."
        )
    path = Path(os.path.abspath(image))
    ending = ".dcm" if path.is_dir() else _ending(image)
    stem = path.name if path.is_dir() else path.name[: len(path.name) - len(ending)]
    folder = _folder_below(path, data_root_dir) if os.fspath(data_root_dir) else ""
    postfix = postfix.removeprefix("_")
    name = f"{stem}{'_' if postfix else ''}{postfix}{_SAVED_AS[ending]}"
    mask = Path(os.path.normpath(os.path.join(output_dir, folder, name)))
    # ITK takes names in UTF-8 alone, and a header .mhd has one line for the name of its data.
    unfit = [c for c in str(mask) if "\ud800" <= c <= "\udfff"] if _SAVED_AS[ending] in _BY_ITK else []
    if unfit or (name.endswith(".mhd") and not name.splitlines() == [name]):
        raise ValueError(
            f"{str(mask)!r}: expected a name without line breaks, in UTF-8, which a file {_SAVED_AS[ending]} needs. "
            f"Rename the image {os.fspath(image)!r}, or give another output_dir."
        )
    return mask


def mask_extension(mask: str | os.PathLike[str]) -> str:
    """Return the extension of a mask's file, as :func:`mask_path` gives it.

    Example:
        >>> mask_extension("masks/case.1_segmentation.nii.gz")
        '.nii.gz'
    """
    return _SAVED_AS[_ending(mask)]


def check_label_values(label_values: Sequence[float]) -> tuple[int, ...]:
    """Check the values of the classes in a mask, and return them as whole numbers.

    Raises:
        ValueError: for what is no list of whole numbers that a file can hold.

    Example:
        >>> check_label_values([1, 2035.0])
        (1, 2035)
    """
    known = (int, float, np.integer, np.floating)
    values = list(label_values) if isinstance(label_values, (Sequence, np.ndarray)) else None
    if not values or not all(
        isinstance(value, known) and not isinstance(value, bool) and 0 <= value <= LARGEST_LABEL and value % 1 == 0
        for value in values
    ):
        raise ValueError(
            f"label_values: expected one whole number from 0 to {LARGEST_LABEL} per class, such as [1, 2], got "
            f"{label_values!r}. Masks are written with these values."
        )
    return tuple(int(value) for value in values)


def label_dtype(largest: int) -> torch.dtype:
    """Return the smallest type in memory that can store a mask value; torch computes little with uint16 and uint32.

    Example:
        >>> label_dtype(255), label_dtype(2035)
        (torch.uint8, torch.int32)
    """
    return next(dtype for dtype in (torch.uint8, torch.int32, torch.int64) if largest <= torch.iinfo(dtype).max)


def largest_label(extension: str) -> int:
    """Return the largest value that a mask file with this extension can store.

    Example:
        >>> largest_label(".png"), largest_label(".nii.gz")
        (65535, 4294967295)
    """
    return int(np.iinfo(np.uint16).max) if extension == ".png" else LARGEST_LABEL


def _ending(path: str | os.PathLike[str]) -> str:
    name = os.path.basename(os.fspath(path)).lower()
    ending = next((e for e in _SAVED_AS if name.endswith(e)), None)
    if ending is None:
        raise ValueError(f"{path}: masks can be written for {', '.join(_SAVED_AS)}, not for this file's type.")
    return ending


def _folder_below(path: Path, data_root_dir: str | os.PathLike[str]) -> Path:
    """Return the folder of an image, relative to a folder above it."""
    for follow in (os.path.abspath, os.path.realpath):  # a link below the root may lead out of it
        folder, root = Path(follow(path)), Path(follow(data_root_dir))
        if folder == root:  # a DICOM series
            return Path()
        if root in folder.parents:
            return folder.parent.relative_to(root)
    raise ValueError(
        f"data_root_dir {os.fspath(data_root_dir)}: expected a folder that holds the image {path}. Its mask would be "
        "written outside of output_dir."
    )
