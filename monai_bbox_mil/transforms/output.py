# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
"""A network's probabilities to masks, and masks to files like those the images came from."""

from __future__ import annotations

import os
import shutil
from collections.abc import Hashable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.config import KeysCollection
from monai.config.type_definitions import NdarrayOrTensor
from monai.data import MetaTensor, NibabelWriter
from monai.transforms import LoadImage, SaveImage
from monai.transforms.transform import MapTransform, Transform
from monai.utils import MetaKeys, convert_to_tensor
from torch import Tensor

__all__ = [
    "SaveLikeInput",
    "SaveLikeInputD",
    "SaveLikeInputDict",
    "SaveLikeInputd",
    "ThresholdClasses",
    "ThresholdClassesD",
    "ThresholdClassesDict",
    "ThresholdClassesd",
]

# A lossy format would change a mask's values.
_SAVED_AS = {e: e for e in (".nii.gz", ".nii", ".mhd", ".mha", ".nrrd", ".png")} | dict.fromkeys(
    (".jpg", ".jpeg", ".bmp"), ".png"
)


class ThresholdClasses(Transform):
    """Probabilities to a mask, each class at its own threshold.

    Args:
        threshold: one for all classes or one a class, in ``(0, 1)``.
        label_values: when given, classes are merged to a label map of these values; where several pass their
            threshold the one with the highest logit above its threshold's wins.

    Raises:
        ValueError: for thresholds outside ``(0, 1)`` or as many as do not fit the channels; for what are no
            probabilities, such as NaN, which would pass for background.

    Example:
        >>> prob = torch.tensor([[[0.2, 0.7]], [[0.4, 0.9]]])
        >>> ThresholdClasses([0.5, 0.3])(prob).tolist()
        [[[0, 1]], [[1, 1]]]
        >>> ThresholdClasses([0.5, 0.3], label_values=(1, 2))(prob).tolist()
        [[[2, 2]]]
    """

    def __init__(self, threshold: float | Sequence[float] = 0.5, label_values: Sequence[int] | None = None) -> None:
        self.threshold = torch.as_tensor(threshold, dtype=torch.float32).reshape(-1)
        self.label_values = None if label_values is None else tuple(label_values)
        if not ((self.threshold > 0) & (self.threshold < 1)).all():
            raise ValueError(f"threshold must lie in (0, 1), got {threshold}.")

    def __call__(self, img: NdarrayOrTensor) -> Tensor:
        """Probabilities ``(C, *spatial)`` to a mask ``(C, *spatial)``, or a label map ``(1, *spatial)``, uint8."""
        prob: Tensor = convert_to_tensor(img, track_meta=isinstance(img, MetaTensor))
        if len(self.threshold) not in (1, len(prob)) or len(self.label_values or prob) != len(prob):
            raise ValueError(
                f"pred has {len(prob)} channels, threshold {self.threshold.tolist()} and label_values "
                f"{self.label_values} must hold one value each."
            )
        low, high = prob.as_subclass(Tensor).aminmax()
        if not (low >= -1e-3 and high <= 1 + 1e-3):  # interpolation may leave the range by rounding errors
            raise ValueError(
                f"pred must hold probabilities in [0, 1], got {low.item():g} to {high.item():g}. NaN comes from "
                "weights that are NaN: train again, with a lower learning_rate."
            )
        threshold = self.threshold.to(prob.device).reshape(-1, *([1] * (prob.ndim - 1)))
        mask = prob >= threshold
        if self.label_values is None:
            return mask.to(torch.uint8)
        limit = torch.finfo(torch.float32).eps
        margin = torch.logit(prob.float(), eps=limit) - torch.logit(threshold)
        values = torch.tensor(self.label_values, device=prob.device, dtype=torch.uint8)
        label = values[margin.as_subclass(Tensor).argmax(dim=0, keepdim=True)]
        return (label * mask.any(dim=0, keepdim=True)).to(torch.uint8)


