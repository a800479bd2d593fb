# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
"""Crossing lines (2D) and crossing planes (3D) of boxes.

A digital line here has no gaps and the lines of one direction and angle are disjoint, so that a 4-connected object that
touches all four sides of its box meets every one of them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import lru_cache
from itertools import product
from typing import NamedTuple

import torch
from torch import Tensor

from monai_bbox_mil.bags.patches import LANES, BoxPatches
from monai_bbox_mil.bags.ragged import ceil_div, ragged_arange, starts
from monai_bbox_mil.bags.row_sums import Windows, largest_of_windows, sum_windows

__all__ = ["CrossingLines", "resolve_angles"]


def resolve_angles(angles_deg: Sequence[float]) -> tuple[float, ...]:
    """Angles in degrees from the paper's ``(start, stop, step)`` or from a list.

    Exactly three values that do *not* increase strictly, with ``start < stop`` and ``step > 0``, are a range whose stop
    is included; anything else is a list. So ``(-40, 40, 20)`` is a range of five angles and ``(-30, 0, 30)`` a list of
    three.

    Args:
        angles_deg: degrees, each inside ``(-90, 90)``.

    Raises:
        ValueError: when it is empty, holds an angle twice or one outside ``(-90, 90)``, or when a range's step does
            not lead from start to stop.

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
                f"angles_deg {angles} is read as (start, stop, step), whose step must lead from start to stop; "
                "a list of three angles must increase strictly."
            )
        angles = tuple(start + i * step for i in range(count + 1))
    if not angles or len(set(angles)) != len(angles) or not all(-90 < a < 90 for a in angles):
        raise ValueError(f"angles_deg must hold distinct angles inside (-90, 90) degrees, got {tuple(angles_deg)}.")
    return angles


