# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
"""Read slices from DICOM files: each frame with its own position, orientation, pixel size and slope."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset

from monai_bbox_mil.annotations.dicom_headers import DISTINGUISHING_TAGS, DicomError, Header

__all__ = ["DicomSlice", "slices_of"]

_SLICE_VECTOR = 0x00540080


@dataclass(frozen=True, eq=False)
class DicomSlice:
    """One slice: a file, or one frame of a file.

    Attributes:
        path: of the file.
        frame: number of the frame in the file, from 0; ``None`` where there is only one.
        position: ``(3,)`` float64, centre of the first pixel, mm LPS; ``None`` where the file does not say.
        orientation: ``(2, 3)`` float64, unit vectors along a row and along a column; ``None`` where unknown.
        spacing_mm: between rows, and between columns; ``None`` where unknown.
        rescale: slope and intercept that turn stored values into real ones; ``None`` where the file has none.
        tags: tags that may distinguish it from other slices at its position.
    """

    path: Path
    frame: int | None
    position: NDArray[np.float64] | None
    orientation: NDArray[np.float64] | None
    spacing_mm: tuple[float, float] | None
    rescale: tuple[float, float] | None
    tags: dict[str, Any]

    @property
    def name(self) -> str:
        """Return a name for messages: the file's, or the frame, counted from 1 as in DICOM."""
        return self.path.name if self.frame is None else f"frame {self.frame + 1}"


def slices_of(header: Header) -> list[DicomSlice]:
    """Return the slices of a file, in the order of its frames.

    Raises:
        DicomError: for invalid tags, such as a position of two numbers.

    Example:
        >>> tags = Dataset()
        >>> tags.ImagePositionPatient, tags.ImageOrientationPatient = [1, 2, 3], [1, 0, 0, 0, 1, 0]
        >>> slices_of(Header(Path("a.dcm"), tags))[0].position
        array([1., 2., 3.])
    """
    tags, count = header.tags, header.frames
    if "MOSAIC" in (tags.get("ImageType") or ()):
        raise DicomError(
            f"{header.path}: expected one slice per frame, got a mosaic, which shows the slices of a volume side by "
            "side. Convert it to NIfTI with dcm2niix."
        )
    groups = _frame_groups(header)
    shared = _flat(next(iter(tags.get("SharedFunctionalGroupsSequence") or ()), Dataset()))
    root = {element.keyword: element.value for element in tags if element.VR != "SQ"}
    frames = [{**root, **shared, **own} for own in groups]
    if count > 1 and not any("ImagePositionPatient" in own or "ImagePositionVolume" in own for own in groups):
        _place_frames(header, frames)
    return [_slice(header, number if count > 1 else None, frame) for number, frame in enumerate(frames)]


def _frame_groups(header: Header) -> list[dict[str, Any]]:
    own = header.tags.get("PerFrameFunctionalGroupsSequence") or ()
    if not own:
        return [{}] * header.frames
    if len(own) != header.frames:
        raise DicomError(
            f"{header.path}: expected PerFrameFunctionalGroupsSequence for {header.frames} frames, got {len(own)}."
        )
    return [_flat(group) for group in own]


def _flat(groups: Dataset) -> dict[str, Any]:
    """Collect the values in one frame's functional groups, whichever group they are in."""
    items = [item for group in groups if group.VR == "SQ" for item in group.value[:1]]
    # One attribute that distinguishes frames lies a level deeper.
    items += [each for item in items for each in (item.get("DiffusionGradientDirectionSequence") or ())[:1]]
    return {element.keyword: element.value for item in items for element in item if element.VR != "SQ"}


def _place_frames(header: Header, frames: list[dict[str, Any]]) -> None:
    """Give frames without a position the one that the whole file implies, if any."""
    tags = header.tags
    detector = _flat(tags) if tags.get("Modality") == "NM" else {}
    place = {name: detector.get(name, tags.get(name)) for name in ("ImagePositionPatient", "ImageOrientationPatient")}
    position = _numbers(place["ImagePositionPatient"], 3, "ImagePositionPatient", header.path)
    orientation = _orientation(place["ImageOrientationPatient"], header.path)
    for frame in frames:
        frame.pop("ImagePositionPatient", None)
    steps = _frame_steps(header)
    if position is None or orientation is None or steps is None:
        return
    normal = np.cross(*orientation)
    for frame, step in zip(frames, steps, strict=True):
        frame["ImagePositionPatient"] = list(position + step * normal)
        frame["ImageOrientationPatient"] = list(orientation.ravel())


