# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
"""Collation of images with unequal numbers of boxes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from monai.data import list_data_collate

from monai_bbox_mil.annotations import check_box_frame
from monai_bbox_mil.boxes import BoxBatch, batch_box_tensors

__all__ = ["pad_box_collate"]


def pad_box_collate(batch: Sequence[Any], box_keys: Sequence[str] = ("label",), image_key: str = "image") -> Any:
    """Collate a batch, and pad box tensors to the largest number of boxes; no box is dropped.

    Everything else goes through :func:`monai.data.list_data_collate`. A value under one of ``box_keys`` that is not a
    box tensor ``(N, 2*D + 1)``, such as the mask of a fully supervised run, is collated as usual.

    Boxes from this package's transforms record which image they were made for. They are compared with the image beside
    them. Where that image has lost its meta data (``track_meta=False``), only its shape can be compared.

    Args:
        batch: one dictionary per image, or lists of dictionaries, as transforms like ``RandSpatialCropSamplesd`` make.
        box_keys: keys of box tensors.
        image_key: key of the image that the boxes belong to, if there is one.

    Returns:
        dictionary of batches, in which box tensors are ``(B, N_max, 2*D + 1)``.

    Raises:
        ValueError: if the batch is empty, an image was moved after its boxes were made, or only some of the items have
            a box tensor under one of the keys.
        TypeError: if an item is neither a dictionary nor a list of dictionaries.

    Example:
        >>> batch = [{"label": torch.ones(n, 5)} for n in (1, 3)]
        >>> pad_box_collate(batch)["label"].shape
        torch.Size([2, 3, 5])
        >>> pad_box_collate([batch, batch])["label"].shape
        torch.Size([4, 3, 5])
    """
    items = list(_items(batch))
    if not items:
        raise ValueError("batch must hold at least one item, got none.")
    boxes = {}
    for key in box_keys:
        holds = [_is_box_tensor(item.get(key)) for item in items]
        if not any(holds):
            continue
        if not all(holds):
            _refuse_mixture(items, holds, key, image_key)
        rows = [check_box_frame(item[key], item.get(image_key), repr(key), image_key) for item in items]
        boxes[key] = batch_box_tensors(rows)
    if not boxes:
        return list_data_collate(items)
    collated = list_data_collate([{key: item[key] for key in item if key not in boxes} for item in items])
    image = collated.get(image_key)
    for key, padded in boxes.items():
        dims = padded.shape[-1] // 2
        known = torch.is_tensor(image) and image.ndim == 2 + dims
        collated[key] = BoxBatch(padded, image.shape[2:]) if known else padded
    return {key: collated[key] for key in items[0]}


def _items(batch: Any) -> Iterator[Mapping[str, Any]]:
    """Yield the dictionaries of a batch, and those in its lists of samples."""
    for item in batch:
        if isinstance(item, Mapping):
            yield item
        elif isinstance(item, (list, tuple)):
            yield from _items(item)
        else:
            raise TypeError(f"batch must hold dictionaries or lists of them, got {type(item).__name__}.")


def _is_box_tensor(value: Any) -> bool:
    return torch.is_tensor(value) and value.ndim == 2


def _name(item: Mapping[str, Any], key: str, image_key: str) -> str:
    path = getattr(item.get(image_key), "meta", {}).get("filename_or_obj")
    return repr(key) if path is None else f"{key!r} of {path}"


def _refuse_mixture(items: Sequence[Mapping[str, Any]], holds: Sequence[bool], key: str, image_key: str) -> None:
    number = list(holds).index(False)
    value = items[number].get(key)
    got = f"a tensor of shape {tuple(value.shape)}" if torch.is_tensor(value) else type(value).__name__
    got = got if key in items[number] else f"no {key!r}"
    raise ValueError(
        f"{_name(items[number], key, image_key)}: batch[{number}] must hold a box tensor (N, 2*D + 1), as other items "
        f"of its batch do, got {got}. An image without an object has boxes of shape (0, 2*D + 1)."
    )