class SaveLikeInput(Transform):
    """Save a mask in the file type of the image it belongs to.

    The file is ``{output_dir}/{name of the image}{postfix}{extension of the image}``, ``.png`` for ``.jpg`` and
    ``.bmp``; geometry comes from the mask's own meta data.

    Args:
        output_dir: folder, made if it is not there.
        postfix: appended to the image's name.
        data_root_dir: part of the images' path that is not repeated below ``output_dir``; with it, images of one name
            in several folders do not overwrite each other.

    Raises:
        ValueError: for an image without a file name or of a type that cannot be written.
        OSError: when the file does not hold the mask in the end, as on a full disk.
    """

    def __init__(
        self, output_dir: str | os.PathLike, postfix: str = "_segmentation", data_root_dir: str | os.PathLike = ""
    ) -> None:
        self.output_dir = os.fspath(output_dir)
        self.postfix = postfix.removeprefix("_")
        self.data_root_dir = os.fspath(data_root_dir)
        self._savers: dict[tuple[str, bool], SaveImage] = {}

    def __call__(self, mask: MetaTensor) -> MetaTensor:
        """Save ``(1, *spatial)`` and return it unchanged."""
        name = mask.meta.get("filename_or_obj") if isinstance(mask, MetaTensor) else None
        if not name:
            raise ValueError("mask must be a MetaTensor that knows its image's file (meta['filename_or_obj']).")
        extension = next((saved for e, saved in _SAVED_AS.items() if Path(name).name.lower().endswith(e)), None)
        if extension is None:
            raise ValueError(f"{name}: masks can be written for {', '.join(_SAVED_AS)}, not for this file's type.")
        # A volume of one slice stays one, or its affine could not be written; a 2D image was made one by EnsureVolume.
        flat = extension == ".png" or np.size(mask.meta.get("spatial_shape", (0, 0, 0))) == 2
        if (extension, flat) not in self._savers:
            self._savers[extension, flat] = SaveImage(
                output_dir=self.output_dir,
                output_postfix=self.postfix,
                output_ext=extension,
                output_dtype=np.uint8,
                separate_folder=False,
                squeeze_end_dims=flat,
                writer=_NiftiVolumeWriter if not flat and extension.startswith(".nii") else None,
                data_root_dir=self.data_root_dir,
                print_log=False,
                savepath_in_metadict=True,
            )
        self._save(mask, self._savers[extension, flat], str(name))
        return mask

    def _save(self, mask: MetaTensor, saver: SaveImage, name: str) -> None:
        """Save a mask and read it back: not every writer of MONAI says so when the disk is full."""
        mask.meta.pop(MetaKeys.SAVED_TO, None)
        try:
            saver(mask)
            path = mask.meta[MetaKeys.SAVED_TO]
            whole = _same_voxels(LoadImage(image_only=True, dtype=None)(path), mask)
            cause = None
        except Exception as error:  # each writer and reader has its own
            whole, cause = False, error
        if not whole:
            left = shutil.disk_usage(self.output_dir).free if os.path.isdir(self.output_dir) else None
            room = "no such folder" if left is None else f"{left} bytes free there"
            # MONAI tells a writer that failed as one that is not installed.
            said = str(cause) if isinstance(cause, OSError) else "a file that does not hold it whole"
            raise OSError(
                f"output_dir {self.output_dir}: expected to write the mask of {name} there, got {said} ({room}). What "
                "was written of it is of no use."
            ) from cause


def _same_voxels(found: Tensor, mask: Tensor) -> bool:
    """Whether a file holds a mask's voxels; 2D formats leave axes of one voxel out."""
    voxels = [torch.as_tensor(t).as_subclass(Tensor).cpu().squeeze().to(torch.uint8) for t in (found, mask)]
    return torch.equal(*voxels)


class _NiftiVolumeWriter(NibabelWriter):
    """Writes a volume with its three axes, also where the last has one voxel, and no fourth for the channel."""

    def set_metadata(self, meta_dict: Mapping | None = None, resample: bool = True, **options: Any) -> None:
        super().set_metadata(meta_dict, resample, **options)
        self.data_obj = self.data_obj[..., 0]


class ThresholdClassesd(MapTransform):
    """Dictionary version of :class:`ThresholdClasses`."""

    def __init__(
        self,
        keys: KeysCollection,
        threshold: float | Sequence[float] = 0.5,
        label_values: Sequence[int] | None = None,
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        self.converter = ThresholdClasses(threshold, label_values)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        d = dict(data)
        for key in self.key_iterator(d):
            d[key] = self.converter(d[key])
        return d


class SaveLikeInputd(MapTransform):
    """Dictionary version of :class:`SaveLikeInput`."""

    def __init__(
        self,
        keys: KeysCollection,
        output_dir: str | os.PathLike,
        postfix: str = "_segmentation",
        data_root_dir: str | os.PathLike = "",
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        self.saver = SaveLikeInput(output_dir, postfix, data_root_dir)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        d = dict(data)
        for key in self.key_iterator(d):
            self.saver(d[key])
        return d


ThresholdClassesD = ThresholdClassesDict = ThresholdClassesd
SaveLikeInputD = SaveLikeInputDict = SaveLikeInputd
