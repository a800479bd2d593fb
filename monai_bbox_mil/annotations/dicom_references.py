# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
"""Find out which image series an RTSTRUCT or SEG was made on, without reading its pixels."""

from __future__ import annotations

import os
from typing import NamedTuple

import pydicom

from monai_bbox_mil.annotations.dicom import rtstruct_references, seg_references
from monai_bbox_mil.annotations.guard import errors_with_name

__all__ = ["DicomReference", "read_reference"]


class DicomReference(NamedTuple):
    """What an RTSTRUCT or SEG says about the images that it was made on."""

    series: set[str]
    """Instance UIDs of their series; empty if it names none."""
    frames: set[str]
    """UIDs of their frames of reference; empty if it names none."""
    names: list[str]
    """Names of its ROIs or segments."""


def read_reference(path: str | os.PathLike[str]) -> DicomReference | None:
    """Read the references of an RTSTRUCT or SEG; return ``None`` for a DICOM file of any other kind.

    Raises:
        ValueError: when the file is damaged.

    Example:
        >>> import tempfile
        >>> from pathlib import Path
        >>> from pydicom import Dataset
        >>> plan = Dataset()
        >>> plan.Modality = "RTPLAN"
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     plan.save_as(Path(folder, "plan.dcm"), implicit_vr=False, little_endian=True)
        ...     read_reference(Path(folder, "plan.dcm")) is None
        True
    """
    with errors_with_name(str(path)):
        dataset = pydicom.dcmread(path, stop_before_pixels=True, force=True)
        modality = dataset.get("Modality")
        if modality == "SEG":
            frames, listed = seg_references(dataset)
            names = [str(item.get("SegmentLabel", "")) for item in dataset.get("SegmentSequence", [])]
        elif modality == "RTSTRUCT":
            rois = dataset.get("StructureSetROISequence", [])
            frames, listed = rtstruct_references(dataset, [int(roi.ROINumber) for roi in rois])
            names = [str(roi.get("ROIName", "")) for roi in rois]
        else:
            return None
        return DicomReference({str(series.SeriesInstanceUID) for series in listed}, set(map(str, frames)), names)
