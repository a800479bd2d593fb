# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
"""Find boxes whose numbers mean something else: swapped axes, another coordinate system, reversed directions."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import permutations, product

import torch
from torch import Tensor

from monai_bbox_mil.annotations import BoxSurvey, boxes_from_world
from monai_bbox_mil.boxes import clip_boxes, snap_boxes
from monai_bbox_mil.check_boxes.box_rules import lost_shares
from monai_bbox_mil.check_boxes.findings import Finding

__all__ = ["find_misplaced", "find_wrong_coordinates", "turned_boxes"]

_AXES = "xyz"
# When most boxes have so large a share outside of the image, it is no accident.
_LOST = 0.5
_FITS = 0.01
# Objects fill at least this share of boxes in the right place; turned boxes must be this many times better to count.
_FILLED = 0.25
_FAR_BETTER = 3


def find_wrong_coordinates(survey: BoxSurvey, affine: Tensor, shape: tuple[int, ...]) -> Finding | None:
    """Find out whether most boxes lie outside of the image, but would lie inside if their numbers meant something else.

    Args:
        survey: boxes of three axes in voxels of the image, as in its file.
        affine: ``(4, 4)``, from voxels to mm RAS.
        shape: size of the image along three axes, in voxels.

    Returns:
        the one finding ``axis_swap`` or ``wrong_space``, or ``None``.

    Example:
        >>> box = torch.tensor([[1.0, 20, 0, 5, 30, 1]])
        >>> survey = BoxSurvey(box, box, "index", torch.tensor([0]), ["box[0]"], [], torch.tensor([False]))
        >>> find_wrong_coordinates(survey, torch.eye(4), (40, 10, 1)).kind
        'axis_swap'
    """
    if not len(survey.boxes) or (lost_shares(survey.boxes, shape) > _LOST).double().mean() <= 0.5:
        return None
    swaps = [
        (f"the axes are taken in the order {', '.join(_AXES[axis] for axis in order)}", turned)
        for order, turned in _swapped(survey.boxes, shape)
    ]
    negated = survey.given * torch.tensor([-1.0, -1, 1, -1, -1, 1])
    negated = torch.cat([negated[:, :3].minimum(negated[:, 3:]), negated[:, :3].maximum(negated[:, 3:])], dim=1)
    if survey.space == "index":
        spaces = [
            ("the numbers are taken as mm in RAS", boxes_from_world(survey.given, affine)),
            ("the numbers are taken as mm in LPS", boxes_from_world(negated, affine)),
        ]
    else:
        spaces = [
            ("the first two axes are negated (LPS mistaken for RAS, or the reverse)",
             boxes_from_world(negated, affine)),
            ("the numbers are taken as voxels", survey.given),
        ]  # fmt: skip
    for kind, readings in (("axis_swap", swaps), ("wrong_space", spaces)):
        fitting = [name for name, boxes in readings if _fit(boxes, shape)]
        if fitting:
            outside = int((lost_shares(survey.boxes, shape) > _LOST).sum())
            detail = (
                f"{outside} of {len(survey.boxes)} boxes lie outside of the image ({' x '.join(map(str, shape))} "
                f"voxels), but all fit if {', or if '.join(fitting)}; the first is {_numbers(survey)}"
            )
            return Finding(kind, detail)
    return None


def find_misplaced(boxes: Tensor, classes: Tensor, mask: Tensor) -> Finding | None:
    """Find out whether boxes hold little of the mask's objects, but far more with axes swapped or reversed.

    Args:
        boxes: ``(N, 6)``, voxels.
        classes: ``(N,)`` channels of the mask.
        mask: ``(classes, H, W, Z)``.

    Example:
        >>> mask = torch.zeros(1, 20, 20, 1)
        >>> mask[0, 2:6, 3:9] = 1
        >>> find_misplaced(torch.tensor([[14.0, 3, 0, 18, 9, 1]]), torch.tensor([0]), mask).detail
        'objects fill 0% of the boxes, but 100% if x is reversed'
    """
    shape = tuple(mask.shape[1:])
    now = _filled(boxes, classes, mask)
    if not len(boxes) or now >= _FILLED:
        return None
    best, name = max((_filled(turned, classes, mask), name) for name, turned in turned_boxes(boxes, shape))
    if best < max(_FILLED, _FAR_BETTER * now):
        return None
    return Finding("misplaced", f"objects fill {now:.0%} of the boxes, but {best:.0%} if {name}")


def turned_boxes(boxes: Tensor, shape: tuple[int, ...], axes: Sequence[int] = (0, 1, 2)) -> list[tuple[str, Tensor]]:
    """Swap and reverse axes of the boxes in all ways that keep them in the image.

    Args:
        boxes: ``(N, 6)``, voxels.
        shape: size of the image along three axes, in voxels.
        axes: the axes that may change.

    Returns:
        the name of each way and the boxes ``(N, 6)`` turned so, without the boxes as they are.

    Example:
        >>> [name for name, _ in turned_boxes(torch.tensor([[0.0, 1, 0, 2, 4, 1]]), (5, 5, 1))]
        ['y is reversed', 'x is reversed', 'x, y are reversed', 'axes are y, x, z', \
'axes are y, x, z and y is reversed', 'axes are y, x, z and x is reversed', 'axes are y, x, z and x, y are reversed']
    """
    size = torch.as_tensor(shape, dtype=boxes.dtype)
    changed = []
    for order, swapped in [((0, 1, 2), boxes), *_swapped(boxes, shape)]:
        if any(place != axis for axis, place in enumerate(order) if axis not in axes) or not _fit(swapped, shape):
            continue
        for reverse in product(*[(False, True) if shape[a] > 1 and a in axes else (False,) for a in range(3)]):
            flags = torch.tensor(reverse)
            low = torch.where(flags, size - swapped[:, 3:], swapped[:, :3])
            high = torch.where(flags, size - swapped[:, :3], swapped[:, 3:])
            names = [] if order == (0, 1, 2) else [f"axes are {', '.join(_AXES[axis] for axis in order)}"]
            if any(reverse):
                letters = [_AXES[axis] for axis in range(3) if reverse[axis]]
                names.append(f"{', '.join(letters)} {'is' if len(letters) == 1 else 'are'} reversed")
            if names:
                changed.append((" and ".join(names), torch.cat([low, high], dim=1)))
    return changed


def _swapped(boxes: Tensor, shape: tuple[int, ...]) -> list[tuple[tuple[int, ...], Tensor]]:
    """Return the boxes with their axes in each other order; the axis of a single slice keeps its place."""
    orders = [order for order in permutations(range(3)) if order != (0, 1, 2)]
    if 1 in shape:
        flat = shape.index(1)
        orders = [order for order in orders if order[flat] == flat]
    return [(order, boxes[:, [*order, *(3 + axis for axis in order)]]) for order in orders]


def _fit(boxes: Tensor, shape: tuple[int, ...]) -> bool:
    """Return whether all boxes lie in the image and are no specks; the position across a flat image is ignored."""
    flat = torch.tensor([size == 1 for size in shape])
    low = torch.where(flat, 0.0, boxes[:, :3].double())
    high = torch.where(flat, 1.0, boxes[:, 3:].double())
    inside = lost_shares(torch.cat([low, high], dim=1), shape) <= _FITS
    return bool((inside & (high - low >= 1).all(dim=1)).all())


def _filled(boxes: Tensor, classes: Tensor, mask: Tensor) -> float:
    """Return the share of the boxes' volume that objects of their class fill."""
    clipped, _ = clip_boxes(snap_boxes(boxes), mask.shape[1:])
    object_voxels = all_voxels = 0
    for (x0, y0, z0, x1, y1, z1), channel in zip(clipped.int().tolist(), classes.tolist()):
        region = mask[channel, x0:x1, y0:y1, z0:z1]
        object_voxels += int(torch.count_nonzero(region))
        all_voxels += region.numel()
    return object_voxels / max(1, all_voxels)


def _numbers(survey: BoxSurvey) -> str:
    unit = "voxels" if survey.space == "index" else "mm RAS"
    return f"{survey.places[0]}: {[round(value, 2) for value in survey.given[0].tolist()]} {unit}"
