# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
"""Read the headers of DICOM images: which files of a folder are images, and of which series."""

from __future__ import annotations

import collections
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pydicom

from monai_bbox_mil.runs.files import printable

__all__ = ["DicomError", "Header", "holds_images", "image_headers", "is_dicom", "list_series", "series_headers"]

DISTINGUISHING_TAGS = (
    "AcquisitionNumber", "TemporalPositionIdentifier", "TemporalPositionIndex", "TriggerTime",
    "NominalCardiacTriggerDelayTime", "NominalPercentageOfCardiacPhase", "EchoNumbers", "EchoTime", "EffectiveEchoTime",
    "DiffusionBValue", "DiffusionGradientOrientation", "InversionTime", "FlipAngle", "RepetitionTime", "SequenceName",
    "ImageType", "FrameType", "ComplexImageComponent", "ConvolutionKernel", "KVP", "ScanOptions", "ContrastBolusAgent",
    "StackID", "FrameReferenceTime", "AcquisitionDateTime", "FrameAcquisitionDateTime", "AcquisitionTime",
    "ContentTime", "SeriesNumber", "SeriesDescription", "ImageComments", "InstanceNumber",
)  # fmt: skip
"""Tags by which slices at one position may differ, the more informative ones first."""

_TAGS = [
    "SOPClassUID", "SOPInstanceUID", "Modality", "SeriesInstanceUID", "FrameOfReferenceUID", "NumberOfFrames", "Rows",
    "Columns", "SamplesPerPixel", "PhotometricInterpretation", "BitsAllocated", "PixelRepresentation",
    "ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "SpacingBetweenSlices",
    "RescaleSlope", "RescaleIntercept", "RealWorldValueMappingSequence", "DoseGridScaling", "GridFrameOffsetVector",
    "FrameIncrementPointer", "DetectorInformationSequence", "SliceVector", "SharedFunctionalGroupsSequence",
    "PerFrameFunctionalGroupsSequence", *DISTINGUISHING_TAGS,
]  # fmt: skip

# Objects with pixels that are often stored beside the slices of an image without being slices of it.
_NO_IMAGES = ("SEG", "RTDOSE")
_SHOWN = 5


class DicomError(ValueError):
    """A DICOM file or folder is not one image; the message says why.

    Example:
        >>> raise DicomError("case: expected the slices of one DICOM series, got 2.")
        Traceback (most recent call last):
        monai_bbox_mil.annotations.dicom_headers.DicomError: case: expected the slices of one DICOM series, got 2.
    """


class Header(NamedTuple):
    """Header of one file, without its pixels."""

    path: Path
    tags: Any
    """``pydicom.Dataset`` with the tags that say where slices lie and what they show."""

    @property
    def frames(self) -> int:
        """Return how many frames the file has."""
        return max(1, int(self.tags.get("NumberOfFrames") or 1))


def is_dicom(path: str | os.PathLike[str]) -> bool:
    """Return whether a file is DICOM by its content; its name does not matter.

    Older software writes files without the preamble. They are DICOM too if they begin with a DICOM tag.

    Example:
        >>> import tempfile
        >>> with tempfile.NamedTemporaryFile(suffix=".dcm") as file:
        ...     is_dicom(file.name)
        False
    """
    with open(path, "rb") as file:
        start = file.read(132)
    if start[128:] == b"DICM":
        return True
    # A data set without a preamble begins with group 2 or 8 and an element of at most 0x18.
    return len(start) == 132 and start[0] in (2, 8) and start[1] == 0 and start[2] <= 0x18 and start[3] == 0


def image_headers(path: str | os.PathLike[str]) -> list[Header]:
    """Return the headers of the DICOM images in a folder, sorted by name, or the header of one file.

    Files that are not slices are left out: other types, files without pixels (DICOMDIR, RTSTRUCT, presentation state),
    SEG and RTDOSE. Hidden files are left out, too.

    Raises:
        DicomError: for a damaged header.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as empty:
        ...     image_headers(empty)
        []
    """
    return list(_images(Path(path)))


def holds_images(folder: str | os.PathLike[str]) -> bool:
    """Return whether a folder itself contains a DICOM image; folders below it are not searched.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as empty:
        ...     holds_images(empty)
        False
    """
    return next(_images(Path(folder)), None) is not None