class CrossingLines:
    """Positive bags: the crossing lines (2D) or crossing planes (3D) of every box.

    For each ordered pair of axes ``(a, b)`` and each angle, lines run from the low to the high side of ``a`` and are
    told apart along ``b``. With ``u`` and ``v`` a pixel's offset along ``a`` and ``b`` from the box's centre, a line is
    the set of pixels with ``v - round(u tan(angle))`` constant, or, where ``|tan(angle)| > 1``, with
    ``u - round(v / tan(angle))`` constant. Lines that leave the box before they reach the opposite side do not count.
    In 3D a line of the plane ``(a, b)`` is extruded through the box along the third axis.

    Either kind of line has one pixel for each step along its *run* axis (``a``, or ``b`` where it is steep) and slides
    along the *other* axis. So pixel ``s`` of all lines of one angle is row ``s`` of the box, shifted: sums over lines
    are sums of shifted rows, and the gradient, in which a pixel adds up its lines, is a sum of shifted rows of lines.

    Args:
        patches: the boxes; ignored ones have no lines.
        angles_deg: angles in degrees, see :func:`resolve_angles`.

    Attributes:
        per_class: number of lines of each class; the lines are ordered by class.

    Example:
        >>> patches = BoxPatches(torch.tensor([[[0., 1, 2, 3, 0]]]), (1, 1, 2, 3), torch.device("cpu"))
        >>> image = torch.tensor([0., 1, 2, 3, 4, 5])
        >>> CrossingLines(patches, [0]).sum(image[patches.pixel])
        tensor([5., 7., 3., 9.])
    """

    per_class: list[int]

    def __init__(self, patches: BoxPatches, angles_deg: Sequence[float]) -> None:
        self._patches, device = patches, patches.pixel.device
        size = patches.size[: patches.num_boxes]
        pairs = [(run, other) for run, other in product(range(size.shape[1]), repeat=2) if run != other]
        lines = _lines(size, pairs, resolve_angles(angles_deg))
        self.per_class = patches.sum_by_class(lines.number.sum(1).view(len(pairs), len(size)).sum(0))

        def table(counts: Tensor, *fields: Tensor) -> tuple[Tensor, ...]:
            """One row for each of ``counts``: the ``fields`` of its owner, and its number among the owner's rows."""
            owner, number = ragged_arange(counts, device)
            return *(field.index_select(0, owner) for field in torch.stack(fields).to(device, torch.int32)), number

        # A canvas is a box seen along one pair of axes. Its rows, and the rows of lines of each angle, have as many
        # zeros beside them as a shift can take their counterparts beyond their ends. Without steep lines no shift takes
        # a line beyond the box, and the patches themselves serve as canvases for the first pair of axes in 2D.
        run, other = lines.run, lines.other
        stray = (-lines.first_shift * (lines.number > 0)).clamp(min=0).amax(1)
        drawn = torch.ones_like(run)
        if size.shape[1] == 2 and not stray.any():
            drawn[: len(size)] = 0
        self._on_patches = not drawn.all()
        pad, filled = ceil_div(stray, LANES), ceil_div(other, LANES)
        row_blocks = pad + filled
        canvas_blocks = drawn * (run * row_blocks + pad)
        canvas_zero = (starts(canvas_blocks) + pad) * LANES
        lead = torch.zeros_like(run)  # slots of a row before its first pixel that belong to the same block
        if self._on_patches:
            row_blocks[: len(size)] = filled[: len(size)] = patches.blocks_per_row[: len(size)]
            canvas_zero += sum(patches.slots_per_class)
            canvas_zero[: len(size)] = patches.first_slot[: len(size)] + row_blocks[: len(size)] * LANES + 1
            lead[: len(size)] = 1
        left = ceil_div((lines.last_shift + lead[:, None]).clamp(min=0), LANES)
        line_blocks = ceil_div(lines.number, LANES)
        right = ceil_div((other[:, None] - lines.first_shift - lines.number).clamp(min=0), LANES)
        group_blocks = (left + line_blocks + right).flatten()
        line_zero = (starts(group_blocks).view_as(left) + left) * LANES
        num_angles = lines.number.shape[1]

        # Where each slot of a drawn canvas has its pixel; place 0 is a zero.
        first, step_stride, lane_stride = _sources(patches, size, pairs)
        first, step_stride, lane_stride, width, padding, blocks, number = table(
            canvas_blocks, first, step_stride, lane_stride, other, pad, row_blocks
        )
        step = number.div(blocks, rounding_mode="floor")
        block = number - step * blocks - padding
        column = block * LANES
        source = torch.zeros(len(block) + 1, LANES, dtype=torch.int32, device=device)
        lane = torch.arange(LANES, dtype=torch.int32, device=device)
        place = torch.mul(lane_stride[:, None], lane, out=source[:-1])
        place += (first + step * step_stride + column * lane_stride)[:, None]
        place *= _first_lanes(device).index_select(0, (width - column).clamp(0, LANES) * (block >= 0))
        self._source = source.flatten()
        back_counts = (block >= 0).int() * num_angles
        if self._on_patches:
            back_counts = torch.cat([patches.rows_in_box.int() * num_angles, back_counts])

        # For each row and angle: where line 0 has its pixel on the canvas, and where pixel 0 has its line.
        canvas, zero, row_slots, length, step = table(run, torch.arange(len(run)), canvas_zero, row_blocks * LANES, run)
        shift = lines.shift.to(device, torch.int32).index_select(0, 2 * step - length + 1 + len(lines.shift) // 2)
        shift += ((lines.first_shift + lines.last_shift) // 2).to(device, torch.int32).index_select(0, canvas)
        pixel_of_line = (shift + (zero + step * row_slots)[:, None]).flatten()
        line_of_pixel = (line_zero - lead[:, None]).to(device, torch.int32).index_select(0, canvas) - shift

        # A block of lines adds up one window of each row.
        angle = torch.arange(num_angles)
        runs = run[:, None].expand_as(left)
        begin, end, steps, number = table(group_blocks, *(t.flatten() for t in (left, left + line_blocks, runs)))
        there_counts = ((number >= begin) & (number < end)).int() * steps
        row, steps, block = table(
            line_blocks.flatten(), (starts(run)[:, None] * num_angles + angle).flatten(), runs.flatten()
        )
        owner, step = ragged_arange(steps, device, int((line_blocks * runs).sum()))
        row = torch.add(row.index_select(0, owner), step, alpha=num_angles)
        start = pixel_of_line.index_select(0, row) + (block * LANES).index_select(0, owner)
        self._there = Windows(start, starts(_one_more(there_counts)))

        # A block of a row adds up one window of the lines of each angle.
        row, blocks, number = table(run * filled, starts(run), filled)
        step = number.div(blocks, rounding_mode="floor")
        block = number - step * blocks
        start = line_of_pixel.index_select(0, row + step).add_((block * LANES)[:, None])
        self._back = Windows(start.flatten(), starts(_one_more(back_counts)))

        by_box = [
            t.view(len(pairs), len(size), num_angles).transpose(0, 1).flatten() for t in (lines.number, line_zero)
        ]
        zero, number = table(*by_box)
        self._line = zero + number

    @property
    def size(self) -> Tensor:
        """``(M,)`` float32, number of pixels of each line."""
        return self.sum(torch.ones_like(self._patches.in_box[: sum(self._patches.slots_per_class)]))

    def sum(self, values: Tensor) -> Tensor:
        """Sum over each line.

        Args:
            values: ``(T,)`` one real or complex number for each slot of the patches.

        Returns:
            ``(M,)``.
        """
        canvas = self._draw(values, 0.0, lambda box, axis: box.sum(axis))
        return sum_windows(canvas, self._there, self._back).index_select(0, self._line)

    def max(self, values: Tensor) -> Tensor:
        """Largest of the real ``values`` of each line; the first of equal ones has the gradient.

        Args:
            values: ``(T,)`` one number for each slot of the patches.

        Returns:
            ``(M,)``.
        """
        canvas = self._draw(values, -math.inf, lambda box, axis: box.max(axis).values)
        return canvas.index_select(0, largest_of_windows(canvas, self._there).index_select(0, self._line))

    def _draw(self, values: Tensor, beside: float, reduce: Callable[[Tensor, int], Tensor]) -> Tensor:
        """Values of all slots of all canvases; in 3D each canvas is the box reduced along its third axis."""
        sizes = self._patches.size[: self._patches.num_boxes].tolist()
        if not sizes:
            return values.new_full((len(self._source),), beside)
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
        drawn = values.index_select(0, self._source)
        return torch.cat([values, drawn]) if self._on_patches else drawn


class _Lines(NamedTuple):
    """Lines of ``N`` canvases (a pair of axes and a box each) at ``A`` angles; whole numbers on the host."""

    run: Tensor
    """``(N,)`` size along the run axis."""
    other: Tensor
    """``(N,)`` size along the axis that tells the lines apart."""
    number: Tensor
    """``(N, A)`` how many lines there are."""
    first_shift: Tensor
    """``(N, A)`` smallest place on the other axis that line 0 comes to."""
    last_shift: Tensor
    """``(N, A)`` largest place of line 0."""
    shift: Tensor
    """``(2 S + 1, A)`` for each number of half steps ``-S..S`` from the centre, how far a line is off its middle."""


def _lines(size: Tensor, pairs: Sequence[tuple[int, int]], angles: Sequence[float]) -> _Lines:
    run, other = (size[:, list(axes)].T.flatten() for axes in zip(*pairs))
    tangent = torch.tensor([math.tan(math.radians(angle)) for angle in angles], dtype=torch.float64)
    steep = tangent.abs() > 1
    slope = torch.where(steep, 1 / tangent, tangent)
    reach = _round_half_to_zero((run[:, None] - 1) / 2 * slope.abs())
    count = torch.where(steep, 2 * reach - other[:, None] + 2, other[:, None] - 2 * reach).clamp(min=0)
    middle = torch.where(steep, other[:, None] - 1 - reach, reach)
    if size.shape[1] == 3:
        # An upright plane belongs to two directions and is kept once.
        once = torch.tensor([run == (other + 1) % 3 for run, other in pairs]).repeat_interleave(len(size))
        count = count * (once[:, None] | (tangent != 0))
    longest = int(run.max()) if len(run) else 1
    shift = _round_half_to_zero(torch.arange(-longest, longest + 1)[:, None] / 2 * slope)
    return _Lines(run, other, count, middle - reach, middle + reach, shift)


def _round_half_to_zero(x: Tensor) -> Tensor:
    """Round to int64, ties toward zero: odd, and without a jump of two where a 45 degree line passes the centre."""
    return (x.sign() * (x.abs() - 0.5).ceil()).long()


def _sources(patches: BoxPatches, size: Tensor, pairs: Sequence[tuple[int, int]]) -> tuple[Tensor, Tensor, Tensor]:
    """Of each canvas: place of its first pixel, and strides along the run and the other axis.

    In 2D these are slots of the patches; in 3D places among the boxes' reductions along axis 0, 1 and 2, from 1 on.
    """
    if size.shape[1] == 2:
        row = patches.blocks_per_row[: len(size)] * LANES
        one = torch.ones_like(row)
        first = patches.first_slot[: len(size)] + row + 1
        return first.repeat(2), torch.cat([row, one]), torch.cat([one, row])
    area = size.prod(1, keepdim=True) // size
    reduction = starts(area.flatten()).view_as(area) + 1
    canvases = []
    for run, other in pairs:
        row = size[:, max(run, other)]
        run_stride, other_stride = (row, torch.ones_like(row)) if run < other else (torch.ones_like(row), row)
        canvases.append(torch.stack([reduction[:, 3 - run - other], run_stride, other_stride]))
    first, run_stride, other_stride = torch.cat(canvases, 1).unbind()
    return first, run_stride, other_stride


@lru_cache
def _first_lanes(device: torch.device) -> Tensor:
    """Row ``n``: 1 for the first ``n`` lanes."""
    return torch.ones(LANES + 1, LANES, dtype=torch.int32).tril(-1).to(device)


def _one_more(counts: Tensor) -> Tensor:
    return torch.cat([counts, counts.new_zeros(1)])
