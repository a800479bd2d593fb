# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
"""Boxes that the central crop of training would cut or lose."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from monai_bbox_mil.boxes import clip_boxes
from monai_bbox_mil.check_boxes.findings import Finding
from monai_bbox_mil.check_boxes.options import CheckOptions
from monai_bbox_mil.transforms import CropCount, count_cropped

__all__ = ["count_crop", "find_crop", "find_too_small_a_crop"]

_MULTIPLE = 16  # what networks with four halvings take


def count_crop(boxes: Tensor, shape: Sequence[int], spacing_mm: Sequence[float], options: CheckOptions) -> CropCount:
    """Count the boxes of an image that ``image_size`` cuts, once the image has the spacing of training.

    Args:
        boxes: ``(N, 6)`` voxels of the image as in its file.
        shape: three sizes in voxels.
        spacing_mm: of the three axes in the file.
        options: give ``image_size`` and ``spacing_mm``.

    Example:
        >>> boxes = torch.tensor([[40.0, 60, 0, 80, 90, 1], [90, 90, 0, 110, 110, 1]])
        >>> count_crop(boxes, (200, 200, 1), (1, 1, 1), CheckOptions())
        CropCount(total=2, cut=1, lost=0, size=(120, 80, 1))
    """
    scale = torch.ones(3, dtype=torch.float64)
    for axis, wanted in enumerate(options.spacing_mm or ()):
        scale[axis] = spacing_mm[axis] / wanted
    size = [round(float(n * s)) for n, s in zip(shape, scale)]
    kept = []
    for axis, length in enumerate(size):
        crop = min(length, options.crop_size[axis]) if axis < len(options.crop_size) else length
        start = length // 2 - crop // 2
        kept.append(slice(start, start + crop))
    clipped, left = clip_boxes(boxes.double(), shape)  # what lies outside of the image is another finding
    return count_cropped(clipped[left] * scale.repeat(2), kept, size)


def find_crop(count: CropCount, options: CheckOptions) -> Finding | None:
    """The finding about one image.

    Example:
        >>> find_crop(CropCount(3, 1, 1, (112, 90, 1)), CheckOptions()).detail
        'of 3 boxes image_size [96, 96] cuts 1 and loses 1'
    """
    if not count.cut + count.lost:
        return None
    return Finding(
        "cropped",
        f"of {count.total} boxes image_size {list(options.crop_size)} cuts {count.cut} and loses {count.lost}",
    )


def find_too_small_a_crop(counts: Sequence[CropCount], options: CheckOptions) -> Finding | None:
    """The finding about the whole data set, with the size that would hold all boxes.

    Example:
        >>> counts = [CropCount(3, 1, 1, (112, 90, 1)), CropCount(2, 0, 0, (60, 60, 1))]
        >>> find_too_small_a_crop(counts, CheckOptions()).detail
        'of 5 boxes image_size [96, 96] cuts 1 and loses 1, in 1 of 2 images; image_size [112, 96] would hold all'
    """
    cropped = [count for count in counts if count.cut + count.lost]
    if not cropped:
        return None
    needed = [
        size if max(count.size[axis] for count in cropped) <= size
        else -(-max(count.size[axis] for count in cropped) // _MULTIPLE) * _MULTIPLE
        for axis, size in enumerate(options.crop_size)
    ]  # fmt: skip
    return Finding(
        "small_image_size",
        f"of {sum(count.total for count in counts)} boxes image_size {list(options.crop_size)} cuts "
        f"{sum(count.cut for count in counts)} and loses {sum(count.lost for count in counts)}, in {len(cropped)} of "
        f"{len(counts)} images; image_size {needed} would hold all",
    )
