# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
"""Crossing lines (2D) and crossing planes (3D) of boxes.

These digital lines have no gaps, and the lines of one direction and angle are disjoint. A 4-connected object that
touches all four sides of its box therefore meets every line.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from monai_bbox_mil.bags.line_geometry import lines_of_boxes
from monai_bbox_mil.bags.line_tables import line_tables
from monai_bbox_mil.bags.patches import LANES, BoxPatches
from monai_bbox_mil.bags.row_sums import largest_of_windows, sum_windows

__all__ = ["CrossingLines", "resolve_angles"]


def resolve_angles(angles_deg: Sequence[float]) -> tuple[float, ...]:
    """Turn the paper's ``(start, stop, step)``, or a list, into a tuple of angles in degrees.

    Exactly three values that do *not* increase strictly, with ``start < stop`` and ``step > 0``, are read as a range
    that includes its stop. Anything else is read as a list. So ``(-40, 40, 20)`` is a range of five angles, and
    ``(-30, 0, 30)`` is a list of three.

    Args:
        angles_deg: degrees, each inside ``(-90, 90)``.

    Raises:
        ValueError: if ``angles_deg`` is empty, contains the same angle twice or an angle outside ``(-90, 90)``, or is a
            range whose step does not lead from start to stop.

    Example:
        >>> resolve_angles((-40, 40, 20))
        (-40.0, -20.0, 0.0, 20.0, 40.0)
        >>> resolve_angles((-30, 0, 30))
        (-30.0, 0.0, 30.0)
        >>> resolve_angles([0])
        (0.0,)
    """
    angles = tuple(float(a) for a in angles_deg)
    if len(angles) == 3 and angles[0] < angles[1] and 0 < angles[2] <= angles[1]:
        start, stop, step = angles
        count = round((stop - start) / step)
        if not math.isclose(start + count * step, stop, abs_tol=1e-6):
            raise ValueError(
                f"angles_deg must have a step that leads from start to stop when it is (start, stop, step), "
                f"got {angles}. To give a list of three angles, sort them in increasing order."
            )
        angles = tuple(start + i * step for i in range(count + 1))
    if not angles or len(set(angles)) != len(angles) or not all(-90 < a < 90 for a in angles):
        raise ValueError(
            f"angles_deg must be distinct angles in degrees, each between -90 and 90, got {tuple(angles_deg)}."
        )
    return angles


class CrossingLines:
    """Positive bags: the crossing lines (2D) or crossing planes (3D) of every box.

    For each ordered pair of axes ``(a, b)`` and each angle, parallel lines run from the low to the high side of ``a``.
    Let ``u`` and ``v`` be a pixel's offsets along ``a`` and ``b`` from the centre of the box. A line is the set of
    pixels with the same ``v - round(u tan(angle))``. A steep line, with ``|tan(angle)| > 1``, is the set of pixels with
    the same ``u - round(v / tan(angle))``. Lines that leave the box before they reach the opposite side are left out.
    In 3D a line of the plane ``(a, b)`` is extruded through the box along the third axis.

    Near the sides of a loose box, lines may miss the object. With a ``core`` below 1, only the middle lines of each
    pair of axes and each angle are used: ``floor(n (1 - core) / 2)`` of ``n`` lines are left out on either side.

    Both kinds of line, flat and steep, have one pixel for each step along their *run* axis (``a``, or ``b`` for a steep
    line) and shift along the *other* axis. Pixel ``s`` of all lines at one angle is thus row ``s`` of the box, shifted.
    Sums over lines are sums of shifted rows. The gradient adds up the lines through each pixel, so it is a sum of
    shifted rows of lines.

    Args:
        patches: the boxes; ignored boxes have no lines.
        angles_deg: angles in degrees, see :func:`resolve_angles`.
        core: share of the lines to use, in ``(0, 1]``.

    Attributes:
        per_class: number of lines of each class. The lines are ordered by class.

    Example:
        >>> patches = BoxPatches(torch.tensor([[[0., 1, 2, 3, 0]]]), (1, 1, 2, 3), torch.device("cpu"))
        >>> image = torch.tensor([0., 1, 2, 3, 4, 5])
        >>> CrossingLines(patches, [0]).sum(image[patches.pixel])
        tensor([5., 7., 3., 9.])
    """

    per_class: list[int]

    def __init__(self, patches: BoxPatches, angles_deg: Sequence[float], core: float = 1.0) -> None:
        lines = lines_of_boxes(patches.size[: patches.num_boxes], resolve_angles(angles_deg), core)
        self._patches = patches
        self._tables = line_tables(patches, lines)
        self.per_class = patches.sum_by_class(lines.number.sum(1).view(len(lines.pairs), -1).sum(0))

    @property
    def size(self) -> Tensor:
        """Return the number of pixels of each line, ``(M,)`` float32."""
        return self.sum(torch.ones_like(self._patches.in_box[: self._patches.num_box_slots]))

    def sum(self, values: Tensor) -> Tensor:
        """Sum the values on each line.

        Args:
            values: ``(T,)``, one real or complex number for each slot of the patches.

        Returns:
            ``(M,)``.
        """
        canvas = self._draw(values, 0.0, lambda box, axis: box.sum(axis))
        return sum_windows(canvas, self._tables.there, self._tables.back).index_select(0, self._tables.line)

    def max(self, values: Tensor) -> Tensor:
        """Find the largest of the real ``values`` on each line; among equal values the first gets the gradient.

        Args:
            values: ``(T,)``, one number for each slot of the patches.

        Returns:
            ``(M,)``.
        """
        canvas = self._draw(values, -math.inf, lambda box, axis: box.max(axis).values)
        largest = largest_of_windows(canvas, self._tables.there).index_select(0, self._tables.line)
        return canvas.index_select(0, largest)

    def _draw(self, values: Tensor, beside: float, reduce: Callable[[Tensor, int], Tensor]) -> Tensor:
        """Draw the values of all slots of all canvases; in 3D a canvas is the box reduced along its third axis."""
        sizes = self._patches.size[: self._patches.num_boxes].tolist()
        if not sizes:
            return values.new_full((len(self._tables.source),), beside)
        if len(sizes[0]) == 3:
            slots = (self._patches.blocks[: len(sizes)] * LANES).tolist()
            boxes = [
                part.view(a + 2, b + 2, -1)[1:-1, 1:-1, 1 : c + 1]
                for part, (a, b, c) in zip(values.split(slots), sizes)
            ]
            reductions = [reduce(box, axis).flatten() for box in boxes for axis in range(3)]
            values = torch.cat([values.new_full((1,), beside), *reductions])
        else:  # slot 0 is on the rim of the first box
            in_box = self._patches.in_box[: len(values)]
            values = values * in_box if beside == 0 else values.where(in_box == 1, beside)
        drawn = values.index_select(0, self._tables.source)
        return torch.cat([values, drawn]) if self._tables.on_patches else drawn
