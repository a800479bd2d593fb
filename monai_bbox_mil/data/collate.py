# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
"""Collation of images with unequal numbers of boxes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from monai.data import list_data_collate

from monai_bbox_mil.boxes import batch_box_tensors

__all__ = ["pad_box_collate"]


def pad_box_collate(batch: Sequence[Mapping[str, Any]], box_keys: Sequence[str] = ("label",)) -> Any:
    """Collate a batch, box tensors padded to the image with most boxes; no box is dropped.

    Everything else goes through :func:`monai.data.list_data_collate`. A value under one of ``box_keys`` that is not a
    box tensor ``(N, 2*D + 1)``, such as the mask of a fully supervised run, is collated as usual.

    Args:
        batch: one dictionary an image.
        box_keys: keys that hold box tensors.

    Returns:
        dictionary of batches, each box tensor ``(B, N_max, 2*D + 1)``.

    Example:
        >>> batch = [{"label": torch.ones(n, 5)} for n in (1, 3)]
        >>> pad_box_collate(batch)["label"].shape
        torch.Size([2, 3, 5])
    """
    items = [dict(item) for item in batch]
    for key in box_keys:
        if all(torch.is_tensor(item.get(key)) and item[key].ndim == 2 for item in items):
            for item, padded in zip(items, batch_box_tensors([item[key] for item in items])):
                item[key] = padded
    return list_data_collate(items)
