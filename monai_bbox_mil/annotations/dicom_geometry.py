# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
"""Find where the slices of a DICOM image lie: one geometry for images, masks, boxes and predictions.

Slices are sorted along the normal of their plane by ``ImagePositionPatient``. They must have one orientation and equal
distances, with one slice at each position. Where the gantry was tilted, slices are shifted against each other in their
plane, and the affine is sheared. A slice that does not fit raises a :class:`DicomError` with the measured values.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import itk
import numpy as np

from monai_bbox_mil.annotations.dicom_differences import how_they_differ, name_groups
from monai_bbox_mil.annotations.dicom_headers import DicomError, Header, series_headers
from monai_bbox_mil.annotations.dicom_slices import DicomSlice, slices_of

__all__ = ["DicomVolume", "dicom_volume"]

# Headers give positions to about a thousandth of a millimetre. Real slices are never that close together.
_SAME_POSITION_MM = 2e-3
_SAME_DIRECTION = 2e-3
# Gaps of 0.6 and 0.7 mm are both 0.625 mm, rounded to a tenth.
_GAP_PART, _GAP_ROUNDED_MM, _GAP_ROUNDED_PART = 0.1, 0.1001, 0.25
_OFF_LINE_VOX = 0.25
# A shift below this, in pixels over the whole volume, is rounding and not a tilt.
_TILT_PIXELS = 0.05


@dataclass(frozen=True, eq=False)
class DicomVolume:
    """The slices of one image, in the order of its last axis.

    Attributes:
        path: folder or file.
        slices: from low to high along the normal of their plane; frames without positions in the order of the file.
        headers: of the files.
        affine: ``(4, 4)`` float64, voxel centres (column, row, slice) to RAS mm.
        shape: columns, rows, slices.
        placed: whether the slices' positions are known. X-rays, ultrasound and secondary captures have none.
    """

    path: Path
    slices: tuple[DicomSlice, ...]
    headers: tuple[Header, ...]
    affine: np.ndarray
    shape: tuple[int, int, int]
    placed: bool


def dicom_volume(path: str | os.PathLike[str]) -> DicomVolume:
    """Find out where the slices of a DICOM image lie.

    Args:
        path: a folder with the slices of one series, or one file with one or more frames.

    Raises:
        DicomError: when they do not make one image: several series, orientations, pixel sizes or frames of reference;
            unequal gaps, for example where a slice is missing; several slices at one position, as in a time series.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as empty:
        ...     dicom_volume(empty)  # doctest: +ELLIPSIS
        Traceback (most recent call last):
        monai_bbox_mil.annotations.dicom_headers.DicomError: ...: expected DICOM slices in the folder, got none.
    """
    path = Path(path)
    headers = series_headers(path)
    frames = [header for header in headers if header.frames > 1]
    if frames and len(headers) > 1:
        raise DicomError(
            f"{path}: expected one file with several frames, or files of one slice, got {len(headers)} files, "
            f"{len(frames)} of them with several frames, such as {frames[0].path.name}. Name one of these files as the "
            "image, or give each a folder of its own."
        )
    slices = [each for header in headers for each in slices_of(header)]
    rows, columns = _one_size(path, headers)
    without = [each for each in slices if each.position is None or each.orientation is None]
    if len(without) == len(slices):
        affine = _unplaced(path, headers)
    else:
        if without:
            raise DicomError(
                f"{path}: expected ImagePositionPatient and ImageOrientationPatient of every slice, got none for "
                f"{len(without)} of {len(slices)}: {_some(without)}. Move these out of the folder."
            )
        slices, affine = _placed(path, slices, (rows, columns))
    return DicomVolume(path, tuple(slices), tuple(headers), affine, (columns, rows, len(slices)), not without)


def _one_size(path: Path, headers: Sequence[Header]) -> tuple[int, int]:
    sizes = [(int(h.tags.Rows), int(h.tags.Columns), int(h.tags.get("SamplesPerPixel") or 1)) for h in headers]
    if len(set(sizes)) > 1:
        groups: dict[str, list[str]] = {}
        for header, (rows, columns, samples) in zip(headers, sizes, strict=True):
            kind = f"{rows} rows x {columns} columns{', in colour' if samples > 1 else ''}"
            groups.setdefault(kind, []).append(header.path.name)
        raise DicomError(_not_alike(path, "size", groups))
    return sizes[0][:2]


def _unplaced(path: Path, headers: Sequence[Header]) -> np.ndarray:
    """Return the affine of pictures without a position in the patient: their pixel size, as ITK gives it."""
    if len(headers) > 1:
        names = [header.path.name for header in headers]
        raise DicomError(
            f"{path}: expected slices with positions (ImagePositionPatient), got {len(names)} files without, "
            f"{_list(names)}. They are separate pictures, not a volume: name each file as an image of its own."
        )
    return np.diag([-1.0, -1.0, 1.0, 1.0]) @ np.diag([*_itk_spacing(headers[0].path), 1.0])


def _placed(path: Path, slices: list[DicomSlice], size: tuple[int, int]) -> tuple[list[DicomSlice], np.ndarray]:
    """Return the slices in order, and the affine (RAS)."""
    spacings = [each.spacing_mm or _itk_spacing(each.path)[1::-1] for each in slices]
    _check_alike(path, slices, spacings)
    row, column = _orientation(slices[0])
    normal = np.cross(row, column)
    positions = np.array([each.position for each in slices])
    order = np.argsort(positions @ normal, kind="stable")
    slices, positions = [slices[index] for index in order], positions[order]
    between_rows, between_columns = spacings[0]
    if len(slices) == 1:
        step = normal * (_itk_spacing(slices[0].path)[2])
    else:
        gaps = np.diff(positions @ normal)
        _check_gaps(path, slices, positions, gaps)
        step = (positions[-1] - positions[0]) / (len(slices) - 1)
        shift = step - (step @ normal) * normal
        if np.linalg.norm(shift) * (len(slices) - 1) <= _TILT_PIXELS * min(spacings[0]):
            step = (step @ normal) * normal
    affine = np.eye(4)
    affine[:3] = np.column_stack([row * between_columns, column * between_rows, step, positions[0]])
    _check_on_line(path, slices, affine, positions, size)
    return slices, np.diag([-1.0, -1.0, 1.0, 1.0]) @ affine


def _check_alike(path: Path, slices: Sequence[DicomSlice], spacings: Sequence[tuple[float, ...]]) -> None:
    """Refuse slices of several frames of reference, orientations or pixel sizes."""
    frames = [each.tags["frame of reference"] for each in slices]
    values = [np.array([float(frames.index(each))]) for each in frames]
    _one_value(path, slices, values, "frame of reference", lambda index: str(frames[index]), 0.5)
    orientations = [_orientation(each).ravel() for each in slices]
    _one_value(path, slices, orientations, "orientation", lambda index: _direction(slices[index]), _SAME_DIRECTION)
    sizes = [np.log(each) for each in spacings]
    _one_value(path, slices, sizes, "pixel size", lambda index: "{:g} x {:g} mm".format(*spacings[index]), 2e-3)


def _one_value(
    path: Path,
    slices: Sequence[DicomSlice],
    values: Sequence[np.ndarray],
    what: str,
    spell: Callable[[int], str],
    tolerance: float,
) -> None:
    """Refuse slices whose values differ, and name the slices of each value."""
    members: dict[int, list[int]] = {}
    for index, value in enumerate(values):
        same = (first for first in members if np.abs(values[first] - value).max() <= tolerance)
        members.setdefault(next(same, index), []).append(index)
    if len(members) > 1:
        groups = {spell(first): [slices[index].name for index in found] for first, found in members.items()}
        raise DicomError(_not_alike(path, what, groups))


def _check_gaps(path: Path, slices: Sequence[DicomSlice], positions: np.ndarray, gaps: np.ndarray) -> None:
    """Refuse several slices at one position, and unequal gaps."""
    together = np.flatnonzero(gaps <= _SAME_POSITION_MM)
    if len(together):
        first, second = slices[together[0]], slices[together[0] + 1]
        where = ", ".join(f"{value:g}" for value in np.round(positions[together[0]], 3))
        apart = len(slices) - len(together)
        raise DicomError(
            f"{path}: expected one slice at each position, got {len(slices)} slices at "
            f"{apart} position{'s' if apart > 1 else ''}: {first.name} and {second.name} are both at ({where}) mm."
            f"{how_they_differ(slices, [first, second])}"
        )
    usual = float(np.sort(gaps)[(len(gaps) - 1) // 2])
    tolerance = max(_GAP_PART * usual, min(_GAP_ROUNDED_MM, _GAP_ROUNDED_PART * usual))
    off = np.abs(gaps - usual)
    if off.max() <= tolerance:
        return
    worst = int(np.flatnonzero(off >= off.max() - _SAME_POSITION_MM)[0])
    between = f"{slices[worst].name} and {slices[worst + 1].name}"
    missing = gaps[worst] / usual - 1
    number = round(missing)
    whole = number >= 1 and abs(missing - number) <= 2 * tolerance / usual
    said = f"{number} slice{'s seem' if number > 1 else ' seems'} to be missing there. " if whole else ""
    others = int((off > tolerance).sum()) - 1
    raise DicomError(
        f"{path}: expected slices at equal distances, got {gaps[worst]:.4g} mm between {between} where "
        f"{usual:.4g} mm is usual"
        f"{f', and {others} more such gaps' if others else ''}. {said}"
        "Export the series again, or resample it to equal distances first."
    )


def _check_on_line(
    path: Path, slices: Sequence[DicomSlice], affine: np.ndarray, positions: np.ndarray, size: tuple[int, int]
) -> None:
    """Refuse a slice that is off the affine's line: small differences add up, and slices may lie side by side."""
    rows, columns = size
    inverse = np.linalg.inv(affine[:3, :3])
    between_rows, between_columns = np.linalg.norm(affine[:3, 1]), np.linalg.norm(affine[:3, 0])
    for across, down in ((0, 0), (columns - 1, 0), (0, rows - 1)):
        moved = [
            across * between_columns * along
            - affine[:3, 0] * across
            + down * between_rows * below
            - affine[:3, 1] * down
            for along, below in map(_orientation, slices)
        ]
        indices = (positions + np.array(moved) - affine[:3, 3]) @ inverse.T
        indices[:, 2] -= np.arange(len(slices))
        off = np.abs(indices).max(axis=1)
        worst = int(off.argmax())
        if off[worst] > _OFF_LINE_VOX:
            x, y, z = np.round(indices[worst], 2)
            raise DicomError(
                f"{path}: expected slices in one line at equal distances, got {slices[worst].name} off the line "
                f"through the first and the last slice by ({x:g}, {y:g}, {z:g}) voxels. Convert the series with "
                "software that resamples it to equal distances."
            )


