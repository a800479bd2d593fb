# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
"""A network's probabilities to masks, and masks to files like those the images came from."""

from __future__ import annotations

import os
from collections.abc import Callable, Hashable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.config import KeysCollection
from monai.config.type_definitions import NdarrayOrTensor
from monai.data import ImageWriter, ITKWriter, MetaTensor, PILWriter
from monai.transforms import LoadImage, SaveImage, SaveImaged
from monai.transforms.transform import MapTransform, Transform
from monai.utils import convert_to_tensor
from torch import Tensor

from monai_bbox_mil.runs.files import free_bytes, replacing_group, same_place
from monai_bbox_mil.transforms.mask_files import (
    check_label_values,
    label_dtype,
    largest_label,
    mask_extension,
    mask_path,
)
from monai_bbox_mil.transforms.nifti_header import NiftiLikeWriter

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

_CAUSES_OF_NAN = (
    " Where every image ends like this, the network's weights are NaN: train again, with a lower learning_rate. Where "
    "only some do, the network's numbers left the range of half precision on this image: try --amp false."
)

Thresholds = float | Sequence[float] | Callable[[], Sequence[float]]


class ThresholdClasses(Transform):
    """Convert probabilities to a mask, with one threshold per class.

    Args:
        threshold: one for all classes or one per class, in ``(0, 1)``; or a function that returns them. The function is
            called for each image, so that a running server uses the thresholds of the latest training.
        label_values: when given, classes are merged to a label map of these values; where several pass their
            threshold the one with the highest logit above its threshold's wins. Whole numbers up to
            :data:`.LARGEST_LABEL`, such as the 1001 to 2035 of FreeSurfer's cortical parcels.

    Raises:
        ValueError: for thresholds outside ``(0, 1)``, or when their number differs from the channels'; for
            ``label_values`` that no file type can store; for values that are not probabilities, such as NaN.

    Example:
        >>> prob = torch.tensor([[[0.2, 0.7]], [[0.4, 0.9]]])
        >>> ThresholdClasses([0.5, 0.3])(prob).tolist()
        [[[0, 1]], [[1, 1]]]
        >>> ThresholdClasses([0.5, 0.3], label_values=(1, 2))(prob).tolist()
        [[[2, 2]]]
    """

    def __init__(self, threshold: Thresholds = 0.5, label_values: Sequence[int] | None = None) -> None:
        self.threshold = threshold if callable(threshold) else _check_threshold(threshold)
        self.label_values = None if label_values is None else check_label_values(label_values)

    def __call__(self, img: NdarrayOrTensor) -> Tensor:
        """Turn probabilities ``(C, *spatial)`` into a mask ``(C, *spatial)`` or a label map ``(1, *spatial)``.

        Its type is uint8 where all values fit, else int32 or int64.
        """
        prob: Tensor = convert_to_tensor(img, track_meta=isinstance(img, MetaTensor))
        threshold = _check_threshold(self.threshold()) if callable(self.threshold) else self.threshold
        if len(threshold) not in (1, len(prob)) or len(self.label_values or prob) != len(prob):
            raise ValueError(
                f"pred has {len(prob)} channels, threshold {threshold.tolist()} and label_values "
                f"{self.label_values} must hold one value each."
            )
        low, high = prob.as_subclass(Tensor).aminmax()
        if not (low >= -1e-3 and high <= 1 + 1e-3):  # interpolation may leave the range by rounding errors
            raise ValueError(
                f"{_name(prob)} must hold probabilities in [0, 1], got {low.item():g} to {high.item():g}."
                + (_CAUSES_OF_NAN if low.isnan() else "")
            )
        threshold = threshold.to(prob.device).reshape(-1, *([1] * (prob.ndim - 1)))
        mask = (prob >= threshold).view(torch.uint8)  # of the same memory
        if self.label_values is None:
            return mask
        values = torch.tensor(self.label_values, device=prob.device, dtype=label_dtype(max(self.label_values)))
        if len(prob) == 1:  # no other class can win, and a large volume's logits would take gigabytes
            return mask.to(values.dtype).mul_(values[0])
        limit = torch.finfo(torch.float32).eps
        margin = torch.logit(prob.float(), eps=limit) - torch.logit(threshold)
        label = values[margin.as_subclass(Tensor).argmax(dim=0, keepdim=True)]
        return mask.any(dim=0, keepdim=True).to(values.dtype).mul_(label)


