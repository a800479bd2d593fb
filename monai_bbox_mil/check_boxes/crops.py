# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
"""Find boxes that the central crop of training would cut or lose."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from monai_bbox_mil.boxes import clip_boxes
from monai_bbox_mil.check_boxes.findings import Finding
from monai_bbox_mil.check_boxes.options import CheckOptions
from monai_bbox_mil.runs.texts import first_few
from monai_bbox_mil.transforms import CropCount, count_cropped

__all__ = ["count_crop", "find_too_small_a_crop"]

_MULTIPLE = 16  # networks that halve the image four times need it


def count_crop(boxes: Tensor, shape: Sequence[int], spacing_mm: Sequence[float], options: CheckOptions) -> CropCount:
    """Count the boxes of one image that ``image_size`` cuts, after resampling to the spacing of training.

    Args:
        boxes: ``(N, 6)`` voxels of the image as in its file.
        shape: size of the image along three axes, in voxels.
        spacing_mm: size of a voxel in the file, along three axes.
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
    clipped, left = clip_boxes(boxes.double(), shape)  # boxes outside of the image are another finding
    return count_cropped(clipped[left] * scale.repeat(2), kept, size)


def find_too_small_a_crop(counts: Sequence[tuple[str, CropCount]], options: CheckOptions) -> Finding | None:
    """Find out whether ``image_size`` cuts boxes, in which images, and which size would hold them all.

    Args:
        counts: name of each image, and what :func:`count_crop` says of it.
        options: give ``image_size``.

    Example:
        >>> counts = [("a.nii", CropCount(3, 1, 1, (112, 90, 1))), ("b.nii", CropCount(2, 0, 0, (60, 60, 1)))]
        >>> find_too_small_a_crop(counts, CheckOptions()).detail
        'image_size [96, 96] cuts 1 and loses 1 of 5 boxes, in 1 of 2 images (a.nii); [112, 96] would hold all'
    """
    cropped = [(name, count) for name, count in counts if count.cut + count.lost]
    if not cropped:
        return None
    largest = [max(count.size[axis] for _, count in cropped) for axis in range(len(options.crop_size))]
    needed = [
        size if most <= size else -(-most // _MULTIPLE) * _MULTIPLE for most, size in zip(largest, options.crop_size)
    ]
    totals = [sum(values) for values in zip(*(count[:3] for _, count in counts))]
    return Finding(
        "small_image_size",
        f"image_size {list(options.crop_size)} cuts {totals[1]} and loses {totals[2]} of {totals[0]} boxes, in "
        f"{len(cropped)} of {len(counts)} images ({first_few([name for name, _ in cropped])}); {needed} would hold all",
    )