def _orientation(slice_: DicomSlice) -> np.ndarray:
    assert slice_.orientation is not None  # of a placed slice
    return slice_.orientation


def _direction(slice_: DicomSlice) -> str:
    row, column = _orientation(slice_)
    normal = np.cross(row, column)
    plane = ("sagittal", "coronal", "axial")[int(np.abs(normal).argmax())]
    return f"{plane} ({', '.join(f'{value:.3g}' for value in [*row, *column])})"


def _itk_spacing(path: Path) -> tuple[float, float, float]:
    """Return the distances between columns, rows and slices that ITK reads from the tags for this kind of image."""
    reader = itk.GDCMImageIO.New()
    reader.SetFileName(str(path))
    try:
        reader.ReadImageInformation()
    except RuntimeError as error:
        said = " ".join(str(error).split())
        raise DicomError(f"{path}: expected a DICOM image that ITK can read, got: {said:.300}") from error
    x, y, z = (abs(float(reader.GetSpacing(axis))) or 1.0 for axis in range(3))
    return x, y, z


def _not_alike(path: Path, what: str, groups: dict[Any, list[str]]) -> str:
    return (
        f"{path}: expected slices of one {what}, got {len(groups)}: {name_groups(groups)}. Move the slices that do not "
        "belong to the image to a folder of their own."
    )


def _some(slices: Sequence[DicomSlice]) -> str:
    return _list([each.name for each in slices])


def _list(names: Sequence[str], limit: int = 5) -> str:
    return ", ".join(names[:limit]) + (", ..." if len(names) > limit else "")
