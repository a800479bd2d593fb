# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
"""Images of any kind to volumes, and label maps to one channel a class."""

from __future__ import annotations

import warnings
from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from monai.config import KeysCollection
from monai.config.type_definitions import NdarrayOrTensor
from monai.data import MetaTensor
from monai.data.utils import to_affine_nd
from monai.transforms.transform import MapTransform, Transform
from monai.utils import convert_to_tensor
from torch import Tensor

from monai_bbox_mil.annotations.frame import OTHER_AFFINE
from monai_bbox_mil.boxes import exact_limit
from monai_bbox_mil.transforms.nifti_header import corner_offset_vox, mm_per_unit

__all__ = [
    "EnsureVolume",
    "EnsureVolumeD",
    "EnsureVolumeDict",
    "EnsureVolumed",
    "LabelToChannels",
    "LabelToChannelsD",
    "LabelToChannelsDict",
    "LabelToChannelsd",
]


class EnsureVolume(Transform):
    """A 2D image becomes a volume of one slice; a volume stays as it is.

    Raises:
        ValueError: for an image with other than two or three spatial axes.

    Example:
        >>> EnsureVolume()(torch.zeros(1, 4, 5)).shape
        torch.Size([1, 4, 5, 1])
    """

    def __call__(self, img: NdarrayOrTensor) -> Tensor:
        """Turn ``(C, H, W)`` or ``(C, H, W, Z)`` into ``(C, H, W, Z)``."""
        image: Tensor = convert_to_tensor(img, track_meta=isinstance(img, MetaTensor))
        if image.ndim not in (3, 4):
            raise ValueError(
                f"{_name(image)} must be channel-first with 2 or 3 spatial axes, got the shape {tuple(image.shape)}."
            )
        return image if image.ndim == 4 else image.unsqueeze(-1)


class LabelToChannels(Transform):
    """A label map to one binary channel a class, in the order of the network's output channels.

    Masks of one class that came in several files, one a lesion, are joined when ``label_values`` holds one value.

    Args:
        label_values: values of the classes 0, 1, ...; other values are background. ``None`` takes every value above 0
            for the one class.

    Raises:
        ValueError: when there are no values, or several and the mask has several channels; when ``label_values`` are
            whole numbers and the mask holds others, as after resampling; when the mask's type cannot tell a value from
            its neighbours, as float32 above 16,777,216.

    Example:
        >>> LabelToChannels((1, 2))(torch.tensor([[[0, 1, 2, 3]]])).tolist()
        [[[0, 1, 0, 0]], [[0, 0, 1, 0]]]
    """

    def __init__(self, label_values: Sequence[int] | None = (1,)) -> None:
        self.label_values = None if label_values is None else tuple(label_values)
        if self.label_values == ():
            raise ValueError("label_values must name at least one value, got none.")

    def __call__(self, img: NdarrayOrTensor) -> Tensor:
        """Turn ``(1, *spatial)`` (or ``(files, *spatial)`` for one class) into ``(classes, *spatial)`` uint8."""
        mask: Tensor = convert_to_tensor(img, track_meta=isinstance(img, MetaTensor))
        if self.label_values is None:
            return (mask > 0).any(dim=0, keepdim=True).to(torch.uint8)
        if len(mask) > 1 and len(self.label_values) > 1:
            raise ValueError(
                f"mask must be a label map of one channel for the values {self.label_values}, got {len(mask)} channels."
            )
        if mask.is_floating_point() and all(value % 1 == 0 for value in self.label_values) and (mask % 1 != 0).any():
            raise ValueError(
                f"{_name(mask)} must hold whole numbers as {self.label_values} are, got "
                f"{mask[mask % 1 != 0][0].item():g}; a mask is resampled by nearest neighbour."
            )
        largest = max(abs(value) for value in self.label_values)
        if mask.is_floating_point() and largest > exact_limit(mask.dtype):
            raise ValueError(
                f"{_name(mask)} must come in a type that holds the label_values {self.label_values}, got {mask.dtype}, "
                f"which has no whole numbers of its own above {exact_limit(mask.dtype)}; read it as integers "
                "(LoadCheckedImage with label_map=True)."
            )
        channels = torch.cat([_equal(mask, value).any(dim=0, keepdim=True) for value in self.label_values])
        if not channels.any() and (mask != 0).any():
            warnings.warn(
                f"{_name(mask)} holds none of the label_values {self.label_values}, but the values "
                f"{mask.unique()[:10].tolist()}: it counts as empty.",
                stacklevel=2,
            )
        return channels.to(torch.uint8)


