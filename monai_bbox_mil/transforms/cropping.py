# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
"""Crop to the input size of a network, with counts of the objects that it cuts."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.transforms import ResizeWithPadOrCrop, ResizeWithPadOrCropd
from torch import Tensor

from monai_bbox_mil.boxes import unpack_boxes
from monai_bbox_mil.transforms.dictionary import LoadBoxesd, MaskToBoxTensord, PackBoxesd

__all__ = ["CropCount", "CropWithCountD", "CropWithCountDict", "CropWithCountd", "count_cropped", "crop_count"]

_META_KEY = "crop_count"


class CropCount(NamedTuple):
    """Counts of the boxes that a crop kept, cut and lost."""

    total: int
    """Boxes of the whole image."""
    cut: int
    """Boxes of which only a part is left."""
    lost: int
    """Boxes that the crop removed entirely."""
    size: tuple[int, ...]
    """``D`` voxels, the smallest crop of the image about its centre that holds all its boxes."""


def count_cropped(boxes: Tensor, kept: Sequence[slice], spatial_shape: Sequence[int]) -> CropCount:
    """Count boxes that a crop about the centre cuts.

    Args:
        boxes: ``(N, 2*D)`` voxels of the whole image, half-open.
        kept: voxels that the crop leaves along each of ``D`` axes.
        spatial_shape: ``D`` sizes of the whole image.

    Example:
        >>> boxes = torch.tensor([[4.0, 4, 6, 6], [1, 4, 3, 6], [0, 0, 2, 2]])
        >>> count_cropped(boxes, (slice(2, 8), slice(2, 8)), (10, 10))
        CropCount(total=3, cut=1, lost=1, size=(10, 10))
    """
    dims = len(spatial_shape)
    low, high = boxes[:, :dims], boxes[:, dims:]
    start, stop = (torch.tensor([getattr(k, end) for k in kept], dtype=boxes.dtype) for end in ("start", "stop"))
    lost = (torch.maximum(low, start) >= torch.minimum(high, stop)).any(dim=1)
    cut = ((low < start) | (high > stop)).any(dim=1) & ~lost
    size = []
    for axis, length in enumerate(spatial_shape):
        # A crop of s voxels begins s // 2 before the centre and ends s - s // 2 behind it.
        before = length // 2 - (int(low[:, axis].min()) if len(boxes) else length)
        behind = (int(high[:, axis].max()) if len(boxes) else 0) - length // 2
        size.append(min(length, max(1, 2 * before, 2 * behind - 1)))
    return CropCount(len(boxes), int(cut.sum()), int(lost.sum()), tuple(size))


def crop_count(image: Any) -> CropCount | None:
    """Return the counts of :class:`CropWithCountd` for an image; ``None`` where it cut nothing.

    Example:
        >>> crop_count(torch.zeros(1, 8, 8)) is None
        True
    """
    counted = image.meta.get(_META_KEY) if isinstance(image, MetaTensor) else None
    return None if counted is None else CropCount(counted[0], counted[1], counted[2], tuple(counted[3:]))


class CropWithCountd(ResizeWithPadOrCropd):
    """MONAI's ``ResizeWithPadOrCropd`` that also counts the boxes it cuts, for a report before training.

    The boxes are those of the item's annotation, else those of the objects of its mask, as they lie in the whole image;
    :func:`crop_count` finds them in the image. Nothing is counted where the crop takes nothing off an image, or nothing
    off the objects of its mask, nor for an item whose mask is not cropped, such as one that is evaluated.

    Args:
        keys, spatial_size, allow_missing_keys: as of ``ResizeWithPadOrCropd``. The image is among the keys, and the
            mask, where it is cropped.
        classes: of box annotations, as of :class:`~monai_bbox_mil.transforms.LoadBoxesd`.
        min_size, slice_dim: of boxes that are cut from masks, as of
            :class:`~monai_bbox_mil.transforms.MaskToBoxTensord`.
        image_key, mask_key, box_key: where these are.

    Example:
        >>> mask = torch.zeros(1, 20, 20)
        >>> mask[0, 4:12, 6:9] = 1
        >>> item = {"image": MetaTensor(torch.zeros(1, 20, 20)), "mask": mask}
        >>> crop_count(CropWithCountd(["image", "mask"], (8, 8))(item)["image"])
        CropCount(total=1, cut=1, lost=0, size=(12, 8))
    """

    def __init__(
        self,
        keys: KeysCollection,
        spatial_size: Sequence[int] | int,
        classes: Sequence[str | int] | None = None,
        min_size: int = 0,
        slice_dim: int | None = None,
        image_key: str = "image",
        mask_key: str = "mask",
        box_key: str = "box",
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, spatial_size, allow_missing_keys=allow_missing_keys)
        self._cropper = ResizeWithPadOrCrop(spatial_size).cropper
        self.image_key, self.mask_key, self.box_key = image_key, mask_key, box_key
        self._from_mask = MaskToBoxTensord(mask_key, "label", min_size=min_size, slice_dim=slice_dim)
        self._from_boxes = LoadBoxesd(box_key, image_key, classes=classes)
        self._pack = PackBoxesd(box_key, image_key)

    def __call__(self, data: Mapping[Hashable, Any], lazy: bool | None = None) -> dict[Hashable, Any]:
        count = self._count(data)
        d = dict(super().__call__(data, lazy))
        if count is not None:
            image: Any = d[self.image_key]
            # Numbers alone: they can be collated, and stored by data sets that keep their items on disk.
            image.meta = {**image.meta, _META_KEY: [*count[:3], *count.size]}
        return d

    def _count(self, data: Mapping[Hashable, Any]) -> CropCount | None:
        image = data[self.image_key]
        shape = tuple(image.shape[1:])
        # What MONAI crops to; beyond the image's end where it would pad.
        kept = [slice(s.start, min(s.stop, n)) for s, n in zip(self._cropper.compute_slices(shape), shape)]
        if not isinstance(image, MetaTensor) or kept == [slice(0, n) for n in shape]:
            return None
        if self.box_key in data:
            placed = self._pack(self._from_boxes({k: data[k] for k in (self.image_key, self.box_key)}))
        elif self.mask_key in self.keys and self.mask_key in data:
            voxels = torch.as_tensor(data[self.mask_key]).as_subclass(Tensor)
            inside = (slice(None), *kept)
            if voxels.count_nonzero() == voxels[inside].count_nonzero():
                return None
            placed = self._from_mask({self.mask_key: data[self.mask_key]})
        else:
            return None
        boxes, _, ignored = unpack_boxes(placed["label"])
        return count_cropped(boxes[~ignored], kept, shape)


CropWithCountD = CropWithCountDict = CropWithCountd