def series_headers(path: str | os.PathLike[str]) -> list[Header]:
    """Return the headers of the one DICOM series in a folder, or the header of one file.

    Raises:
        DicomError: when there is no series, or more than one; the message lists them.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as empty:
        ...     series_headers(empty)  # doctest: +ELLIPSIS
        Traceback (most recent call last):
        monai_bbox_mil.annotations.dicom_headers.DicomError: ...: expected DICOM slices in the folder, got none.
    """
    headers = image_headers(path)
    if not headers:
        raise DicomError(f"{path}: {_nothing(Path(path))}")
    series = list_series(headers)
    if len(series) > 1:
        listed = [_describe(uid, members) for uid, members in series.items()]
        more = f"; and {len(listed) - _SHOWN} more" if len(listed) > _SHOWN else ""
        raise DicomError(
            f"{path}: expected the slices of one DICOM series, got {len(series)} series: "
            f"{'; '.join(listed[:_SHOWN])}{more}. Give each series a folder of its own, or delete those that are not "
            "wanted."
        )
    return headers


def list_series(headers: list[Header]) -> dict[str, list[Header]]:
    """Group headers by the UID of their series, in the order of the files.

    Example:
        >>> list_series([])
        {}
    """
    series: dict[str, list[Header]] = {}
    for header in headers:
        series.setdefault(str(header.tags.get("SeriesInstanceUID")), []).append(header)
    return series


def _images(path: Path) -> Iterator[Header]:
    """Yield the files of a folder that are images; a single file may be of any kind that has pixels."""
    files = [path]
    if path.is_dir():
        files = [name for name in sorted(path.iterdir()) if name.is_file() and not name.name.startswith(".")]
    for name in files:
        if is_dicom(name):
            header = _read(name)
            if header is not None and (name == path or header.tags.get("Modality") not in _NO_IMAGES):
                yield header


def _read(path: Path) -> Header | None:
    """Read the header of a file; return ``None`` where it has no pixels."""
    if printable(str(path)) != str(path):
        raise DicomError(f"{str(path)!r}: expected a name in UTF-8, which ITK needs to read DICOM. Rename it.")
    try:
        tags = pydicom.dcmread(path, stop_before_pixels=True, specific_tags=_TAGS, force=True)
        # pydicom parses values on access, and a damaged one raises only then.
        has_pixels = bool(tags.get("Rows")) and bool(tags.get("Columns"))
        if has_pixels:
            collections.deque(tags.iterall(), maxlen=0)
            _ = Header(path, tags).frames
        kind = pydicom.uid.UID(tags.file_meta.get("MediaStorageSOPClassUID") or tags.get("SOPClassUID") or "")
    except Exception as error:  # pydicom raises almost any exception for a damaged file
        said = " ".join(str(error).split())
        raise DicomError(
            f"{path}: expected a readable DICOM header, got {type(error).__name__}: {said:.200}"
        ) from error
    if has_pixels:
        return Header(path, tags)
    if not kind or kind.name.endswith("Image Storage"):
        raise DicomError(f"{path}: expected Rows and Columns in the header of an image, got none; the file is damaged.")
    return None


def _describe(uid: str, headers: list[Header]) -> str:
    tags = headers[0].tags
    number, description = tags.get("SeriesNumber"), tags.get("SeriesDescription")
    about = [str(tags.get("Modality") or "")]
    about += [f"number {number}"] if number is not None else []
    about += [repr(str(description))] if description else []
    count = f"{len(headers)} file{'s' if len(headers) > 1 else ''}"
    return f"{uid} ({', '.join([*filter(None, about), count])}, the first {headers[0].path.name})"


def _nothing(path: Path) -> str:
    """Say what is there instead of an image."""
    if not path.is_dir():
        return "expected a DICOM image, got a DICOM file without pixels, such as an RTSTRUCT."
    below = [name.name for name in sorted(path.iterdir()) if name.is_dir() and holds_images(name)]
    there = f" Slices lie in the folders below it: {', '.join(below[:_SHOWN])}. Name one of them." if below else ""
    return f"expected DICOM slices in the folder, got none.{there}"
