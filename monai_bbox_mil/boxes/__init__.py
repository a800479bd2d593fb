# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
"""Box tensors in the package's one box convention; see :mod:`monai_bbox_mil.boxes.convention`."""

from monai_bbox_mil.boxes.batches import BoxBatch, batch_box_tensors
from monai_bbox_mil.boxes.checks import check_box_tensor, check_exact_corners, exact_limit
from monai_bbox_mil.boxes.convention import (
    PADDING,
    box_codes,
    clip_boxes,
    pack_boxes,
    slice_box_tensor,
    snap_boxes,
    split_codes,
    unpack_boxes,
)
from monai_bbox_mil.boxes.frames import BOX_FRAME, BoxFrame
from monai_bbox_mil.boxes.masks import boxes_to_mask

__all__ = [
    "BOX_FRAME",
    "PADDING",
    "BoxBatch",
    "BoxFrame",
    "batch_box_tensors",
    "box_codes",
    "boxes_to_mask",
    "check_box_tensor",
    "check_exact_corners",
    "clip_boxes",
    "exact_limit",
    "pack_boxes",
    "slice_box_tensor",
    "snap_boxes",
    "split_codes",
    "unpack_boxes",
]