def _name(pred: Tensor) -> str:
    path = pred.meta.get("filename_or_obj") if isinstance(pred, MetaTensor) else None
    return f"pred of {path}" if path else "pred"


def _check_threshold(threshold: float | Sequence[float]) -> Tensor:
    checked = torch.as_tensor(threshold, dtype=torch.float32).reshape(-1)
    if not ((checked > 0) & (checked < 1)).all():
        raise ValueError(f"threshold must lie in (0, 1), got {threshold}.")
    return checked


class SaveLikeInput(Transform):
    """Save a mask in the file type of the image it belongs to.

    The file is that of :func:`.mask_path`; geometry comes from the mask's own meta data, of NIfTI with both forms and
    the unit of the image's file. Values are written in the smallest of uint8, uint16, int32 and uint32 that holds them.
    A mask that is there is whole, as it is written elsewhere and then moved, data before its header.

    Args:
        output_dir: folder, made if it is not there.
        postfix: appended to the image's name.
        data_root_dir: part of the images' path that is not repeated below ``output_dir``; with it, images of one name
            in several folders do not overwrite each other.

    Raises:
        ValueError: for an image without a file name, of a type that cannot be written, or outside ``data_root_dir``;
            for a mask that would replace its image, or the mask of another one; for values that the file cannot hold.
        OSError: when the file does not hold the mask in the end, as on a full disk.
    """

    def __init__(
        self,
        output_dir: str | os.PathLike[str],
        postfix: str = "_segmentation",
        data_root_dir: str | os.PathLike[str] = "",
    ) -> None:
        self.output_dir = os.fspath(output_dir)
        self.postfix = postfix
        self.data_root_dir = os.fspath(data_root_dir)
        self._images: dict[Path, str] = {}  # by the place of the mask

    def __call__(self, mask: MetaTensor) -> MetaTensor:
        """Save ``(1, *spatial)`` and return it unchanged."""
        name = mask.meta.get("filename_or_obj") if isinstance(mask, MetaTensor) else None
        if not name:
            raise ValueError("mask must be a MetaTensor that knows its image's file (meta['filename_or_obj']).")
        target = mask_path(name, self.output_dir, self.postfix, self.data_root_dir)
        self._check_place(target, str(name))
        self._save(mask, _saver(mask, mask_extension(target), str(name)), target, str(name))
        return mask

    def _check_place(self, target: Path, image: str) -> None:
        place = same_place(target)
        if place in (same_place(image), Path(os.path.realpath(image))):
            raise ValueError(
                f"output_dir {self.output_dir}, output_postfix (postfix) {self.postfix!r}: expected another file than "
                f"the image {image}, which its mask would replace."
            )
        other = self._images.get(place, image)
        if other != image and target.exists():
            raise ValueError(
                f"{target}: would hold the masks of two images, {other} and {image}. Give data_root_dir, or save them "
                "to two folders."
            )
        self._images[place] = image

    def _save(self, mask: MetaTensor, saver: SaveImage, target: Path, name: str) -> None:
        """Save a mask and read it back: not every writer of MONAI says so when the disk is full."""
        try:
            with replacing_group(target) as unfinished:
                saver(mask, filename=str(unfinished).removesuffix(mask_extension(target)))
                if not _same_voxels(LoadImage(image_only=True, dtype=None)(unfinished), mask):
                    raise ValueError(f"{unfinished} does not hold the mask whole.")
        except Exception as error:  # each writer and reader has its own
            # MONAI reports a writer that failed as one that is not installed.
            said = str(error) if isinstance(error, OSError) else "a file that does not hold it whole"
            raise OSError(
                f"output_dir {self.output_dir}: expected to write the mask of {name} there, got {said} "
                f"({free_bytes(self.output_dir)})."
            ) from error


