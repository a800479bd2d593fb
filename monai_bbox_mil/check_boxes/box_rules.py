# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
"""Find faults of boxes that show in their corners and the image's size alone."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from monai.data.box_utils import box_iou
from torch import Tensor

from monai_bbox_mil.boxes import clip_boxes, snap_boxes
from monai_bbox_mil.check_boxes.findings import Finding
from monai_bbox_mil.check_boxes.options import CheckOptions

__all__ = ["box_finding", "find_box_faults", "lost_shares"]

_NEAR_DUPLICATE_IOU = 0.9
_WHOLE_IMAGE = 0.9
_SMALLEST_SIDE = 2
# Corners that an affine has moved carry rounding errors.
_ROUNDING = 1e-3


def box_finding(kind: str, detail: str, boxes: Tensor, places: Sequence[str], index: int) -> Finding:
    """Return a finding about one of several boxes, with its position in the annotation and its corners in voxels.

    Example:
        >>> box_finding("tiny", "a speck", torch.tensor([[1, 2.5, 0, 4, 6, 1]]), ["row 2"], 0).box
        'row 2: (1, 2.5, 0) to (4, 6, 1)'
    """
    corners = boxes[index].tolist()
    low, high = (", ".join(f"{round(value, 2):g}" for value in half) for half in (corners[:3], corners[3:]))
    return Finding(kind, detail, f"{places[index]}: ({low}) to ({high})", tuple(corners))


def lost_shares(boxes: Tensor, shape: Sequence[int]) -> Tensor:
    """Return the share of each box's volume that lies outside of the image.

    Args:
        boxes: ``(N, 6)``, voxels.
        shape: size of the image along three axes, in voxels.

    Returns:
        ``(N,)``, from 0 to 1.

    Example:
        >>> lost_shares(torch.tensor([[-1.0, 0, 0, 3, 2, 1]]), (4, 4, 1))
        tensor([0.2500])
    """
    boxes = _within_flat_axes(boxes, shape)
    clipped, left = clip_boxes(boxes, shape)
    share = _volumes(clipped) / _volumes(boxes).clamp(min=1e-12)
    return torch.where(left, 1 - share, 1.0)


def find_box_faults(
    boxes: Tensor, classes: Tensor, places: Sequence[str], shape: tuple[int, ...], options: CheckOptions
) -> list[Finding]:
    """Find boxes that are outside of the image, tiny, huge, thick or duplicates.

    Args:
        boxes: ``(N, 6)`` voxels of the image, half-open, not clipped.
        classes: ``(N,)`` channels.
        places: ``N`` names of the boxes.
        shape: size of the image along three axes, in voxels.
        options: say which axis runs across the slices.

    Example:
        >>> boxes = torch.tensor([[1.0, 1, 0, 2, 5, 1]])
        >>> [f.kind for f in find_box_faults(boxes, torch.tensor([0]), ["box[0]"], (9, 9, 1), CheckOptions())]
        ['tiny']
    """
    axes, findings = options.plane_axes(shape), []
    clipped, left = clip_boxes(boxes, shape)
    lost, flat = lost_shares(boxes, shape), _within_flat_axes(boxes, shape)
    overhang = torch.cat([-flat[:, :3], flat[:, 3:] - torch.as_tensor(shape)], dim=1)
    sides = (boxes[:, 3:] - boxes[:, :3])[:, axes]
    whole = torch.tensor([shape[axis] for axis in axes])
    covered = ((clipped[:, 3:] - clipped[:, :3])[:, axes] / whole).prod(dim=1)
    snapped = snap_boxes(boxes)
    for index in range(len(boxes)):
        kinds = {}
        if not left[index]:
            kinds["outside"] = f"the image has {' x '.join(map(str, shape))} voxels"
        elif bool((overhang[index] > _ROUNDING).any()):
            kinds["partly_outside"] = (
                f"by up to {overhang[index].max():.3g} voxels, {lost[index]:.0%} of the box; the image has "
                f"{' x '.join(map(str, shape))} voxels"
            )
        if left[index] and bool((sides[index] < _SMALLEST_SIDE - _ROUNDING).any()):
            kinds["tiny"] = f"{' x '.join(f'{side:.3g}' for side in sides[index].tolist())} voxels"
        if covered[index] >= _WHOLE_IMAGE and len(axes) > 1:
            kinds["covers_image"] = f"{covered[index]:.0%} of the {'volume' if len(axes) > 2 else 'slice'}"
        across = options.slice_axis
        if across is not None and shape[across] > 1 and snapped[index, 3 + across] - snapped[index, across] > 1:
            kinds["thick"] = f"over {snapped[index, 3 + across] - snapped[index, across]:.0f} slices"
        findings += [box_finding(kind, detail, boxes, places, index) for kind, detail in kinds.items()]
    return findings + _find_duplicates(boxes, classes, places)


def _find_duplicates(boxes: Tensor, classes: Tensor, places: Sequence[str]) -> list[Finding]:
    if len(boxes) < 2:
        return []
    overlap = torch.as_tensor(box_iou(boxes, boxes))
    # Each pair once; the finding is about the later box.
    pairs = ((overlap > _NEAR_DUPLICATE_IOU) & (classes[:, None] == classes)).triu(diagonal=1)
    findings = []
    for later in pairs.any(dim=0).nonzero().flatten().tolist():
        earlier = int((overlap[:, later] * pairs[:, later]).argmax())
        if bool((boxes[earlier] - boxes[later]).abs().max() < _ROUNDING):
            findings.append(box_finding("duplicate", f"same corners as {places[earlier]}", boxes, places, later))
        else:
            detail = f"overlap (IoU) of {overlap[earlier, later]:.2f} with {places[earlier]}"
            findings.append(box_finding("near_duplicate", detail, boxes, places, later))
    return findings


def _within_flat_axes(boxes: Tensor, shape: Sequence[int]) -> Tensor:
    """Cut boxes to the slice of a flat image that they meet, because their extent across it means nothing."""
    boxes = boxes.clone()
    for axis, size in enumerate(shape):
        meets = (boxes[:, axis] < 1) & (boxes[:, 3 + axis] > 0)
        if size == 1:
            boxes[meets, axis], boxes[meets, 3 + axis] = 0, 1
    return boxes


def _volumes(boxes: Tensor) -> Tensor:
    return (boxes[:, 3:] - boxes[:, :3]).clamp(min=0).prod(dim=1)
