# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
"""Conversion of box tensors to region masks."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from monai_bbox_mil.boxes.checks import check_exact_corners
from monai_bbox_mil.boxes.convention import clip_boxes, snap_boxes, unpack_boxes

__all__ = ["boxes_to_mask"]


def boxes_to_mask(box_tensor: Tensor, spatial_shape: Sequence[int], num_classes: int, ignored: bool = False) -> Tensor:
    """Fill the boxes of a batch in region masks.

    Args:
        box_tensor: ``(B, N_max, 2*D + 1)``. Corners are snapped outward to whole voxels and clipped to the image.
        spatial_shape: ``D`` sizes in voxels.
        num_classes: number of output channels ``C``.
        ignored: whether to fill ignored regions too.

    Returns:
        ``(B, C, *spatial_shape)`` bool on the box tensor's device.

    Raises:
        ValueError: if the number of columns does not match the number of spatial axes, a class is out of range, or the
            box tensor's type cannot represent the corners (:func:`check_exact_corners`).

    Example:
        >>> boxes_to_mask(torch.tensor([[[0., 1, 1, 3, 0]]]), (2, 3), 1).int()[0, 0]
        tensor([[0, 1, 1],
                [0, 0, 0]], dtype=torch.int32)
    """
    dims = len(spatial_shape)
    if box_tensor.ndim != 3 or box_tensor.shape[-1] != 2 * dims + 1:
        raise ValueError(f"box_tensor must have the shape (B, N, {2 * dims + 1}), got {tuple(box_tensor.shape)}.")
    check_exact_corners(box_tensor, spatial_shape, "box_tensor")
    mask = torch.zeros(len(box_tensor), num_classes, *spatial_shape, dtype=torch.bool, device=box_tensor.device)
    for image, rows in enumerate(box_tensor.float().cpu()):
        boxes, classes, skipped = unpack_boxes(rows)
        if len(classes) and int(classes.max()) >= num_classes:
            raise ValueError(f"box_tensor must have classes 0..{num_classes - 1}, got {int(classes.max())}.")
        boxes, _ = clip_boxes(snap_boxes(boxes), spatial_shape)
        for box, channel, skip in zip(boxes.long().tolist(), classes.tolist(), skipped.tolist()):
            if ignored or not skip:
                region = (image, channel, *(slice(a, b) for a, b in zip(box[:dims], box[dims:])))
                mask[region] = True
    return mask
