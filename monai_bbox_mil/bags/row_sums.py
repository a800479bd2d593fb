# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
"""Sums of shifted rows, ``LANES`` numbers at a time; their gradient is the same operation with other shifts."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import embedding_bag

from monai_bbox_mil.bags.patches import LANES

__all__ = ["Windows", "largest_of_windows", "sum_windows"]


_CHUNK = 2**14  # windows that are copied together on a CPU, about 2 MiB of complex numbers
_MAX = 2  # torch.embedding_bag's number for mode="max"


class Windows(NamedTuple):
    """Runs of ``LANES`` neighbouring numbers of a flat tensor, and which of them belong together."""

    start: Tensor
    """``(W,)`` int32, where each run begins."""
    offset: Tensor
    """``(G,)`` int32, the first run of each group. The last group is empty; its zeros give earlier runs room to end."""


def sum_windows(values: Tensor, there: Windows, back: Windows) -> Tensor:
    """Sum the windows of each group.

    Args:
        values: ``(len(back.offset) * LANES,)``, real or complex.
        there: windows of ``values``.
        back: windows of the result that add up to the gradient, that is, the transpose of ``there``: they lead from
            each number of ``values`` to exactly those results that it was added to.

    Returns:
        ``(len(there.offset) * LANES,)``, zeros for a group without windows.
    """
    sums: Tensor = _SumWindows.apply(values, there, back)
    return sums


class _SumWindows(torch.autograd.Function):
    @staticmethod
    def forward(values: Tensor, there: Windows, back: Windows) -> Tensor:
        groups = len(there.offset)
        numbers = LANES * (2 if values.is_complex() else 1)
        sums = values.new_empty(groups * LANES)
        parts = (torch.view_as_real(sums) if values.is_complex() else sums).view(groups, numbers)
        for first, last, begin, end in _chunks(there):
            windows = _windows(values, there.start[begin:end])
            windows = (torch.view_as_real(windows) if values.is_complex() else windows).view(-1, numbers)
            order = torch.arange(end - begin, dtype=torch.int32, device=values.device)
            parts[first:last] = embedding_bag(order, windows, there.offset[first:last] - begin, mode="sum")
        return sums

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Windows, Windows], output: Tensor) -> None:
        _, ctx.there, ctx.back = inputs

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:
        return sum_windows(grads[0].contiguous(), ctx.back, ctx.there), None, None


def largest_of_windows(values: Tensor, windows: Windows) -> Tensor:
    """Find the index of the largest number in each lane of each group of real ``values``.

    Among equal numbers the first is taken. For a group without windows the result is meaningless.

    Returns:
        ``(len(windows.offset) * LANES,)`` int64.
    """
    parts = _windows(values.detach(), windows.start)
    order = torch.arange(len(parts), dtype=windows.offset.dtype, device=parts.device)
    window = torch.embedding_bag(parts, order, windows.offset, False, _MAX)[3].clamp(min=0)
    start = torch.cat([windows.start, windows.start.new_zeros(1)])  # one extra entry, because there may be no windows
    return (start[window.long()] + torch.arange(LANES, device=values.device)).flatten()


def _windows(values: Tensor, start: Tensor) -> Tensor:
    """Copy the windows that begin at ``start``; returns ``(W, LANES)``."""
    return values.as_strided((len(values) - LANES + 1, LANES), (1, 1)).index_select(0, start)


def _chunks(windows: Windows) -> Iterator[tuple[int, int, int, int]]:
    """Yield ranges of groups and of their windows.

    A CPU works in chunks, because allocating memory costs it most; other devices get everything at once.
    """
    groups, total = len(windows.offset), len(windows.start)
    step = groups
    if windows.start.device.type == "cpu":
        step = max(1, groups * _CHUNK // max(1, total))
    ends = [*windows.offset[step::step].tolist(), total] if step < groups else [total]
    begin = 0
    for number, end in enumerate(ends):
        yield number * step, min(groups, (number + 1) * step), begin, end
        begin = end
