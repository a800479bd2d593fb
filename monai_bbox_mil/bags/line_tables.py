# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
"""Index tables that lead values from the patches of boxes to sums over their lines, and gradients back.

A *canvas* is a box seen along one pair of axes: its rows run along the other axis, one per step of a line. A *group* is
the row of all lines of one canvas and angle. Both are stored in blocks of ``LANES`` slots. Each row is padded with
enough zeros that a shifted window never reaches the next row.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import torch
from torch import Tensor

from monai_bbox_mil.bags.line_geometry import Lines
from monai_bbox_mil.bags.patches import LANES, BoxPatches
from monai_bbox_mil.bags.ragged import ceil_div, ragged_arange, starts
from monai_bbox_mil.bags.row_sums import Windows

__all__ = ["LineTables", "line_tables"]


class LineTables(NamedTuple):
    """Tables from which :class:`CrossingLines` computes sums, maxima and gradients."""

    source: Tensor
    """Index of the pixel for each slot of the canvases that are drawn; index 0 is a zero."""
    on_patches: bool
    """Whether the patches themselves, before the drawn canvases, are the canvases of the first pair of axes."""
    there: Windows
    """Windows of canvases whose sum is a block of lines."""
    back: Windows
    """Windows of lines whose sum is the gradient of a block of a canvas."""
    line: Tensor
    """``(M,)`` slot of each line, ordered by box."""


class _Layout(NamedTuple):
    """Whole numbers on the CPU, for each of ``N`` canvases and ``A`` angles."""

    drawn: Tensor
    """``(N,)`` 1 if the canvas is drawn, 0 if the patch itself is the canvas."""
    pad: Tensor
    """``(N,)`` number of blocks of zeros before each row and after the last."""
    row_blocks: Tensor
    """``(N,)`` number of blocks in a row, including its zeros."""
    lead: Tensor
    """``(N,)`` number of slots before the first pixel, in the first block of a row that has pixels."""
    zero: Tensor
    """``(N,)`` slot of the first pixel."""
    left: Tensor
    """``(N, A)`` number of blocks of zeros before a group."""
    line_blocks: Tensor
    """``(N, A)`` number of blocks in a group that have lines."""
    group_blocks: Tensor
    """``(N, A)`` number of blocks in a group, including its zeros."""
    line_zero: Tensor
    """``(N, A)`` slot of a group's first line."""


def line_tables(patches: BoxPatches, lines: Lines) -> LineTables:
    """Build the tables for the ``lines`` of the boxes that are not ignored."""
    layout = _layout(patches, lines)
    source, back_counts = _draw(patches, lines, layout)
    pixel_of_line, line_of_pixel = _row_places(patches, lines, layout)
    there, back = _there(lines, layout, pixel_of_line), _back(lines, layout, line_of_pixel, back_counts)
    by_box = [t.view(len(lines.pairs), -1, t.shape[1]).transpose(0, 1) for t in (lines.number, layout.line_zero)]
    zero, number = _rows(*(t.flatten() for t in by_box), device=patches.pixel.device)
    return LineTables(source, not layout.drawn.all(), there, back, zero + number)


def _layout(patches: BoxPatches, lines: Lines) -> _Layout:
    boxes = slice(0, patches.num_boxes)
    stray = (-lines.first_shift * (lines.number > 0)).clamp(min=0).amax(1)
    pad = ceil_div(stray, LANES)
    row_blocks = pad + ceil_div(lines.other, LANES)
    drawn, lead = torch.ones_like(lines.run), torch.zeros_like(lines.run)
    # Without steep lines, no shift leads out of the box, so the patches can serve as canvases without further zeros.
    if patches.size.shape[1] == 2 and not stray.any():
        drawn[boxes], lead[boxes], row_blocks[boxes] = 0, 1, patches.blocks_per_row[boxes]
    zero = (starts(drawn * (lines.run * row_blocks + pad)) + pad) * LANES
    if not drawn.all():
        zero += patches.num_box_slots
        zero[boxes] = patches.first_slot[boxes] + row_blocks[boxes] * LANES + 1
    left = ceil_div((lines.last_shift + lead[:, None]).clamp(min=0), LANES)
    line_blocks = ceil_div(lines.number, LANES)
    right = ceil_div((lines.other[:, None] - lines.first_shift - lines.number).clamp(min=0), LANES)
    group_blocks = left + line_blocks + right
    line_zero = (starts(group_blocks.flatten()).view_as(left) + left) * LANES
    return _Layout(drawn, pad, row_blocks, lead, zero, left, line_blocks, group_blocks, line_zero)


def _rows(counts: Tensor, *fields: Tensor, device: torch.device) -> tuple[Tensor, ...]:
    """Repeat each owner's ``fields`` ``counts`` times; the last result numbers the copies of each owner from 0."""
    owner, number = ragged_arange(counts, device)
    return *(field.index_select(0, owner) for field in torch.stack(fields).to(device, torch.int32)), number


