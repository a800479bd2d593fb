# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
"""Check that a DICOM image lies where its headers say, and that a DICOM annotation was made on it."""

from __future__ import annotations

import os
import warnings
from collections.abc import Collection, Set
from typing import Any

import numpy as np
import torch
from monai.utils import OptionalImportError, optional_import

from monai_bbox_mil.annotations.dicom_geometry import DicomVolume, dicom_volume
from monai_bbox_mil.annotations.dicom_headers import DicomError, holds_images, image_headers, is_dicom
from monai_bbox_mil.annotations.frame import ImageFrame
from monai_bbox_mil.annotations.geometry import LPS_TO_RAS, edge_affine, map_points
from monai_bbox_mil.annotations.interface import Annotation
from monai_bbox_mil.annotations.outlines import QUARTER_PIXEL

__all__ = ["check_dicom_image", "check_series", "require_dicom"]


def require_dicom(name: str) -> Any:
    """Import a package of the extra ``dicom``.

    Raises:
        OptionalImportError: when it is not installed.

    Example:
        >>> require_dicom("highdicom").__name__
        'highdicom'
    """
    module, found = optional_import(name)
    if not found:
        raise OptionalImportError(f'A DICOM SEG needs {name}: pip install "monai_bbox_mil[dicom]".')
    return module


def check_dicom_image(frame: ImageFrame) -> None:
    """Refuse an image whose DICOM slices do not form one volume, or do not lie where its affine says.

    An image of another type, or one in memory, passes.

    Raises:
        DicomError: as :func:`~monai_bbox_mil.annotations.dicom_geometry.dicom_volume`; or when a reader other than
            :class:`~monai_bbox_mil.transforms.LoadCheckedImage` gave the image a wrong affine.

    Example:
        >>> from monai.data import MetaTensor
        >>> from monai_bbox_mil.annotations.frame import image_frame
        >>> check_dicom_image(image_frame(MetaTensor(torch.zeros(1, 4, 4, 2))))
    """
    if frame.path is None or not _is_dicom_image(frame.path):
        return
    volume = dicom_volume(frame.path)
    if volume.placed and frame.original_affine is not None:
        _check_affine(volume, frame)


def check_series(
    references: Collection[str], series: Collection[str], instances: Set[str], annotation: Annotation
) -> None:
    """Refuse annotations that were made on another series than the image.

    An image that is not DICOM, such as a converted one, does not name its source, and passes. Where image and
    annotations share nothing that can be compared, a warning says that only coordinates place them.

    An image that was converted to one multi-frame file has a new series, but names the slices it was made from.

    Args:
        references: the annotations' frames of reference; empty if they name none.
        series: instance UIDs of the series that they were made on; empty if they name none.
        instances: instance UIDs of the slices that they were made on; empty if they name none.
        annotation: the annotation, which names its image.

    Raises:
        ValueError: when these do not match the image.

    Example:
        >>> from monai.data import MetaTensor
        >>> from monai_bbox_mil.annotations.frame import image_frame
        >>> in_memory = image_frame(MetaTensor(torch.zeros(1, 4, 4, 2)))
        >>> check_series({"1.2.840"}, set(), set(), Annotation("a.dcm", in_memory, None))  # nothing to compare with
    """
    image = annotation.frame.name
    if annotation.frame.path is None or not _is_dicom_image(annotation.frame.path):
        return
    headers = image_headers(annotation.frame.path)
    tags = headers[0].tags
    found, reference = str(tags.get("SeriesInstanceUID")), tags.get("FrameOfReferenceUID")
    others = sorted(set(references) - {reference})
    if reference and others:
        raise ValueError(
            f"{annotation.name}: expected the frame of reference {reference} of {image}, got {', '.join(others)}."
        )
    if series and found not in series and not instances & _sources(headers[0].tags):
        raise ValueError(
            f"{annotation.name}: expected annotations of the series {found}, which {image} is, got those of "
            f"{', '.join(sorted(series))}."
        )
    if not series and not (reference and references):
        warnings.warn(
            f"{annotation.name}: names neither the series nor the frame of reference that it was made on, so it "
            f"cannot be checked whether it belongs to {image}. It is placed by its positions in millimetres.",
            stacklevel=4,
        )


def _sources(tags: Any) -> set[str]:
    """Return the instance UIDs of the slices that a multi-frame file was converted from."""
    return {
        str(source.get("ReferencedSOPInstanceUID"))
        for frame in tags.get("PerFrameFunctionalGroupsSequence") or ()
        for source in frame.get("ConversionSourceAttributesSequence") or ()
    }


def _is_dicom_image(path: str) -> bool:
    return holds_images(path) if os.path.isdir(path) else os.path.isfile(path) and is_dicom(path)


def _check_affine(volume: DicomVolume, frame: ImageFrame) -> None:
    """Check that the first pixel of each slice is where the image has one; its slices may run either way."""
    assert frame.original_affine is not None  # checked by the caller
    to_index = torch.linalg.inv(edge_affine(frame.original_affine)) @ LPS_TO_RAS
    positions = np.array([each.position for each in volume.slices])
    indices = map_points(torch.as_tensor(positions), to_index).numpy() - 0.5
    indices = indices[indices[:, 2].argsort()]
    indices[:, 2] -= np.arange(len(indices))
    off = np.abs(indices).max()
    if off > QUARTER_PIXEL:
        raise DicomError(
            f"{frame.name}: expected slices where the DICOM headers have them, got an affine that is {off:.2f} "
            "voxels off. Load the image with monai_bbox_mil.transforms.LoadCheckedImage."
        )