class EnsureVolumed(MapTransform):
    """Dictionary version of :class:`EnsureVolume`; all keys must hold images of one size that lie in one place.

    Where an image lies is what its affine says; one whose affine is the identity, as that of a picture, says nothing.
    Where the headers leave open which of two places or units is meant, and one of them is that of the first image, the
    others take over its affine: some programs write a mask's header so.

    Args:
        keys: images and masks.
        max_offset: voxels by which an image's corners may lie off those of the first; ``None`` allows any offset, for
            files whose voxels fit but whose headers do not.
        allow_missing_keys: whether an absent image is passed over.

    Raises:
        ValueError: when the images differ in size, as those of two cases would, or in place or orientation.
    """

    def __init__(self, keys: KeysCollection, max_offset: float | None = 0.5, allow_missing_keys: bool = False) -> None:
        super().__init__(keys, allow_missing_keys)
        self.max_offset = max_offset
        self.converter = EnsureVolume()

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        d = dict(data)
        for key in self.key_iterator(d):
            d[key] = self.converter(d[key])
        sizes = {key: tuple(d[key].shape[1:]) for key in self.key_iterator(d)}
        if len(set(sizes.values())) > 1:
            found = ", ".join(f"{key} ({_name(d[key])}) of {size} voxels" for key, size in sizes.items())
            raise ValueError(f"the images of one item must be of one size, got {found}.")
        placed = [key for key in sizes if isinstance(d[key], MetaTensor) and not _is_identity(d[key].affine)]
        for key in placed[1:]:
            offset = _offset_vox(d[key].affine, d[placed[0]])
            if self.max_offset is None or offset <= self.max_offset:
                continue
            if any(_offset_vox(a, d[placed[0]]) <= self.max_offset for a in _other_affines(d[key], d[placed[0]])):
                d[key] = MetaTensor(d[key], affine=d[placed[0]].affine)
            else:
                raise ValueError(
                    f"the images of one item must lie in one place, got {key} ({_name(d[key])}) up to {offset:.3g} "
                    f"voxels off {placed[0]} ({_name(d[placed[0]])}) by the affines of their files. Resample one "
                    "to the other (monai.transforms.ResampleToMatch), or give EnsureVolumed max_offset=None where "
                    "headers are wrong but the voxels fit."
                )
        return d


class LabelToChannelsd(MapTransform):
    """Dictionary version of :class:`LabelToChannels`."""

    def __init__(
        self, keys: KeysCollection, label_values: Sequence[int] | None = (1,), allow_missing_keys: bool = False
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        self.converter = LabelToChannels(label_values)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        d = dict(data)
        for key in self.key_iterator(d):
            d[key] = self.converter(d[key])
        return d


def _equal(mask: Tensor, value: float) -> Tensor:
    """Return where a mask holds a value; torch alone would wrap a value beyond the mask's type into it."""
    if not mask.is_floating_point() and mask.dtype != torch.bool:
        limits = torch.iinfo(mask.dtype)
        if not limits.min <= value <= limits.max:
            return torch.zeros_like(mask, dtype=torch.bool)
    return mask == value


def _is_identity(affine: Tensor) -> bool:
    return bool(torch.equal(affine, torch.eye(len(affine), dtype=affine.dtype, device=affine.device)))


def _offset_vox(affine: NdarrayOrTensor, reference: MetaTensor) -> float:
    """Measure how far corners of an image lie off those of another of its size, at most, in voxels of the other."""
    own, other = (to_affine_nd(3, np.asarray(a, dtype=np.float64)) for a in (affine, reference.affine))
    return corner_offset_vox(other, own, reference.shape[1:])


def _other_affines(image: MetaTensor, reference: MetaTensor) -> list[np.ndarray]:
    """Return where else an image may lie, by what its header or the reference's leaves open."""
    if image.applied_operations or reference.applied_operations:
        return []  # they have been moved since, and the other affines have not
    affine, other = (to_affine_nd(3, np.asarray(i.affine, dtype=np.float64)) for i in (image, reference))
    affines = [image.meta[OTHER_AFFINE]] if OTHER_AFFINE in image.meta else []
    if OTHER_AFFINE in reference.meta:  # to the reference as it is to the reference's other place
        affines += [other @ np.linalg.solve(reference.meta[OTHER_AFFINE], a) for a in (affine, *affines)]
    units = [mm_per_unit(i.meta) for i in (image, reference)]
    if units[0] is None and units[1] is not None:
        affines.append(np.diag([units[1]] * 3 + [1.0]) @ affine)
    elif units[1] is None and units[0] is not None:
        affines.append(np.diag([1 / units[0]] * 3 + [1.0]) @ affine)
    return affines


def _name(image: Tensor) -> str:
    """Return the image's file, for messages."""
    return str(image.meta.get("filename_or_obj", "image")) if isinstance(image, MetaTensor) else "image"


EnsureVolumeD = EnsureVolumeDict = EnsureVolumed
LabelToChannelsD = LabelToChannelsDict = LabelToChannelsd
