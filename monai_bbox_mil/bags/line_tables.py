# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
"""Tables that say which slots of the box patches add up to which line, and which lines make up each slot's gradient.

A *canvas* is a box seen along one pair of axes. It has one row for each step of a line, and its rows run along the
other axis. A *group* is the row of all lines of one canvas and angle. Canvases and groups are stored in blocks of
``LANES`` slots. Each row has enough zeros beside it that a shifted window never reaches the next row.
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
    """The tables that :class:`CrossingLines` needs."""

    source: Tensor
    """For each slot of a drawn canvas, the index of its pixel; index 0 is a zero."""
    on_patches: bool
    """Whether the patches themselves come first, as the canvases of the first pair of axes, before the drawn ones."""
    there: Windows
    """Windows of the canvases that add up to each block of lines."""
    back: Windows
    """Windows of the lines that add up to the gradient of each block of a canvas."""
    line: Tensor
    """``(M,)`` slot of each line, ordered by box."""


class _Layout(NamedTuple):
    """Whole numbers on the host, for each of ``N`` canvases and ``A`` angles."""

    drawn: Tensor
    """``(N,)`` 0 where the patch itself is the canvas, else 1."""
    pad: Tensor
    """``(N,)`` blocks of zeros before each row, and after the last row."""
    row_blocks: Tensor
    """``(N,)`` blocks of a row, including its zeros."""
    lead: Tensor
    """``(N,)`` slots before the first pixel in the first block that contains pixels."""
    zero: Tensor
    """``(N,)`` slot of the first pixel."""
    left: Tensor
    """``(N, A)`` blocks of zeros before a group."""
    line_blocks: Tensor
    """``(N, A)`` blocks of a group that contain lines."""
    group_blocks: Tensor
    """``(N, A)`` blocks of a group, including its zeros."""
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
    # Without steep lines no line leaves its box, so the patches can serve as canvases without added zeros.
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
    """Repeat the ``fields`` of each owner ``counts`` times, and number the copies of each owner from 0."""
    owner, number = ragged_arange(counts, device)
    return *(field.index_select(0, owner) for field in torch.stack(fields).to(device, torch.int32)), number


def _draw(patches: BoxPatches, lines: Lines, layout: _Layout) -> tuple[Tensor, Tensor]:
    """Compute the source of each drawn slot, and the number of gradient windows for each block of all canvases."""
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
    """Find, for each row of all canvases and each angle, line 0's slot in the row and the line slot of its pixel 0."""
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
    """Build the forward windows: each block of lines adds up one window from every row of its canvas."""
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
    """Build the gradient windows: each block of a canvas adds up one window from every group of that canvas."""
    filled = layout.row_blocks - layout.pad
    row, blocks, number = _rows(lines.run * filled, starts(lines.run), filled, device=line_of_pixel.device)
    step = number.div(blocks, rounding_mode="floor")
    block = number - step * blocks
    start = line_of_pixel.index_select(0, row + step).add_((block * LANES)[:, None])
    return Windows(start.flatten(), _offsets(counts))


def _offsets(counts: Tensor) -> Tensor:
    return starts(torch.cat([counts, counts.new_zeros(1)]))


def _sources(patches: BoxPatches, lines: Lines) -> tuple[Tensor, Tensor, Tensor]:
    """Find the first pixel of each canvas, and its strides along the run axis and the other axis.

    In 2D these are slots of the patches. In 3D they index the boxes' reductions along axis 0, 1 and 2, starting at 1.
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
    """Make a table whose row ``n`` is 1 in the first ``n`` lanes and 0 in the others."""
    return torch.ones(LANES + 1, LANES, dtype=torch.int32).tril(-1).to(device)
