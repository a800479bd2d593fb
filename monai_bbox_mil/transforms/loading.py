# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
"""Images from files. Errors for unusable images name the file."""

from __future__ import annotations

import gzip
import logging
import os
import warnings
from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from monai.config import KeysCollection
from monai.data import ImageReader, MetaTensor
from monai.transforms import LoadImage
from monai.transforms.transform import MapTransform, Transform
from torch import Tensor

from monai_bbox_mil.annotations.dicom_headers import DicomError
from monai_bbox_mil.annotations.frame import WORLD_IS_AMBIGUOUS
from monai_bbox_mil.transforms.dicom_reader import DicomReader
from monai_bbox_mil.transforms.nifti_header import NiftiReader, is_analyze
from monai_bbox_mil.transforms.picture_reader import PICTURES_AND_TIFF, PictureReader, UnusableImageError
from monai_bbox_mil.transforms.voxel_types import float32_grey, whole_labels

__all__ = [
    "LoadCheckedImage",
    "LoadCheckedImageD",
    "LoadCheckedImageDict",
    "LoadCheckedImaged",
]


class LoadCheckedImage(Transform):
    """MONAI's ``LoadImage``, channel-first, that names the file in every error and refuses unusable images.

    What MONAI's readers let through and would end in a prediction that is empty without a word: voxels that are NaN or
    infinite, in the file or as float32; no voxels at all; complex voxels; grey levels that float32 cannot tell apart;
    an affine that places all voxels in one plane or nowhere.

    What they read otherwise than the program in which the image was looked at: pictures are turned as their EXIF tag
    says and have the colours of their palette (:class:`~monai_bbox_mil.transforms.picture_reader.PictureReader`);
    affines of NIfTI are in mm for any unit of the file (:class:`~monai_bbox_mil.transforms.nifti_header.NiftiReader`);
    DICOM slices go by their own headers (:class:`~monai_bbox_mil.transforms.dicom_reader.DicomReader`);
    numbers are read in either byte order.

    Args:
        num_channels: how many channels the image must have; ``None`` takes any number. A grey picture (PNG, JPEG, BMP,
            GIF, TIFF) gets three equal channels for 3, so that grey and colour pictures can be mixed.
        label_map: whether the file holds labels. They stay whole numbers, of any size; float32 has none of its own
            above 16,777,216. A palette's index is the label, not its colour.

    Raises:
        FileNotFoundError: when there is no such file.
        ValueError: when the file cannot be read as an image, or its image cannot be used.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     np.save(folder + "/a.npy", np.full((4, 5), 312782546))
        ...     image = LoadCheckedImage(num_channels=1)(folder + "/a.npy")
        ...     mask = LoadCheckedImage(label_map=True)(folder + "/a.npy")
        >>> image.shape, image.dtype
        (torch.Size([1, 4, 5]), torch.float32)
        >>> int(image[0, 0, 0]), int(mask[0, 0, 0])
        (312782560, 312782546)
    """

    def __init__(self, num_channels: int | None = None, label_map: bool = False) -> None:
        self.num_channels = num_channels
        self.label_map = label_map
        # In the file's own type: a cast to float32 would hide complex voxels and make large ones infinite.
        self._loader = _quiet_loader()

    def __call__(self, filename: str | os.PathLike[str] | Sequence[str | os.PathLike[str]]) -> Tensor:
        """Read ``(C, *spatial)`` from a file, or from several as its channels; float32, labels as integers."""
        paths = [filename] if isinstance(filename, (str, os.PathLike)) else list(filename)
        name = ", ".join(str(path) for path in paths)
        missing = [path for path in paths if not os.path.exists(path)]
        if missing:
            raise FileNotFoundError(f"{missing[0]}: expected an image file, got nothing there.")
        try:
            for path in paths:
                _check_gzip(path)
            image = self._loader(filename, reader=_InTorchTypes(self._reader(paths)))
        except DicomError:  # which names the file and the cause already
            raise
        except UnusableImageError as error:
            raise ValueError(f"{name}: {error}") from error
        except Exception as error:  # each of MONAI's readers passes on what its library raises, without the file's name
            said = " ".join(str(error).split())
            raise ValueError(
                f"{name}: expected an image that can be read, got {type(error).__name__}: {said:.300} (Is the file "
                "whole, of the type that its name says, and the data file of its header beside it?)"
            ) from error
        if isinstance(image, MetaTensor) and is_analyze(paths[0]):
            image.meta[WORLD_IS_AMBIGUOUS] = (
                "an Analyze header does not say where its voxels are, and programs differ in it. Convert the image to "
                "NIfTI, or give boxes in voxels."
            )
        return self._check(image, name)

    def _reader(self, paths: Sequence[str | os.PathLike[str]]) -> ImageReader:
        """Choose the first reader that accepts the files: ours, then MONAI's in its order, with ITK last."""
        own = (DicomReader(), NiftiReader(exact=self.label_map), PictureReader(self.label_map, self.num_channels))
        return next(reader for reader in (*own, *reversed(self._loader.readers)) if reader.verify_suffix(paths))

    def _check(self, image: Tensor, name: str) -> Tensor:
        if not isinstance(image, Tensor) or image.is_complex():  # an array where torch has no such type
            raise ValueError(f"{name}: expected real voxels, got {image.dtype}.")
        if image.numel() == 0:
            raise ValueError(f"{name}: expected at least one voxel, got the shape {tuple(image.shape)}.")
        if self.num_channels == 3 and len(image) == 1 and name.lower().endswith(PICTURES_AND_TIFF):
            image = torch.cat([image] * 3)
        if self.num_channels is not None and len(image) != self.num_channels:
            raise ValueError(
                f"{name}: expected {self.num_channels} channel(s), got {len(image)} of {tuple(image.shape[1:])} voxels;"
                " a colour image or a time series needs in_channels of that number, or a file of one channel."
            )
        image = whole_labels(image, name) if self.label_map else float32_grey(image, name)
        if isinstance(image, MetaTensor):
            affine = np.asarray(image.affine, dtype=np.float64)
            if not np.isfinite(affine).all() or np.linalg.matrix_rank(affine) < len(affine):
                raise ValueError(
                    f"{name}: expected an affine with a spacing above 0 on every axis, got {affine.tolist()}; correct "
                    "the file's header."
                )
        return image


