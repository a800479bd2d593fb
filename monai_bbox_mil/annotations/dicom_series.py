# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
"""Whether a folder is one DICOM series, and whether a DICOM annotation was made on it."""

from __future__ import annotations

import os
import warnings
from collections.abc import Collection
from pathlib import Path
from typing import Any

import itk
import numpy as np
import torch
from monai.utils import OptionalImportError, optional_import

from monai_bbox_mil.annotations.geometry import LPS_TO_RAS, edge_affine, map_points
from monai_bbox_mil.annotations.interface import Annotation
from monai_bbox_mil.annotations.outlines import QUARTER_PIXEL

__all__ = ["check_one_series", "check_series", "require_dicom"]

_HEADER = ["Rows", "SeriesInstanceUID", "FrameOfReferenceUID", "ImagePositionPatient"]


def require_dicom(name: str) -> Any:
    """A package of the extra ``dicom``.

    Raises:
        OptionalImportError: when it is not installed.

    Example:
        >>> require_dicom("pydicom").__name__
        'pydicom'
    """
    module, found = optional_import(name)
    if not found:
        raise OptionalImportError(f'DICOM annotations need {name}: pip install "monai_bbox_mil[dicom]".')
    return module


def check_one_series(folder: str | os.PathLike[str]) -> None:
    """Refuse a folder of several DICOM series: MONAI reads one of them, with no more than a warning.

    They are counted as MONAI counts them: files of one series that differ in size, such as a scout, are another one.

    Raises:
        ValueError: when there are several.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as empty:
        ...     check_one_series(empty)
    """
    names = itk.GDCMSeriesFileNames.New()
    names.SetUseSeriesDetails(True)
    names.AddSeriesRestriction("0008|0021")
    names.SetDirectory(str(folder))
    firsts = sorted(Path(names.GetFileNames(series)[0]).name for series in names.GetSeriesUIDs())
    if len(firsts) > 1:
        raise ValueError(
            f"{folder}: expected the slices of one DICOM series, got {len(firsts)} series, which begin with "
            f"{', '.join(firsts[:5])}{', ...' if len(firsts) > 5 else ''}; give each a folder of its own."
        )


def check_series(references: Collection[str], series: Collection[str], annotation: Annotation) -> None:
    """Refuse annotations of another series, and a series whose slices are not where the image's affine has them.

    An image that is no DICOM file, such as a converted one, does not say where it comes from and passes. Where image
    and annotations have nothing in common to compare, a warning says that only positions place them.

    Args:
        references: frames of reference of the annotations; none where they do not say.
        series: instance UIDs of the series that they were made on; none where they do not say.
        file: of the annotations.

    Raises:
        ValueError: when they do not fit the image's.

    Example:
        >>> from monai.data import MetaTensor
        >>> from monai_bbox_mil.annotations.frame import image_frame
        >>> in_memory = image_frame(MetaTensor(torch.zeros(1, 4, 4, 2)))
        >>> check_series({"1.2.840"}, set(), Annotation("a.dcm", in_memory, None))  # nothing to compare with
    """
    image = annotation.frame.name
    headers = _slice_headers(annotation.frame.path)
    if not headers:
        return
    found = sorted({str(header.get("SeriesInstanceUID")) for header in headers})
    reference = headers[0].get("FrameOfReferenceUID")
    others = sorted(set(references) - {reference})
    if reference and others:
        raise ValueError(
            f"{annotation.name}: expected the frame of reference {reference} of {image}, got {', '.join(others)}."
        )
    if series and found[0] not in series:
        raise ValueError(
            f"{annotation.name}: expected annotations of the series {found[0]}, which {image} is, got those of "
            f"{', '.join(sorted(series))}."
        )
    if not series and not (reference and references):
        warnings.warn(
            f"{annotation.name}: names neither the series nor the frame of reference that it was made on, so "
            "nothing tells "
            f"whether it belongs to {image}; it is placed by its positions in millimetres.",
            stacklevel=4,
        )
    positions = [header.get("ImagePositionPatient") for header in headers]
    if all(positions):
        _check_slices(np.array(positions, dtype=float), annotation)


def _check_slices(positions: np.ndarray, annotation: Annotation) -> None:
    """Each slice's first pixel, ``(K, 3)`` mm LPS, must be the first pixel of that slice of the image."""
    to_index = torch.linalg.inv(edge_affine(annotation.original_affine())) @ LPS_TO_RAS
    indices = map_points(torch.as_tensor(positions), to_index).numpy() - 0.5
    indices = indices[indices[:, 2].argsort()]
    indices[:, 2] -= np.arange(len(indices))
    off = np.abs(indices).max()
    if off > QUARTER_PIXEL:
        raise ValueError(
            f"{annotation.frame.name}: expected parallel slices at equal distances, got one that is {off:.2f} "
            "voxels from "
            "where the image's affine has it; is a slice missing, or the gantry tilted?"
        )


def _slice_headers(path: str | None) -> list[Any]:
    """Headers of the image's DICOM files; none where it is of another type."""
    pydicom = require_dicom("pydicom")
    root = Path(path) if path is not None else None
    files = [] if root is None or not root.exists() else sorted(root.iterdir()) if root.is_dir() else [root]
    headers = [
        pydicom.dcmread(name, stop_before_pixels=True, specific_tags=_HEADER)
        for name in files
        if name.is_file() and pydicom.misc.is_dicom(name)
    ]
    # What has no pixels, such as an RTSTRUCT beside the slices, is no image.
    return [header for header in headers if "Rows" in header]
