# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
"""Turn outlines of objects, each in one slice of a volume, into boxes.

A row or column of pixels belongs to a box when the outline covers at least a quarter of it. Contour tracers draw
through the centres of an object's outermost pixels; others draw along the outer edges. Both kinds of contour give the
tight box of the object's mask, and rounding the coordinates to a small part of a pixel does not change it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Sequence

import numpy as np
import torch
from matplotlib.path import Path as Polygon
from torch import Tensor

from monai_bbox_mil.annotations.geometry import box_corners

__all__ = ["QUARTER_PIXEL", "find_holes", "slice_axis", "slice_box"]

QUARTER_PIXEL = 0.25
"""How much of a row must be covered, and how far an outline may be off the plane of its slice, in voxels."""


def slice_axis(outlines: Sequence[Tensor], place: str) -> int:
    """Return the axis across which all outlines are flat; of several the last one, as in a DICOM series.

    Args:
        outlines: points ``(K, 3)`` each, in the coordinates of half-open index boxes, voxels.
        place: position of the outlines in the file, for messages.

    Raises:
        ValueError: when there is no such axis.

    Example:
        >>> slice_axis([torch.tensor([[2.5, 1.5, 4.5], [5.5, 1.5, 4.5], [5.5, 3.5, 4.5]])], "a.dcm")
        2
    """
    extents = torch.stack([points.amax(dim=0) - points.amin(dim=0) for points in outlines]).amax(dim=0).tolist()
    flat = [axis for axis in range(3) if extents[axis] <= 2 * QUARTER_PIXEL]
    if not flat:
        raise ValueError(
            f"{place}: expected outlines in the planes of the image's slices, got some that reach across "
            f"{[round(extent, 2) for extent in extents]} voxels along its axes."
        )
    return flat[-1]


def slice_box(points: Tensor, axis: int, place: str) -> tuple[int, Tensor]:
    """Return the number of an outline's slice, and the box of the pixels that the outline covers in it.

    Args:
        points: ``(K, 3)``, in the coordinates of half-open index boxes, voxels.
        axis: across the slices.
        place: position of the outline in the file, for messages.

    Returns:
        the number, and the box's corners ``(8, 3)``, at whole voxels; at least one pixel.

    Raises:
        ValueError: when the outline lies between two slices.

    Example:
        >>> centres = torch.tensor([[2.5, 1.5, 4.5], [5.5, 1.5, 4.5], [5.5, 3.5, 4.5]])
        >>> edges = torch.tensor([[2.0, 1.0, 4.5], [6.0, 1.0, 4.5], [6.0, 4.0, 4.5]])
        >>> [slice_box(points, 2, "")[1][[0, -1]].tolist() for points in (centres, edges)]
        [[[2.0, 1.0, 4.0], [6.0, 4.0, 5.0]], [[2.0, 1.0, 4.0], [6.0, 4.0, 5.0]]]
    """
    low, high = points.amin(dim=0), points.amax(dim=0)
    number = int(points[:, axis].mean().floor())
    if float((points[:, axis] - number - 0.5).abs().max()) > QUARTER_PIXEL:
        raise ValueError(
            f"{place}: expected an outline in the plane of a slice, which are at 0, 1, 2, .., got one at "
            f"{float(low[axis]) - 0.5:.2f} to {float(high[axis]) - 0.5:.2f}."
        )
    middle = ((low + high) / 2).floor()
    low = torch.minimum((low + QUARTER_PIXEL).floor(), middle)
    high = torch.maximum((high - QUARTER_PIXEL).ceil(), middle + 1)
    low[axis], high[axis] = number, number + 1
    return number, box_corners(torch.cat([low, high])[None])[0]


def find_holes(polygons: Sequence[np.ndarray], groups: Sequence[Hashable]) -> list[bool]:
    """Find the polygons that are holes: those inside an odd number of larger polygons of their group.

    Args:
        polygons: ``(K, 2)`` each, in any unit.
        groups: one per polygon. Polygons of different groups do not affect each other.

    Returns:
        one flag per polygon. A polygon inside a hole is not a hole.

    Example:
        >>> square = np.array([[-1, -1], [-1, 1], [1, 1], [1, -1]])
        >>> find_holes([square, 3 * square, 2 * square, 9 * square], ["a", "a", "a", "b"])
        [False, False, True, False]
    """
    members = defaultdict(list)
    for index, group in enumerate(groups):
        members[group].append(index)
    areas = [_area(polygon) for polygon in polygons]
    holes = []
    for inner, polygon in enumerate(polygons):
        larger = [other for other in members[groups[inner]] if areas[other] > areas[inner]]
        # Where the object around a hole is thin, both contours may share some points.
        around = [other for other in larger if Polygon(polygons[other]).contains_points(polygon).mean() > 0.5]
        holes.append(len(around) % 2 == 1)
    return holes


def _area(polygon: np.ndarray) -> float:
    x, y = polygon.T
    return abs(float(x @ np.roll(y, 1) - y @ np.roll(x, 1))) / 2
