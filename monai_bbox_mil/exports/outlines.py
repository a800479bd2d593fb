# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
"""Outlines of objects along the outer edges of their pixels, which rasterise back to the same pixels."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["outline", "rings"]

# Steps along an edge: right, down, left, up, as one sees a picture whose first axis points right and second down.
_STEPS = np.array([[1, 0], [0, 1], [-1, 0], [0, -1]])


def outline(region: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Return one polygon around an object, also around one with holes.

    Formats with one polygon per object cannot say that another polygon is a hole. So the polygon goes from its outer
    ring into each hole and back on the same line, which encloses nothing.

    Args:
        region: ``(H, W)`` bool, one component whose pixels are connected by their sides.

    Returns:
        ``(K, 2)`` corners of pixels: the pixel (0, 0) has the corners (0, 0), (1, 0), (1, 1) and (0, 1).

    Example:
        >>> outline(np.array([[True, True]])).tolist()
        [[0, 0], [1, 0], [1, 2], [0, 2]]
    """
    outer, *holes = rings(region)
    polygon = outer.tolist()
    # In this order, the way to the left from a hole ends at the outer ring or at a hole that is joined already.
    for hole in sorted((_from_left(hole) for hole in holes), key=lambda hole: hole[0]):
        x, y = hole[0]
        corners = np.array([*polygon, polygon[0]])
        (x0, y0), (x1, y1) = corners[:-1].T, corners[1:].T
        reached = (x0 == x1) & (x0 <= x) & (np.minimum(y0, y1) <= y) & (y <= np.maximum(y0, y1))
        edge = int(np.where(reached, x0, -1).argmax())
        end = [int(x0[edge]), y]
        polygon[edge + 1 : edge + 1] = [end, *hole, hole[0], end]
    return np.array([point for point, before in zip(polygon, polygon[-1:] + polygon[:-1]) if point != before])


def rings(region: NDArray[np.bool_]) -> list[NDArray[np.int64]]:
    """Return the outer ring of an object and those of its holes, which run the other way round.

    Args:
        region: ``(H, W)`` bool, one component whose pixels are connected by their sides.

    Returns:
        ``(K, 2)`` corners of pixels each, where the ring turns; the outer ring first.

    Example:
        >>> ring = np.ones((3, 3), dtype=bool)
        >>> ring[1, 1] = False
        >>> [each.tolist() for each in rings(ring)]
        [[[0, 0], [3, 0], [3, 3], [0, 3]], [[1, 1], [1, 2], [2, 2], [2, 1]]]
    """
    padded = np.pad(region, 1)
    inside = padded[1:-1, 1:-1]
    # Each side of a pixel that has no neighbour there, from the corner where one who walks clockwise comes to it.
    sides = (padded[1:-1, :-2], padded[2:, 1:-1], padded[1:-1, 2:], padded[:-2, 1:-1])
    starts = ((0, 0), (1, 0), (1, 1), (0, 1))
    leaves = np.zeros((region.shape[0] + 1, region.shape[1] + 1, 4), dtype=bool)
    for direction, (neighbour, (x, y)) in enumerate(zip(sides, starts, strict=True)):
        found = np.argwhere(inside & ~neighbour) + (x, y)
        leaves[found[:, 0], found[:, 1], direction] = True
    edges = np.argwhere(leaves)
    number = np.full(leaves.shape, -1)
    number[tuple(edges.T)] = np.arange(len(edges))
    ends = edges[:, :2] + _STEPS[edges[:, 2]]
    following = np.full(len(edges), -1)
    # Where two pixels touch over a corner, the first turn stays at the same pixel.
    for turn in (3, 0, 1):
        candidate = number[ends[:, 0], ends[:, 1], (edges[:, 2] + turn) % 4]
        following = np.where(candidate >= 0, candidate, following)
    found_rings = [edges[ring] for ring in _cycles(following.tolist())]
    corners = [ring[ring[:, 2] != np.roll(ring[:, 2], 1), :2] for ring in found_rings]
    return sorted(corners, key=_area, reverse=True)


def _cycles(following: list[int]) -> list[list[int]]:
    seen = [False] * len(following)
    found = []
    for first in range(len(following)):
        if seen[first]:
            continue
        cycle, edge = [], first
        while not seen[edge]:
            seen[edge] = True
            cycle.append(edge)
            edge = following[edge]
        found.append(cycle)
    return found


def _area(ring: NDArray[np.int64]) -> int:
    """Return twice the area: negative for holes."""
    x, y = ring.T
    return int(x @ np.roll(y, -1) - y @ np.roll(x, -1))


def _from_left(hole: NDArray[np.int64]) -> list[list[int]]:
    """Let a ring start at its leftmost corner."""
    points = hole.tolist()
    first = points.index(min(points))
    return [*points[first:], *points[:first]]
