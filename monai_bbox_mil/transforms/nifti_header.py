# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
"""Where the voxels of a NIfTI file are, and masks that lie where their image lies in every program.

A header may say it twice, in its sform and in its qform, and in another unit than millimetres. NiBabel and MONAI take
the sform and the numbers as they are. ITK, and with it 3D Slicer and ITK-SNAP, converts to millimetres and takes the
qform, unless there is none or the sform's code is 1. So a mask gets both forms of its image, their codes and the unit.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from itertools import product
from typing import Any

import nibabel
import numpy as np
from monai.data import NibabelReader, NibabelWriter
from monai.data.utils import correct_nifti_header_if_necessary, to_affine_nd
from monai.utils import ensure_tuple
from nibabel.filebasedimages import ImageFileError
from nibabel.spatialimages import HeaderDataError

from monai_bbox_mil.annotations.frame import OTHER_AFFINE, WORLD_IS_AMBIGUOUS
from monai_bbox_mil.transforms.voxel_types import few_float32_levels

__all__ = [
    "NiftiLikeWriter",
    "NiftiReader",
    "corner_offset_vox",
    "is_analyze",
    "is_nifti",
    "mm_per_unit",
]

# Forms that differ by rounding or by an orthogonalised direction mean the same.
_SAME_PLACE_VOX = 0.1
_MM_PER_UNIT = {1: 1000.0, 2: 1.0, 3: 0.001}  # metre, millimetre, micrometre
_FORM_FIELDS = (
    "qform_code", "sform_code", "quatern_b", "quatern_c", "quatern_d", "qoffset_x", "qoffset_y", "qoffset_z",
    "srow_x", "srow_y", "srow_z",
)  # fmt: skip


def is_nifti(path: str | os.PathLike[str]) -> bool:
    """Return whether a file or its pair is NIfTI by its name and, for ``.hdr`` and ``.img``, by its header.

    Example:
        >>> is_nifti("a.nii.gz"), is_nifti("a.png")
        (True, False)
    """
    return os.fspath(path).lower().removesuffix(".gz").endswith(".nii") or _is_pair(path, nibabel.Nifti1Pair)


def is_analyze(path: str | os.PathLike[str]) -> bool:
    """Return whether a file belongs to a pair of Analyze, the format that preceded NIfTI.

    Example:
        >>> is_analyze("a.nii.gz")
        False
    """
    return _is_pair(path, nibabel.AnalyzeImage) and not _is_pair(path, nibabel.Nifti1Pair)


def _is_pair(path: str | os.PathLike[str], kind: type) -> bool:
    if not os.fspath(path).lower().removesuffix(".gz").endswith((".hdr", ".img")):
        return False
    try:
        return isinstance(nibabel.load(path), kind)
    except (ImageFileError, HeaderDataError, OSError):
        return False  # another format of these names, or damaged: its reader says so


def mm_per_unit(header: Mapping[Any, Any]) -> float | None:
    """Return the millimetres per unit of a NIfTI header; ``None`` if it names no unit or there is no header.

    Example:
        >>> mm_per_unit({"xyzt_units": 3}), mm_per_unit({})
        (0.001, None)
    """
    return _MM_PER_UNIT.get(int(header.get("xyzt_units", 0)) & 7)


def corner_offset_vox(affine: np.ndarray, other: np.ndarray, shape: Sequence[int]) -> float:
    """Measure how far a corner of an image is moved at most when one affine is taken for another.

    Args:
        affine: ``(4, 4)``, voxel centres to mm.
        other: the affine to compare.
        shape: up to three sizes in voxels.

    Returns:
        distance along the axis on which it is largest, in voxels of ``affine``.

    Example:
        >>> moved = np.eye(4)
        >>> moved[0, 3] = 3
        >>> corner_offset_vox(np.diag([2.0, 1, 1, 1]), moved @ np.diag([2.0, 1, 1, 1]), (8, 8, 8))
        1.5
    """
    ends = [(0.0, float(size) - 1) for size in (*shape, 1, 1)[:3]]
    corners = np.array(list(product(*ends, (1.0,)))).T
    return float(np.abs(np.linalg.solve(affine, other) @ corners - corners).max())


class NiftiReader(NibabelReader):
    """MONAI's reader for NIfTI, with affines in millimetres and scaled voxels that take no more than float32.

    Forms and unit are in the meta data as the file has them. Where programs differ in the place of the voxels, the meta
    data says so under :data:`WORLD_IS_AMBIGUOUS` and :data:`OTHER_AFFINE`.

    Args:
        exact: whether scaled voxels come in float64, as label maps need them.
    """

    def __init__(self, exact: bool = False) -> None:
        super().__init__()
        self.exact = exact

    def verify_suffix(self, filename: Sequence[str | os.PathLike[str]] | str | os.PathLike[str]) -> bool:
        """Return whether all files are NIfTI, pairs of header and voxels included."""
        return all(is_nifti(name) for name in ensure_tuple(filename))

    def read(self, data: Sequence[str | os.PathLike[str]] | str | os.PathLike[str], **kwargs: Any) -> Any:
        """Open one file or several, without their voxels."""
        self.filenames = ensure_tuple(data)
        images = []
        for name in self.filenames:
            image: Any = nibabel.load(name, **kwargs)
            raw = image.header.copy()
            # Where the sform does not have the file's spacing, MONAI takes the qform, also if there is none.
            if raw["qform_code"] > 0:
                image = correct_nifti_header_if_necessary(image)
            image.extra["raw_header"] = raw
            images.append(image)
        return images if len(images) > 1 else images[0]

    def _get_affine(self, img: Any) -> np.ndarray:
        return _in_mm(img.affine, img.header)

    def _get_meta_dict(self, img: Any) -> dict[str, Any]:
        affine = self._get_affine(img)
        other = _other_affine(img.extra["raw_header"], affine)
        meta = super()._get_meta_dict(img)
        if other is not None:
            meta[OTHER_AFFINE], meta[WORLD_IS_AMBIGUOUS] = other, _reason(img.extra["raw_header"], affine, other)
        return meta

    def _get_array_data(self, img: Any, filename: Any) -> np.ndarray:
        slope, inter = img.dataobj.slope, img.dataobj.inter
        if self.exact or (slope, inter) == (1, 0) or img.dataobj.dtype.kind not in "iuf" or 0 in img.shape:
            return np.asanyarray(img.dataobj)
        # Slice by slice: NiBabel would make the whole volume float64.
        raw = img.dataobj.get_unscaled()
        scaled = np.empty(raw.shape, dtype=np.float32, order="F")
        with np.errstate(over="ignore"):  # infinite voxels are refused later, with the file's name
            for index in range(raw.shape[-1]):
                scaled[..., index] = raw[..., index] * np.float64(slope) + np.float64(inter)
        if few_float32_levels(float(scaled.min()), float(scaled.max())):
            return np.asanyarray(img.dataobj)  # what is lost shows there
        return scaled


class NiftiLikeWriter(NibabelWriter):
    """Write a volume with its three axes, or a 2D image with two, that lies where its image lies in every program.

    Forms, codes and unit are those of the image's file (``meta["filename_or_obj"]``) if that is a NIfTI of the same
    voxels in the same place; else both forms are the affine, in mm.
    """

    _image: Any = None

    def set_metadata(self, meta_dict: Mapping[str, Any] | None = None, resample: bool = True, **options: Any) -> None:
        """Take affine and image file of a mask, whose channel is left out."""
        super().set_metadata(meta_dict, resample, **options)
        if self.data_obj.ndim > 3:
            self.data_obj = self.data_obj[..., 0]
        self._image = (meta_dict or {}).get("filename_or_obj")

    def write(self, filename: str | os.PathLike[str], verbose: bool = False, **obj_kwargs: Any) -> None:
        """Write the file."""
        voxels = np.asarray(self.data_obj).astype(self.output_dtype, copy=False)
        affine = np.eye(4) if self.affine is None else to_affine_nd(3, np.asarray(self.affine, dtype=np.float64))
        header = _header_like(self._image, affine, voxels.shape)
        header.set_data_dtype(voxels.dtype)
        nibabel.save(nibabel.Nifti1Image(voxels, None, header), filename)


def _header_like(image: Any, affine: np.ndarray, shape: Sequence[int]) -> nibabel.Nifti1Header:
    """Make the header of a mask with the forms of its image, or with those of its own affine."""
    header = nibabel.Nifti1Header()
    header.set_data_shape(shape)
    if image is not None and os.path.isfile(image) and is_nifti(image):
        opened = NiftiReader().read(image)
        raw = opened.extra["raw_header"]
        same_shape = (*shape, 1)[:3] == (*opened.shape, 1, 1)[:3]
        if same_shape and corner_offset_vox(_in_mm(opened.affine, raw), affine, shape) < _SAME_PLACE_VOX:
            for field in _FORM_FIELDS:
                header[field] = raw[field]
            header["pixdim"][:4] = raw["pixdim"][:4]
            header["xyzt_units"] = int(raw["xyzt_units"]) & 7  # of space, without that of time
            return header
    header.set_xyzt_units("mm")
    header.set_sform(affine, code=1)
    header.set_qform(affine, code=1)
    if not np.allclose(header.get_qform(), affine, atol=1e-3):
        header["qform_code"] = 0  # sheared: no qform can say it
    return header


def _in_mm(affine: np.ndarray, header: Any) -> np.ndarray:
    scale = mm_per_unit(header) or 1.0
    return np.asarray(np.diag([scale, scale, scale, 1.0]) @ affine)


def _other_affine(header: Any, affine: np.ndarray) -> np.ndarray | None:
    """Return the affine ``(4, 4)`` in mm that other programs would take; ``None`` if all take ``affine``."""
    if header["sform_code"] > 0 and header["qform_code"] > 0:
        others = [_qform(header), header.get_sform()]
    elif header["sform_code"] > 0 or header["qform_code"] > 0:
        return None
    else:
        # ITK begins at 0 and turns the first two axes, NiBabel puts the middle at 0 and turns the first.
        others = [np.diag([*(header["pixdim"][1:4] * np.array([-1.0, -1.0, 1.0])), 1.0])]
    for other in others:
        if other is None or not np.isfinite(other).all() or np.linalg.matrix_rank(other) < 4:
            continue
        other = _in_mm(other, header)
        usable = np.isfinite(affine).all() and np.linalg.matrix_rank(affine) == 4
        if usable and corner_offset_vox(affine, other, header.get_data_shape()) > _SAME_PLACE_VOX:
            return other
    return None


def _qform(header: Any) -> np.ndarray | None:
    try:
        return np.asarray(header.get_qform())
    except (HeaderDataError, ValueError):  # a quaternion of more than length 1
        return None


def _reason(header: Any, affine: np.ndarray, other: np.ndarray) -> str:
    origins = " or ".join(str([round(float(value), 3) for value in a[:3, 3]]) for a in (affine, other))
    if header["sform_code"] <= 0:
        return (
            f"its header has neither sform nor qform, and programs differ in where its first voxel is, {origins} mm. "
            "Write an affine into the header, or give boxes in voxels."
        )
    return (
        f"its sform and its qform differ, and programs differ in which one they take: the first voxel is at {origins} "
        "mm. Make both forms the one that the boxes were drawn in (nibabel: set_sform, set_qform), or give boxes in "
        "voxels."
    )
