# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
"""Dictionary wrappers of :mod:`monai_bbox_mil.transforms.array`."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import torch
from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.transforms.inverse import TraceableTransform
from monai.transforms.transform import MapTransform

from monai_bbox_mil.annotations import box_frame, check_box_frame, check_same_place, spatial_shape, with_box_frame
from monai_bbox_mil.boxes import BOX_FRAME
from monai_bbox_mil.transforms.array import BoxTensorToMask, LoadBoxes, MaskToBoxTensor, PackBoxes, UnpackBoxes
from monai_bbox_mil.transforms.pipeline import BoxMaskTrait, DeformationGuard, refuse_lost_origin

__all__ = [
    "BoxTensorToMaskD",
    "BoxTensorToMaskDict",
    "BoxTensorToMaskd",
    "LoadBoxesD",
    "LoadBoxesDict",
    "LoadBoxesd",
    "MaskToBoxTensorD",
    "MaskToBoxTensorDict",
    "MaskToBoxTensord",
    "PackBoxesD",
    "PackBoxesDict",
    "PackBoxesd",
    "UnpackBoxesD",
    "UnpackBoxesDict",
    "UnpackBoxesd",
]


class MaskToBoxTensord(MapTransform, BoxMaskTrait):
    """Dictionary version of :class:`~monai_bbox_mil.transforms.MaskToBoxTensor`.

    Args:
        keys: masks.
        box_keys: where the box tensors go, one per mask; the masks stay.
        label_values, connectivity, margin, min_size, slice_dim, margin_seed: as in the array version.
        allow_missing_keys: whether to skip an absent mask.
        image_key: the image that the boxes will be used with. They carry its shape and affine, and are refused later
            if it moved without them. Where it is absent or of another size, they carry those of the mask.

    Raises:
        ValueError: when the mask or the image moved and the other did not, or a deformation of the image follows.

    Example:
        >>> import torch
        >>> MaskToBoxTensord("mask")({"mask": torch.ones(1, 2, 2)})["label"].tolist()
        [[0.0, 0.0, 2.0, 2.0, 0.0]]
    """

    def __init__(
        self,
        keys: KeysCollection,
        box_keys: KeysCollection = "label",
        label_values: Sequence[int] | None = None,
        connectivity: int = 1,
        margin: float | Sequence[float] = 0,
        min_size: int = 0,
        slice_dim: int | None = None,
        margin_seed: int | None = None,
        allow_missing_keys: bool = False,
        image_key: str = "image",
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        self.box_keys = _as_many(box_keys, self.keys, "box_keys")
        self.image_key = image_key
        self.guard = DeformationGuard(image_key)
        self.converter = MaskToBoxTensor(label_values, connectivity, margin, min_size, slice_dim, margin_seed)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        d = dict(data)
        for key, box_key in self.key_iterator(d, self.box_keys):
            mask, image = d[key], d.get(self.image_key)
            check_same_place(mask, image, str(key), self.image_key)
            self.guard.check(self)
            together = torch.is_tensor(image) and spatial_shape(image) == spatial_shape(mask)
            d[box_key] = with_box_frame(self.converter(mask), image if together else mask)
        return d


class LoadBoxesd(MapTransform):
    """Dictionary version of :class:`~monai_bbox_mil.transforms.LoadBoxes`.

    Args:
        keys: box files, lists of box files or inline annotations, replaced by boxes ``(N, 2*D)``.
        image_key: the image that the boxes belong to.
        class_keys: where the classes ``(N,)`` go; that of a region to ignore is ``-2 - channel``.
        classes, format, min_size: as in the array version.
        allow_missing_keys: whether an absent annotation is passed over.

    Example:
        >>> import torch
        >>> from monai.data import MetaTensor
        >>> data = {"image": MetaTensor(torch.zeros(1, 8, 8)), "box": {"box": [[1, 2, 5, 6]], "label": [0]}}
        >>> LoadBoxesd("box")(data)["box"]
        tensor([[1., 2., 5., 6.]])
    """

    def __init__(
        self,
        keys: KeysCollection = "box",
        image_key: str = "image",
        class_keys: KeysCollection = "box_class",
        classes: Sequence[str | int] | None = None,
        format: str = "auto",
        allow_missing_keys: bool = False,
        min_size: int = 2,
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        self.image_key = image_key
        self.class_keys = _as_many(class_keys, self.keys, "class_keys")
        self.guard = DeformationGuard(image_key, before=True)
        self.loader = LoadBoxes(classes, format, min_size)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        d = dict(data)
        for key, class_key in self.key_iterator(d, self.class_keys):
            image = d[self.image_key]
            self.guard.check(self)
            refuse_lost_origin(self, self.image_key, image)
            d[key], d[class_key] = self.loader(d[key], image)
            d[_frame_key(key)] = box_frame(d[key], image)
        return d


class PackBoxesd(MapTransform):
    """Dictionary version of :class:`~monai_bbox_mil.transforms.PackBoxes`.

    Args:
        keys: boxes ``(N, 2*D)``; removed, with their classes and ignored flags, once packed.
        image_key: the image whose spatial shape the boxes are clipped to.
        class_keys: classes ``(N,)`` of the boxes, ``-2 - channel`` for regions to ignore.
        ignored_keys: ignored flags ``(N,)`` of the boxes, where there are any.
        box_tensor_keys: where the box tensors go.
        allow_missing_keys: whether absent boxes are passed over.

    Example:
        >>> import torch
        >>> data = {"image": torch.zeros(1, 8, 8), "box": torch.ones(1, 4) * torch.tensor([1, 2, 5, 6])}
        >>> PackBoxesd("box")({**data, "box_class": torch.tensor([0])})["label"].tolist()
        [[1.0, 2.0, 5.0, 6.0, 0.0]]
    """

    def __init__(
        self,
        keys: KeysCollection = "box",
        image_key: str = "image",
        class_keys: KeysCollection = "box_class",
        ignored_keys: KeysCollection = "box_ignored",
        box_tensor_keys: KeysCollection = "label",
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        self.image_key = image_key
        self.class_keys = _as_many(class_keys, self.keys, "class_keys")
        self.ignored_keys = _as_many(ignored_keys, self.keys, "ignored_keys")
        self.box_tensor_keys = _as_many(box_tensor_keys, self.keys, "box_tensor_keys")
        self.packer = PackBoxes()

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        d = dict(data)
        for key, class_key, ignored_key, target in self.key_iterator(
            d, self.class_keys, self.ignored_keys, self.box_tensor_keys
        ):
            boxes, classes, ignored = d.pop(key), d.pop(class_key), d.pop(ignored_key, None)
            # MONAI's trace of what happened to the boxes: it differs in length between images and cannot be collated.
            d.pop(TraceableTransform.trace_key(key), None)
            image = d[self.image_key]
            boxes = check_box_frame(boxes, image, repr(key), self.image_key, d.pop(_frame_key(key), None))
            d[target] = with_box_frame(self.packer(boxes, classes, spatial_shape(image), ignored), image)
        return d


class UnpackBoxesd(MapTransform):
    """Dictionary version of :class:`~monai_bbox_mil.transforms.UnpackBoxes`, the inverse of :class:`PackBoxesd`.

    Put it before MONAI's detection transforms (``RandFlipBoxd``, ``RandRotateBox90d``, ...), which move boxes with
    their image, and :class:`PackBoxesd` after them.

    Args:
        keys: box tensors ``(N, 2*D + 1)``; removed once unpacked.
        box_keys: where the boxes ``(N, 2*D)`` go.
        class_keys: where the classes ``(N,)`` go.
        ignored_keys: where the ignored flags ``(N,)`` go.
        allow_missing_keys: whether absent box tensors are passed over.
        image_key: the image that the boxes belong to.

    Raises:
        ValueError: when the image moved since the boxes were made, or a deformation of it follows.

    Example:
        >>> import torch
        >>> UnpackBoxesd("label")({"label": torch.tensor([[1.0, 2, 5, 6, 0]])})["box"]
        tensor([[1., 2., 5., 6.]])
    """

    def __init__(
        self,
        keys: KeysCollection = "label",
        box_keys: KeysCollection = "box",
        class_keys: KeysCollection = "box_class",
        ignored_keys: KeysCollection = "box_ignored",
        allow_missing_keys: bool = False,
        image_key: str = "image",
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        self.image_key = image_key
        self.box_keys = _as_many(box_keys, self.keys, "box_keys")
        self.class_keys = _as_many(class_keys, self.keys, "class_keys")
        self.ignored_keys = _as_many(ignored_keys, self.keys, "ignored_keys")
        self.guard = DeformationGuard(image_key)
        self.unpacker = UnpackBoxes()

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        d = dict(data)
        for key, *targets in self.key_iterator(d, self.box_keys, self.class_keys, self.ignored_keys):
            self.guard.check(self)
            box_tensor, image = d.pop(key), d.get(self.image_key)
            rows = check_box_frame(box_tensor, image, repr(key), self.image_key)
            d.update(zip(targets, self.unpacker(rows), strict=True))
            if isinstance(box_tensor, MetaTensor) and BOX_FRAME in box_tensor.meta:
                d[_frame_key(targets[0])] = box_tensor.meta[BOX_FRAME]
            elif image is not None:
                d[_frame_key(targets[0])] = box_frame(d[targets[0]], image)
        return d


class BoxTensorToMaskd(MapTransform, BoxMaskTrait):
    """Dictionary version of :class:`~monai_bbox_mil.transforms.BoxTensorToMask`.

    Args:
        keys: box tensors ``(N, 2*D + 1)``, kept.
        mask_keys: where the masks ``(num_classes, *spatial)`` go.
        num_classes, ignored: as in the array version.
        image_key: the image whose spatial shape the masks get.
        allow_missing_keys: whether absent box tensors are passed over.

    Example:
        >>> import torch
        >>> data = {"image": torch.zeros(1, 2, 3), "label": torch.tensor([[0.0, 1, 1, 3, 0]])}
        >>> BoxTensorToMaskd("label", num_classes=1)(data)["box_mask"].tolist()
        [[[0, 1, 1], [0, 0, 0]]]
    """

    def __init__(
        self,
        keys: KeysCollection = "label",
        mask_keys: KeysCollection = "box_mask",
        num_classes: int = 1,
        ignored: bool = False,
        image_key: str = "image",
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        self.mask_keys = _as_many(mask_keys, self.keys, "mask_keys")
        self.image_key = image_key
        self.converter = BoxTensorToMask(num_classes, ignored)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        d = dict(data)
        for key, mask_key in self.key_iterator(d, self.mask_keys):
            image = d[self.image_key]
            d[mask_key] = self.converter(
                check_box_frame(d[key], image, repr(key), self.image_key), spatial_shape(image)
            )
        return d


def _frame_key(key: Hashable) -> str:
    """Return the key of the boxes' frame: beside the boxes, as MONAI's detection transforms make new tensors."""
    return f"{key}_frame"


def _as_many(keys: KeysCollection, like: Sequence[Hashable], name: str) -> tuple[Hashable, ...]:
    """Return ``keys`` as a tuple of the length of ``like``."""
    result = (keys,) if isinstance(keys, str) or not isinstance(keys, Sequence) else tuple(keys)
    if len(result) != len(like):
        raise ValueError(f"{name} must name one key for each of {tuple(like)}, got {result}.")
    return result


MaskToBoxTensorD = MaskToBoxTensorDict = MaskToBoxTensord
LoadBoxesD = LoadBoxesDict = LoadBoxesd
PackBoxesD = PackBoxesDict = PackBoxesd
UnpackBoxesD = UnpackBoxesDict = UnpackBoxesd
BoxTensorToMaskD = BoxTensorToMaskDict = BoxTensorToMaskd
