# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
"""Export predictions to DICOM SEG, as a new series beside the one that was predicted."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.sr.codedict import codes
from pydicom.uid import generate_uid

from monai_bbox_mil import __version__
from monai_bbox_mil.annotations.dicom_geometry import DicomVolume, dicom_volume
from monai_bbox_mil.annotations.dicom_headers import holds_images, is_dicom
from monai_bbox_mil.annotations.dicom_series import require_dicom
from monai_bbox_mil.exports.interface import FilePerImage
from monai_bbox_mil.exports.prediction import Prediction

__all__ = ["DicomSegExport"]

# How far, in voxels, the prediction may be off its image.
_OFF_VOX = 0.05
_NAME = "monai_bbox_mil"
_NEEDED = ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "SOPClassUID", "FrameOfReferenceUID")
_MAY_BE_EMPTY = (
    "AccessionNumber", "StudyID", "StudyDate", "StudyTime", "PatientName", "PatientID", "PatientBirthDate",
    "PatientSex", "ReferringPhysicianName",
)  # fmt: skip
# A label in DICOM: at most 64 characters, and a backslash would end it.
_LONGEST = 64
_UNFIT = re.compile(r"[\\\x00-\x1f\x7f\ud800-\udfff]")


class DicomSegExport(FilePerImage):
    """DICOM SEG, ``dicom_seg/NAME.dcm``: a binary segment per class, on the slices of the predicted series.

    It needs the extra ``dicom``. Segments are numbered 1, 2, .. in the order of the classes and labelled with their
    names. They refer to the slices and belong to the study and patient of the image. Their category is "Anatomical
    Structure" whatever the class, as only its name is known.

    Raises:
        OptionalImportError: when ``highdicom`` is not installed.
        ValueError: for a class whose name DICOM cannot hold; for an image that is not a DICOM series with known
            positions, or in another grid than the prediction.
    """

    name: ClassVar[str] = "dicom_seg"
    suffix: ClassVar[str] = ".dcm"
    needs_mm: ClassVar[bool] = True

    def _prepare(self, class_names: Sequence[str]) -> None:
        super()._prepare(class_names)
        self._highdicom = require_dicom("highdicom")
        unfit = [name for name in self.class_names if len(name) > _LONGEST or _UNFIT.search(name)]
        if unfit:
            raise ValueError(
                f"export dicom_seg: expected class_names of at most {_LONGEST} characters without backslashes and "
                f"control characters, which DICOM cannot hold, got {unfit}."
            )

    def _write(self, prediction: Prediction, path: Path) -> None:
        volume = _volume(prediction)
        files = dict.fromkeys(each.path for each in volume.slices)
        gap_mm = float(np.linalg.norm(volume.affine[:3, 2]))
        sources = [_header(file, gap_mm) for file in files]
        frames = _frames(prediction, volume)
        segmentation = self._highdicom.seg.Segmentation(
            source_images=sources,
            pixel_array=frames,
            segmentation_type=self._highdicom.seg.SegmentationTypeValues.BINARY,
            segment_descriptions=self._descriptions(),
            series_instance_uid=generate_uid(),
            series_number=1000 + int(sources[0].get("SeriesNumber") or 0),
            sop_instance_uid=generate_uid(),
            instance_number=1,
            manufacturer=_NAME,
            manufacturer_model_name=_NAME,
            software_versions=__version__,
            device_serial_number="0",
            content_description="Predicted segmentation",
            # A SEG has at least one frame.
            omit_empty_frames=bool(frames.any()),
        )
        segmentation.SeriesDescription = "Predicted segmentation"
        segmentation.save_as(path)

    def _descriptions(self) -> list[Any]:
        algorithm = self._highdicom.AlgorithmIdentificationSequence(
            name=_NAME, version=__version__, family=codes.cid7162.ArtificialIntelligence
        )
        return [
            self._highdicom.seg.SegmentDescription(
                segment_number=number,
                segment_label=name,
                segmented_property_category=codes.cid7150.AnatomicalStructure,
                segmented_property_type=codes.cid7150.AnatomicalStructure,
                algorithm_type=self._highdicom.seg.SegmentAlgorithmTypeValues.AUTOMATIC,
                algorithm_identification=algorithm,
            )
            for number, name in enumerate(self.class_names, start=1)
        ]


def _header(path: Path, gap_mm: float) -> pydicom.Dataset:
    """Read a file without its pixels, with what a SEG takes from it.

    Texts become UTF-8, which holds the names of patients and classes alike. Tags that de-identification may have
    removed become empty, where the standard allows it.

    Raises:
        ValueError: when one is missing that no SEG can do without.
    """
    header = pydicom.dcmread(path, stop_before_pixels=True)
    header.decode()
    header.SpecificCharacterSet = "ISO_IR 192"
    missing = [name for name in _NEEDED if not header.get(name)]
    if missing:
        raise ValueError(
            f"export dicom_seg: expected {', '.join(missing)} in {path}, to which a SEG refers, got none. Export "
            "seg_nrrd instead."
        )
    for name in _MAY_BE_EMPTY:
        if name not in header:
            setattr(header, name, "")
    if not header.get("SliceThickness") and "SharedFunctionalGroupsSequence" not in header:
        header.SliceThickness = f"{gap_mm:.9g}"
    return header


def _volume(prediction: Prediction) -> DicomVolume:
    """Return the slices of the image, and check that they are those of the prediction."""
    image = Path(prediction.image)
    if not (holds_images(image) if image.is_dir() else image.is_file() and is_dicom(image)):
        raise ValueError(
            f"export dicom_seg: expected an image that is a DICOM series, whose slices a SEG refers to, got {image}. "
            "Export seg_nrrd instead."
        )
    volume = dicom_volume(image)
    if not volume.placed:
        raise ValueError(f"export dicom_seg: expected slices with positions in the patient, got none in {image}.")
    shape = (*prediction.labels.shape, 1)[:3]
    assert prediction.affine is not None  # checked by add
    corners = np.array(np.meshgrid(*((0, size - 1) for size in shape), [1], indexing="ij")).reshape(4, -1)
    off = np.abs(np.linalg.solve(volume.affine, prediction.affine) @ corners - corners).max()
    if shape != volume.shape or off > _OFF_VOX:
        raise ValueError(
            f"export dicom_seg: expected a prediction in the grid of {image}, which has {volume.shape} voxels, got "
            f"{shape} voxels, up to {off:.2f} voxels off. Invert the transforms that moved the image."
        )
    return volume


def _frames(prediction: Prediction, volume: DicomVolume) -> NDArray[np.unsignedinteger[Any]]:
    """Return numbers of segments ``(frames, rows, columns)``, with the frames in the order of the source's."""
    dtype = np.min_scalar_type(len(prediction.class_names))
    numbers: NDArray[np.unsignedinteger[Any]] = np.zeros(volume.shape[::-1], dtype=dtype)
    order = [index if each.frame is None else each.frame for index, each in enumerate(volume.slices)]
    labels = prediction.labels.reshape(volume.shape).T
    for index, frame in enumerate(order):
        for number, value in enumerate(prediction.label_values, start=1):
            numbers[frame][labels[index] == value] = number
    return numbers
