# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
"""MONAI reader of DICOM images, with positions and values from the headers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import itk
import numpy as np
from monai.config import PathLike
from monai.data import ITKReader
from monai.utils import ensure_tuple

from monai_bbox_mil.annotations.dicom_geometry import DicomVolume, dicom_volume
from monai_bbox_mil.annotations.dicom_headers import DicomError, image_headers, is_dicom
from monai_bbox_mil.annotations.dicom_slices import DicomSlice

__all__ = ["DicomReader"]

# float32 holds whole numbers up to here, and an image becomes float32 in the end: no second copy of a large volume.
_EXACT = 1 << 24


class _DicomImage:
    """A volume ``(columns, rows, slices[, colours])`` and where it lies."""

    def __init__(self, volume: DicomVolume) -> None:
        self.volume = volume
        self.array = _values(volume)


class DicomReader(ITKReader):
    """MONAI's ``ITKReader``, with a geometry of its own for DICOM.

    ITK decodes the pixels and the geometry is :func:`~monai_bbox_mil.annotations.dicom_geometry.dicom_volume`'s. Values
    are those that the headers' slope and intercept make of the stored ones, each slice's or frame's own. As in viewers,
    MONOCHROME1 is inverted and a palette becomes RGB. Files of other types are read as ITKReader reads them.

    Example:
        >>> DicomReader().verify_suffix("a.nii.gz")
        False
    """

    def verify_suffix(self, filename: Sequence[PathLike] | PathLike) -> bool:
        """Return whether one of the files is a folder or, by its content, a DICOM file."""
        return any(_is_ours(Path(name)) for name in ensure_tuple(filename))

    def read(self, data: Sequence[PathLike] | PathLike, **kwargs: Any) -> Any:
        """Read a folder or a file, or several that become channels.

        Raises:
            DicomError: when the slices make no single image, see ``dicom_volume``; for what is no image, such as a SEG;
                for pixels that cannot be decoded.
        """
        names = [Path(name) for name in ensure_tuple(data)]
        images = [_read(name) if _is_ours(name) else super(DicomReader, self).read(name, **kwargs) for name in names]
        return images if len(images) > 1 else images[0]

    def _get_meta_dict(self, img: Any) -> dict[str, Any]:
        if not isinstance(img, _DicomImage):
            return super()._get_meta_dict(img)
        return {"spacing": np.linalg.norm(img.volume.affine[:3, :3], axis=0)}

    def _get_affine(self, img: Any, lps_to_ras: bool = True) -> np.ndarray:
        if not isinstance(img, _DicomImage):
            return np.asarray(super()._get_affine(img, lps_to_ras))
        affine = img.volume.affine
        return affine.copy() if lps_to_ras else np.asarray(np.diag([-1.0, -1.0, 1.0, 1.0]) @ affine)

    def _get_spatial_shape(self, img: Any) -> np.ndarray:
        return np.asarray(img.volume.shape) if isinstance(img, _DicomImage) else super()._get_spatial_shape(img)

    def _get_array_data(self, img: Any) -> np.ndarray:
        return img.array if isinstance(img, _DicomImage) else super()._get_array_data(img)


def _is_ours(path: Path) -> bool:
    return path.is_dir() or (path.is_file() and is_dicom(path))


def _read(path: Path) -> _DicomImage:
    if path.is_file() and any(header.tags.get("Modality") == "SEG" for header in image_headers(path)):
        raise DicomError(
            f"{path}: expected an image or a mask, got a DICOM SEG, whose frames may overlap or be left out. Name it "
            "as a box file (box in a data list), or convert it to NIfTI, for example with segimage2itkimage of dcmqi."
        )
    return _DicomImage(dicom_volume(path))


def _values(volume: DicomVolume) -> np.ndarray:
    """Read the values of all slices, with the axes of MONAI's ITKReader."""
    if all(each.rescale is not None and each.rescale[0] == 0 for each in volume.slices):
        raise DicomError(
            f"{volume.path}: expected a RescaleSlope other than 0, got 0, which leaves nothing of the image."
        )
    columns, rows, depth = volume.shape
    of_file: dict[Path, list[tuple[int, DicomSlice]]] = {}
    for index, each in enumerate(volume.slices):
        of_file.setdefault(each.path, []).append((index, each))
    frames = {header.path: header.frames for header in volume.headers}
    values: np.ndarray | None = None
    for path, members in of_file.items():
        stored, slope, intercept = _decode(path)
        if values is None:
            dtype = np.dtype(np.float32) if _fits_float32(volume) else stored.dtype
            values = np.empty((depth, rows, columns, *stored.shape[3:]), dtype)
        expected = (frames[path], *values.shape[1:])
        if stored.shape != expected:
            raise DicomError(f"{path}: expected pixels of the shape {expected}, got {stored.shape}.")
        for index, each in members:
            values[index] = _rescaled(stored[each.frame or 0], (slope, intercept), each.rescale)
    assert values is not None  # a volume has slices
    return values.T if values.ndim == 3 else np.moveaxis(values.T, 0, -1)


def _fits_float32(volume: DicomVolume) -> bool:
    """Return whether float32 is precise enough; it is not for large whole numbers, such as labels of 32 bits."""
    bits = max(int(header.tags.get("BitsAllocated") or 16) for header in volume.headers)
    scales = [each.rescale or (1.0, 0.0) for each in volume.slices]
    whole = all(slope.is_integer() and intercept.is_integer() for slope, intercept in scales)
    return not whole or max(abs(slope) * 2.0**bits + abs(intercept) for slope, intercept in scales) <= _EXACT


def _decode(path: Path) -> tuple[np.ndarray, float, float]:
    """Read the values ``(frames, rows, columns[, 3])`` of a file with ITK, and the slope and intercept it used."""
    reader = itk.GDCMImageIO.New()
    try:
        array = itk.array_from_image(itk.imread(str(path), imageio=reader))
    except RuntimeError as error:
        said = " ".join(str(error).split())
        raise DicomError(f"{path}: expected pixels that ITK can decode, got: {said:.300}") from error
    return array, float(reader.GetRescaleSlope()), float(reader.GetRescaleIntercept())


def _rescaled(values: np.ndarray, used: tuple[float, float], wanted: tuple[float, float] | None) -> np.ndarray:
    """Apply the header's slope and intercept where ITK used others, as for MR, or the first frame's."""
    if wanted is None or wanted == used:
        return values
    stored = np.rint((values.astype(np.float64) - used[1]) / used[0])
    return stored * wanted[0] + wanted[1]
