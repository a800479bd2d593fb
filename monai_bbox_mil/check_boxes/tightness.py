# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
"""Compare drawn boxes with the objects of a mask."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from monai_bbox_mil.boxes import clip_boxes, snap_boxes
from monai_bbox_mil.check_boxes.box_rules import box_finding
from monai_bbox_mil.check_boxes.findings import Finding
from monai_bbox_mil.check_boxes.options import CheckOptions
from monai_bbox_mil.check_boxes.reading import boxes_of_mask

__all__ = ["box_margins", "compare_with_mask"]

_SIDES = ("x_min", "y_min", "z_min", "x_max", "y_max", "z_max")


def compare_with_mask(
    boxes: Tensor, classes: Tensor, places: Sequence[str], mask: Tensor, options: CheckOptions
) -> tuple[Tensor, list[Finding]]:
    """Find out how tight drawn boxes are, which boxes are empty, and which objects have no box.

    Args:
        boxes: ``(N, 6)``, voxels, half-open.
        classes: ``(N,)`` channels of the mask.
        places: ``N`` names of the boxes.
        mask: ``(classes, H, W, Z)``.
        options: say how to cut objects into slices, and how far a side may miss its object.

    Returns:
        margins ``(N, 6)`` as in :func:`box_margins`, and the findings.

    Example:
        >>> mask = torch.zeros(1, 20, 20, 1)
        >>> mask[0, 4:9, 4:9] = 1
        >>> margins, findings = compare_with_mask(
        ...     torch.tensor([[4.0, 0, 0, 9, 9, 1]]), torch.tensor([0]), ["box[0]"], mask, CheckOptions()
        ... )
        >>> findings[0].detail
        'beyond the object by y_min 4 voxels; mean of all sides 1'
    """
    shape, axes = tuple(mask.shape[1:]), options.plane_axes(tuple(mask.shape[1:]))
    clipped, _ = clip_boxes(snap_boxes(boxes), shape)
    tight, kinds = boxes_of_mask(mask, options)
    belongs, shares = _assign(clipped, classes, tight, kinds, mask)
    margins = box_margins(clipped, tight, belongs)
    columns = [*axes, *(3 + axis for axis in axes)]
    findings = []
    for index in range(len(boxes)):
        if not bool(belongs[index].any()):
            findings.append(
                box_finding("box_without_object", "no voxel of its class in the mask", boxes, places, index)
            )
            continue
        mean = margins[index, columns].mean()
        for kind, verb, misses in (("loose", "beyond", margins[index]), ("cuts_object", "inside", -margins[index])):
            sides = [f"{_SIDES[c]} {misses[c]:g}" for c in columns if misses[c] > options.tolerance]
            if sides:
                detail = f"{verb} the object by {', '.join(sides)} voxels; mean of all sides {mean:.2g}"
                findings.append(box_finding(kind, detail, boxes, places, index))
    for index in (~belongs.any(dim=0)).nonzero().flatten().tolist():
        share = float(shares[:, index].max()) if len(boxes) else 0.0
        partly = f"; only {share:.0%} of it lies in a box" if share else ""
        voxels = tight[index, 3:] - tight[index, :3]
        detail = (
            f"{options.class_names[int(kinds[index])]}, an object of {' x '.join(f'{n:.0f}' for n in voxels.tolist())} "
            f"voxels at ({', '.join(f'{n:.0f}' for n in tight[index, :3].tolist())}){partly}"
        )
        findings.append(Finding("object_without_box", detail, region=tuple(tight[index].tolist())))
    return margins, findings


def box_margins(boxes: Tensor, tight: Tensor, belongs: Tensor) -> Tensor:
    """Measure the signed margins of boxes around their objects.

    Args:
        boxes: ``(N, 6)``, voxels.
        tight: ``(K, 6)`` tight boxes of the objects.
        belongs: ``(N, K)`` bool, which objects belong to which box.

    Returns:
        ``(N, 6)``, in the order of the corners: positive where a side lies beyond the object, negative where it cuts
        it; NaN for a box without object.

    Example:
        >>> box_margins(torch.tensor([[0, 0, 0, 9, 9, 1]]), torch.tensor([[1, 0, 0, 9, 10, 1]]), torch.tensor([[True]]))
        tensor([[ 1.,  0.,  0.,  0., -1.,  0.]])
    """
    margins = torch.full(boxes.shape, torch.nan)
    for index, mine in enumerate(belongs):
        if bool(mine.any()):
            low, high = tight[mine, :3].amin(dim=0), tight[mine, 3:].amax(dim=0)
            margins[index] = torch.cat([low - boxes[index, :3], boxes[index, 3:] - high]).float()
    return margins


def _assign(boxes: Tensor, classes: Tensor, tight: Tensor, kinds: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """Find out which objects belong to which box ``(N, K)``, and which share of each object's tight box a box holds.

    An object belongs to every box that holds at least half of it. A box that holds half of no object was drawn too
    small or beside its object, and gets the object of which it holds most.
    """
    low = torch.maximum(boxes[:, None, :3], tight[None, :, :3])
    high = torch.minimum(boxes[:, None, 3:], tight[None, :, 3:])
    shares = (high - low).clamp(min=0).prod(dim=-1) / (tight[:, 3:] - tight[:, :3]).prod(dim=-1)
    shares = shares * (classes[:, None] == kinds)
    belongs = shares >= 0.5
    for index, ((x0, y0, z0, x1, y1, z1), channel) in enumerate(zip(boxes.int().tolist(), classes.tolist())):
        # Tight boxes may overlap where their objects do not.
        if not bool(mask[channel, x0:x1, y0:y1, z0:z1].any()):
            belongs[index] = False
        elif not bool(belongs[index].any()) and len(tight):
            belongs[index, shares[index].argmax()] = bool(shares[index].max() > 0)
    return belongs, shares