def _frame_steps(header: Header) -> NDArray[np.float64] | None:
    """Return each frame's distance from the first along the normal, mm; ``None`` where the file does not say."""
    tags, count = header.tags, header.frames
    offsets = _numbers(tags.get("GridFrameOffsetVector"), count, "GridFrameOffsetVector", header.path)
    if offsets is not None:
        if offsets[0] == 0:
            return offsets
        # Axial doses may give absolute z positions instead of offsets from the first frame.
        orientation = _orientation(tags.get("ImageOrientationPatient"), header.path)
        return None if orientation is None else (offsets - offsets[0]) * np.cross(*orientation)[2]
    spacing = _numbers(tags.get("SpacingBetweenSlices"), 1, "SpacingBetweenSlices", header.path)
    if spacing is None or spacing[0] == 0:
        return None
    if tags.get("Modality") == "NM":
        # Only here does the sign give a direction (DICOM PS3.3, C.8.4.15), and only if frames are slices, not times.
        pointer = tags.get("FrameIncrementPointer")
        pointers = list(pointer) if isinstance(pointer, Sequence) else [pointer]
        if [int(each) for each in pointers if each is not None] not in ([], [_SLICE_VECTOR]):
            return None
        order = _numbers(tags.get("SliceVector"), count, "SliceVector", header.path)
        return np.asarray(spacing[0] * (np.arange(count) if order is None else order - 1))
    if spacing[0] < 0:
        raise DicomError(
            f"{header.path}: expected frames with positions of their own, or SpacingBetweenSlices above 0, got "
            f"{spacing[0]:g}, which does not say in which direction the frames follow each other. Convert the file "
            "with software that knows how its manufacturer uses the sign."
        )
    return np.asarray(spacing[0] * np.arange(count))


def _slice(header: Header, frame: int | None, tags: dict[str, Any]) -> DicomSlice:
    path = header.path
    position = tags.get("ImagePositionPatient") or tags.get("ImagePositionVolume")
    orientation = tags.get("ImageOrientationPatient") or tags.get("ImageOrientationVolume")
    spacing = _numbers(tags.get("PixelSpacing"), 2, "PixelSpacing", path)
    if spacing is not None and spacing.min() <= 0:
        raise DicomError(f"{path}: expected a PixelSpacing above 0, got {spacing.tolist()}.")
    return DicomSlice(
        path=path,
        frame=frame,
        position=_numbers(position, 3, "ImagePositionPatient", path),
        orientation=_orientation(orientation, path),
        spacing_mm=None if spacing is None else (float(spacing[0]), float(spacing[1])),
        rescale=_rescale(tags, path),
        tags={name: str(tags[name]) for name in DISTINGUISHING_TAGS if tags.get(name) not in (None, "")}
        | {"SOPInstanceUID": str(tags.get("SOPInstanceUID")), "frame of reference": tags.get("FrameOfReferenceUID")},
    )


def _rescale(tags: dict[str, Any], path: Path) -> tuple[float, float] | None:
    name = "DoseGridScaling" if tags.get("Modality") == "RTDOSE" else "RescaleSlope"
    slope = _numbers(tags.get(name), 1, name, path)
    intercept = _numbers(tags.get("RescaleIntercept"), 1, "RescaleIntercept", path)
    if slope is None and intercept is None:
        return None
    return 1.0 if slope is None else float(slope[0]), 0.0 if intercept is None else float(intercept[0])


def _orientation(value: Any, path: Path) -> NDArray[np.float64] | None:
    """Return unit vectors ``(2, 3)`` along a row and a column."""
    numbers = _numbers(value, 6, "ImageOrientationPatient", path)
    if numbers is None:
        return None
    directions = numbers.reshape(2, 3)
    lengths = np.linalg.norm(directions, axis=1)
    if np.abs(lengths - 1).max() > 1e-2 or abs(directions[0] @ directions[1]) > 1e-2:
        raise DicomError(
            f"{path}: expected two unit vectors at right angles in ImageOrientationPatient, got {numbers.tolist()}."
        )
    return np.asarray(directions / lengths[:, None])


def _numbers(value: Any, count: int, name: str, path: Path) -> NDArray[np.float64] | None:
    """Return ``count`` finite float64 numbers, or ``None`` where the tag is absent or empty."""
    if value is None or value == "" or (isinstance(value, Sequence) and len(value) == 0):
        return None
    values = list(value) if isinstance(value, Sequence) and not isinstance(value, str) else [value]
    try:
        numbers = np.array([float(each) for each in values], dtype=np.float64)
    except (TypeError, ValueError):
        numbers = np.zeros(0)
    if len(numbers) != count or not np.isfinite(numbers).all():
        raise DicomError(f"{path}: expected {count} finite number(s) in {name}, got {str(value):.80}.")
    return numbers