def _saver(mask: MetaTensor, extension: str, image: str) -> SaveImage:
    # A volume of one slice stays one, or its affine could not be written; a 2D image was made one by EnsureVolume.
    flat = extension == ".png" or np.size(mask.meta.get("spatial_shape", (0, 0, 0))) == 2
    if extension == ".png":
        writer: type[ImageWriter] = PILWriter
    elif extension.startswith(".nii"):
        writer = _NiftiWriter
    else:
        writer = _ITKWriter
    return SaveImage(
        output_ext=extension,
        output_dtype=_file_dtype(mask, extension, image),
        resample=False,  # a mask lies in the grid of its image
        squeeze_end_dims=flat,
        writer=writer,
        print_log=False,
    )


def _file_dtype(mask: Tensor, extension: str, image: str) -> type[np.integer]:
    """Return the smallest number type that a file of this extension and all values of a mask allow."""
    voxels, largest = _voxels(mask), largest_label(extension)
    low, high = (value.item() for value in voxels.aminmax())
    if not (low >= 0 and high <= largest) or (voxels.is_floating_point() and (voxels % 1 != 0).any()):
        raise ValueError(
            f"label_values: expected a mask of whole numbers from 0 to {largest}, which a file {extension} can hold, "
            f"got values from {low} to {high} for the image {image}."
        )
    return next(dtype for dtype in (np.uint8, np.uint16, np.int32, np.uint32) if high <= np.iinfo(dtype).max)


def _same_voxels(found: Tensor, mask: Tensor) -> bool:
    """Return whether a file holds a mask's voxels; 2D formats leave out axes of one voxel."""
    read, written = (_voxels(torch.as_tensor(t)).squeeze() for t in (found, mask))
    return read.shape == written.shape and bool((read == written).all())


def _voxels(mask: Tensor) -> Tensor:
    """Convert a mask to a type that torch computes with."""
    voxels = mask.as_subclass(Tensor).cpu()
    if voxels.dtype == torch.bool:
        return voxels.view(torch.uint8)
    return voxels.to(torch.int64) if voxels.dtype in (torch.uint16, torch.uint32, torch.uint64) else voxels


class _AsItIs(ImageWriter):
    """Makes a writer of MONAI keep a mask as it is: what MONAI resamples, even to the same grid, becomes float32."""

    @classmethod
    def resample_if_needed(cls, data_array: Any, affine: Any = None, *_: Any, **__: Any) -> tuple[Any, Any]:
        return data_array, affine


class _NiftiWriter(_AsItIs, NiftiLikeWriter):
    """Writes NIfTI with the header of the image."""


class _ITKWriter(_AsItIs, ITKWriter):
    """Writes the formats of ITK, without an axis for the channel: of vectors ITK writes too few types."""

    def set_metadata(self, meta_dict: Mapping[str, Any] | None = None, resample: bool = True, **options: Any) -> None:
        super().set_metadata(meta_dict, resample, **options)
        if self.channel_dim is not None:
            self.data_obj, self.channel_dim = self.data_obj[..., 0], None


class ThresholdClassesd(MapTransform):
    """Dictionary version of :class:`ThresholdClasses`."""

    def __init__(
        self,
        keys: KeysCollection,
        threshold: Thresholds = 0.5,
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


class SaveLikeInputd(SaveImaged):
    """Dictionary version of :class:`SaveLikeInput`.

    It passes for a ``SaveImaged``: MONAI Label leaves such a step out and sends the mask instead.
    """

    def __init__(
        self,
        keys: KeysCollection,
        output_dir: str | os.PathLike[str],
        postfix: str = "_segmentation",
        data_root_dir: str | os.PathLike[str] = "",
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, output_dir=os.fspath(output_dir), allow_missing_keys=allow_missing_keys)
        self.like_input = SaveLikeInput(output_dir, postfix, data_root_dir)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        d = dict(data)
        for key in self.key_iterator(d):
            self.like_input(d[key])
        return d


ThresholdClassesD = ThresholdClassesDict = ThresholdClassesd
SaveLikeInputD = SaveLikeInputDict = SaveLikeInputd