def _quiet_loader() -> LoadImage:
    """Make MONAI's loader without the two lines that it prints about a reader for DICOM on GPUs."""
    logger = logging.getLogger("monai.data.nvimgcodec_pydicom_plugin")
    was_disabled, logger.disabled = logger.disabled, True
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="NvImgCodecPydicomReader")
            return LoadImage(image_only=True, ensure_channel_first=True, dtype=None)
    finally:
        logger.disabled = was_disabled


class _InTorchTypes(ImageReader):
    """Convert another reader's voxels to this machine's byte order and to a type that torch has."""

    def __init__(self, reader: ImageReader) -> None:
        super().__init__()
        self.reader = reader

    def verify_suffix(self, filename: Any) -> bool:
        return self.reader.verify_suffix(filename)

    def read(self, data: Any, **kwargs: Any) -> Any:
        return self.reader.read(data, **kwargs)

    def get_data(self, img: Any) -> tuple[np.ndarray, dict[str, Any]]:
        voxels, meta = self.reader.get_data(img)
        voxels = voxels.astype(voxels.dtype.newbyteorder("="), copy=False)
        if voxels.dtype == np.uint64 and voxels.size and voxels.max() > np.iinfo(np.int64).max:
            voxels = voxels.astype(np.float64)  # int64, which MONAI makes of it, would turn large ones negative
        return voxels, meta


def _check_gzip(path: str | os.PathLike[str]) -> None:
    """Read a compressed file to its end, where its checksum is; NiBabel stops before."""
    if os.fspath(path).lower().endswith(".gz"):
        with gzip.open(path) as file:
            while file.read(1 << 20):
                pass


class LoadCheckedImaged(MapTransform):
    """Dictionary version of :class:`LoadCheckedImage`.

    Args:
        keys: paths, replaced by images.
        num_channels: one for all keys, or one per key.
        allow_missing_keys: whether an absent path is passed over.
        label_map: whether the keys hold labels, one for all keys, or one per key.
    """

    def __init__(
        self,
        keys: KeysCollection,
        num_channels: int | Sequence[int | None] | None = None,
        allow_missing_keys: bool = False,
        label_map: bool | Sequence[bool] = False,
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        if num_channels is None or isinstance(num_channels, int):
            num_channels = [num_channels] * len(self.keys)
        if isinstance(label_map, bool):
            label_map = [label_map] * len(self.keys)
        if len(num_channels) != len(self.keys):
            raise ValueError(f"num_channels must be one number per key ({len(self.keys)}), got {num_channels}.")
        if len(label_map) != len(self.keys):
            raise ValueError(f"label_map must be one bool per key ({len(self.keys)}), got {label_map}.")
        self.loaders = [LoadCheckedImage(*options) for options in zip(num_channels, label_map)]

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        d = dict(data)
        for key, loader in self.key_iterator(d, self.loaders):
            d[key] = loader(d[key])
        return d


LoadCheckedImageD = LoadCheckedImageDict = LoadCheckedImaged
