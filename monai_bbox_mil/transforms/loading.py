# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
"""Images from files, refused with the file's name where they cannot be used."""

from __future__ import annotations

import gzip
import os
from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.transforms import LoadImage
from monai.transforms.transform import MapTransform, Transform
from torch import Tensor

from monai_bbox_mil.annotations.dicom_headers import DicomError
from monai_bbox_mil.transforms.dicom_reader import DicomReader

__all__ = [
    "LoadCheckedImage",
    "LoadCheckedImageD",
    "LoadCheckedImageDict",
    "LoadCheckedImaged",
]


class LoadCheckedImage(Transform):
    """MONAI's ``LoadImage``, channel-first, that names the file in every error and passes no image that is unusable.

    What MONAI's readers let through and would end in a prediction that is empty without a word: voxels that are NaN or
    infinite, in the file or as float32; no voxels at all; complex voxels; an affine that places all voxels in one plane
    or nowhere.

    Args:
        num_channels: how many channels the image must have; ``None`` takes any number.

    Raises:
        FileNotFoundError: when there is no such file.
        ValueError: when the file cannot be read as an image, or its image cannot be used.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     np.save(folder + "/a.npy", np.ones((4, 5), dtype=np.int16))
        ...     LoadCheckedImage(num_channels=1)(folder + "/a.npy").shape
        torch.Size([1, 4, 5])
    """

    def __init__(self, num_channels: int | None = None) -> None:
        self.num_channels = num_channels
        # In the file's own type: a cast to float32 would hide complex voxels and make large ones infinite.
        self._loader = LoadImage(image_only=True, ensure_channel_first=True, dtype=None)
        self._loader.register(DicomReader())  # asked first, before MONAI's own

    def __call__(self, filename: str | os.PathLike | Sequence[str | os.PathLike]) -> Tensor:
        """Image ``(C, *spatial)`` float32 of one file, or of several that become its channels."""
        paths = [filename] if isinstance(filename, (str, os.PathLike)) else list(filename)
        name = ", ".join(str(path) for path in paths)
        missing = [path for path in paths if not os.path.exists(path)]
        if missing:
            raise FileNotFoundError(f"{missing[0]}: expected an image file, got nothing there.")
        try:
            for path in paths:
                _check_gzip(path)
            image = self._loader(filename)
        except DicomError:  # which names the file and the cause already
            raise
        except Exception as error:  # each of MONAI's readers passes on what its library raises, without the file's name
            said = " ".join(str(error).split())
            raise ValueError(
                f"{name}: expected an image that can be read, got {type(error).__name__}: {said:.300} (Is the file "
                "whole, of the type that its name says, and the data file of its header beside it?)"
            ) from error
        return self._check(image, name)

    def _check(self, image: Tensor, name: str) -> Tensor:
        if not isinstance(image, Tensor) or image.is_complex():  # an array where torch has no such type
            raise ValueError(f"{name}: expected real voxels, got {image.dtype}.")
        if image.numel() == 0:
            raise ValueError(f"{name}: expected at least one voxel, got the shape {tuple(image.shape)}.")
        if self.num_channels is not None and len(image) != self.num_channels:
            raise ValueError(
                f"{name}: expected {self.num_channels} channel(s), got {len(image)} of {tuple(image.shape[1:])} voxels;"
                " a colour image or a time series needs in_channels of that number, or a file of one channel."
            )
        image = image.to(torch.float32)
        voxels = image.as_subclass(Tensor)
        if not torch.stack(voxels.aminmax()).isfinite().all():  # NaN passes through; no map as large as the image
            finite = torch.isfinite(voxels)
            raise ValueError(
                f"{name}: expected finite voxels, got {int((~finite).sum())} of {finite.numel()} that are NaN, infinite"
                " or too large for float32."
            )
        if isinstance(image, MetaTensor):
            affine = np.asarray(image.affine, dtype=np.float64)
            if not np.isfinite(affine).all() or np.linalg.matrix_rank(affine) < len(affine):
                raise ValueError(
                    f"{name}: expected an affine with a spacing above 0 on every axis, got {affine.tolist()}; correct "
                    "the file's header."
                )
        return image


def _check_gzip(path: str | os.PathLike) -> None:
    """Read a compressed file to its end, where its checksum is; NiBabel stops before."""
    if os.fspath(path).lower().endswith(".gz"):
        with gzip.open(path) as file:
            while file.read(1 << 20):
                pass


class LoadCheckedImaged(MapTransform):
    """Dictionary version of :class:`LoadCheckedImage`.

    Args:
        keys: paths, replaced by images.
        num_channels: one for all keys, or one a key.
        allow_missing_keys: whether an absent path is passed over.
    """

    def __init__(
        self,
        keys: KeysCollection,
        num_channels: int | Sequence[int | None] | None = None,
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        if num_channels is None or isinstance(num_channels, int):
            num_channels = [num_channels] * len(self.keys)
        if len(num_channels) != len(self.keys):
            raise ValueError(f"num_channels must be one number a key ({len(self.keys)}), got {num_channels}.")
        self.loaders = [LoadCheckedImage(number) for number in num_channels]

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        d = dict(data)
        for key, loader in self.key_iterator(d, self.loaders):
            d[key] = loader(d[key])
        return d


LoadCheckedImageD = LoadCheckedImageDict = LoadCheckedImaged