def _draw(patches: BoxPatches, lines: Lines, layout: _Layout) -> tuple[Tensor, Tensor]:
    """Return the source of each drawn slot, and the number of gradient windows for each block of all canvases."""
    device = patches.pixel.device
    first, step_stride, lane_stride = _sources(patches, lines)
    blocks = layout.drawn * (lines.run * layout.row_blocks + layout.pad)
    fields = (first, step_stride, lane_stride, lines.other, layout.pad, layout.row_blocks)
    first, step_stride, lane_stride, width, pad, row_blocks, number = _rows(blocks, *fields, device=device)
    step = number.div(row_blocks, rounding_mode="floor")
    block = number - step * row_blocks - pad
    column = block * LANES
    source = torch.zeros(len(block) + 1, LANES, dtype=torch.int32, device=device)
    lane = torch.arange(LANES, dtype=torch.int32, device=device)
    place = torch.mul(lane_stride[:, None], lane, out=source[:-1])
    place += (first + step * step_stride + column * lane_stride)[:, None]
    place *= _first_lanes(device).index_select(0, (width - column).clamp(0, LANES) * (block >= 0))
    back = (block >= 0).int()
    if not layout.drawn.all():
        back = torch.cat([patches.rows_in_box.int(), back])
    return source.flatten(), back * lines.number.shape[1]


def _row_places(patches: BoxPatches, lines: Lines, layout: _Layout) -> tuple[Tensor, Tensor]:
    """Return, for each row and angle, the slot of line 0's pixel and the slot of the line through the row's pixel 0.

    Both are ``(rows of all canvases, A)``.
    """
    device = patches.pixel.device
    canvas, length, zero, row_slots, step = _rows(
        lines.run, torch.arange(len(lines.run)), lines.run, layout.zero, layout.row_blocks * LANES, device=device
    )
    half_steps = 2 * step - length + 1
    shift = lines.shift.to(device, torch.int32).index_select(0, half_steps + len(lines.shift) // 2)
    shift += lines.middle.to(device, torch.int32).index_select(0, canvas)
    before_lead = (layout.line_zero - layout.lead[:, None]).to(device, torch.int32)
    return shift + (zero + step * row_slots)[:, None], before_lead.index_select(0, canvas) - shift


def _there(lines: Lines, layout: _Layout, pixel_of_line: Tensor) -> Windows:
    """Return the windows of canvases: each block of lines adds up one window of each row of its canvas."""
    device, num_angles = pixel_of_line.device, lines.number.shape[1]
    runs = lines.run[:, None].expand_as(layout.left)
    fields = (layout.left, layout.left + layout.line_blocks, runs)
    begin, end, steps, number = _rows(
        layout.group_blocks.flatten(), *(field.flatten() for field in fields), device=device
    )
    counts = ((number >= begin) & (number < end)).int() * steps
    first_row = starts(lines.run)[:, None] * num_angles + torch.arange(num_angles)
    row, steps, block = _rows(layout.line_blocks.flatten(), first_row.flatten(), runs.flatten(), device=device)
    owner, step = ragged_arange(steps, device, int((layout.line_blocks * runs).sum()))
    row = torch.add(row.index_select(0, owner), step, alpha=num_angles)
    start = pixel_of_line.flatten().index_select(0, row) + (block * LANES).index_select(0, owner)
    return Windows(start, _offsets(counts))


def _back(lines: Lines, layout: _Layout, line_of_pixel: Tensor, counts: Tensor) -> Windows:
    """Return the windows of lines: each block of a canvas's row adds up one window of each group of the canvas."""
    filled = layout.row_blocks - layout.pad
    row, blocks, number = _rows(lines.run * filled, starts(lines.run), filled, device=line_of_pixel.device)
    step = number.div(blocks, rounding_mode="floor")
    block = number - step * blocks
    start = line_of_pixel.index_select(0, row + step).add_((block * LANES)[:, None])
    return Windows(start.flatten(), _offsets(counts))


def _offsets(counts: Tensor) -> Tensor:
    return starts(torch.cat([counts, counts.new_zeros(1)]))


def _sources(patches: BoxPatches, lines: Lines) -> tuple[Tensor, Tensor, Tensor]:
    """Return, for each canvas, the index of its first pixel and its strides along the run axis and the other axis.

    In 2D these are slots of the patches. In 3D they are indices, starting from 1, into the reductions of the boxes
    along axes 0, 1 and 2.
    """
    size = patches.size[: patches.num_boxes]
    if size.shape[1] == 2:
        row = patches.blocks_per_row[: len(size)] * LANES
        one = torch.ones_like(row)
        first = patches.first_slot[: len(size)] + row + 1
        return first.repeat(2), torch.cat([row, one]), torch.cat([one, row])
    area = size.prod(1, keepdim=True) // size
    reduction = starts(area.flatten()).view_as(area) + 1
    canvases = []
    for run, other in lines.pairs:
        row = size[:, max(run, other)]
        run_stride, other_stride = (row, torch.ones_like(row)) if run < other else (torch.ones_like(row), row)
        canvases.append(torch.stack([reduction[:, 3 - run - other], run_stride, other_stride]))
    first, run_stride, other_stride = torch.cat(canvases, 1).unbind()
    return first, run_stride, other_stride


@lru_cache
def _first_lanes(device: torch.device) -> Tensor:
    """Return a table whose row ``n`` is 1 for the first ``n`` lanes and 0 for the others."""
    return torch.ones(LANES + 1, LANES, dtype=torch.int32).tril(-1).to(device)
