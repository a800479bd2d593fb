# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
"""Number of lines that cross a box at each angle, and how far each line shifts sideways, computed on the host."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import permutations
from typing import NamedTuple

import torch
from torch import Tensor

__all__ = ["Lines", "lines_of_boxes"]


class Lines(NamedTuple):
    """Lines of ``N`` canvases at ``A`` angles. A canvas is a box seen along a pair of axes.

    The canvases are ordered by pair of axes, then by box.
    """

    pairs: list[tuple[int, int]]
    """Run axis and other axis. A line has one pixel per step along its run axis; lines differ along the other axis."""
    run: Tensor
    """``(N,)`` size along the run axis."""
    other: Tensor
    """``(N,)`` size along the other axis."""
    number: Tensor
    """``(N, A)`` number of lines."""
    middle: Tensor
    """``(N, A)`` position of line 0 on the other axis at the middle of the run axis."""
    first_shift: Tensor
    """``(N, A)`` smallest position of line 0 on the other axis."""
    last_shift: Tensor
    """``(N, A)`` largest position of line 0 on the other axis."""
    shift: Tensor
    """``(2 S + 1, A)`` distance of a line from its middle position, ``-S..S`` half steps away from the centre."""


def lines_of_boxes(size: Tensor, angles: Sequence[float], core: float = 1.0) -> Lines:
    """Compute the :class:`CrossingLines` of boxes of ``size`` ``(boxes, D)`` at the given angles in degrees."""
    pairs = list(permutations(range(size.shape[1]), 2))
    run, other = (size[:, list(axes)].T.flatten() for axes in zip(*pairs))
    tangent = torch.tensor([math.tan(math.radians(angle)) for angle in angles], dtype=torch.float64)
    steep = tangent.abs() > 1
    slope = torch.where(steep, 1 / tangent, tangent)
    reach = _round_half_to_zero((run[:, None] - 1) / 2 * slope.abs())
    number = torch.where(steep, 2 * reach - other[:, None] + 2, other[:, None] - 2 * reach).clamp(min=0)
    middle = torch.where(steep, other[:, None] - 1 - reach, reach)
    if size.shape[1] == 3:
        # An upright plane occurs in two directions; use it once.
        once = torch.tensor([run == (other + 1) % 3 for run, other in pairs]).repeat_interleave(len(size))
        number = number * (once[:, None] | (tangent != 0))
    beside = ((1 - core) / 2 * number).floor().long()  # the same number on either side
    number, middle = number - 2 * beside, middle + beside
    longest = int(run.max()) if len(run) else 1
    shift = _round_half_to_zero(torch.arange(-longest, longest + 1)[:, None] / 2 * slope)
    return Lines(pairs, run, other, number, middle, middle - reach, middle + reach, shift)


def _round_half_to_zero(x: Tensor) -> Tensor:
    """Round to int64, ties toward zero.

    The rounding is symmetric about zero, and a 45 degree line makes no jump of two at the centre.
    """
    return (x.sign() * (x.abs() - 0.5).ceil()).long()
