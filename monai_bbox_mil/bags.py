# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
"""Bags of pixels: crossing lines (2D) or planes (3D) of boxes, and full lines that meet no box.

Source: Wang & Xia, "Bounding Box Tightness Prior for Weakly Supervised Image Segmentation", MICCAI 2021, sections 2.2
and 2.3. A digital line here has no gaps and the lines of one direction and angle are disjoint, so that a 4-connected
object that touches all four sides of its box meets every one of them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

__all__ = ["Bags", "box_bags", "empty_line_bags", "resolve_angles"]


class Bags(NamedTuple):
    """``M`` bags that together hold ``K`` pixels; a pixel may be in many bags."""

    pixel: Tensor
    """``(K,)`` int64, flat index of each bag's pixels in the ``(B, C, *spatial)`` tensor."""
    bag: Tensor
    """``(K,)`` int64, ascending number of the bag that each entry of ``pixel`` belongs to."""
    channel: Tensor
    """``(M,)`` int64, class of each bag."""


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


def box_bags(
    box_tensor: Tensor,
    spatial_shape: Sequence[int],
    num_classes: int,
    angles_deg: Sequence[float],
    device: torch.device | None = None,
) -> Bags:
    """Positive bags: the crossing lines (2D) or crossing planes (3D) of every box.

    For each ordered pair of axes ``(a, b)`` and each angle, lines run from the low to the high side of ``a`` and are
    told apart along ``b``. With ``u`` and ``v`` a pixel's offset along ``a`` and ``b`` from the box's centre, a line is
    the set of pixels with ``v - round(u tan(angle))`` constant, or, where ``|tan(angle)| > 1``, with
    ``u - round(v / tan(angle))`` constant. Lines that leave the box before they reach the opposite side do not count.
    In 3D a line of the plane ``(a, b)`` is extruded through the box along the third axis.

    Args:
        box_tensor: ``(B, N_max, 2*D + 1)`` on any device, whole voxels inside the image; ignored rows give no bags.
        spatial_shape: ``D`` sizes in voxels.
        num_classes: ``C``.
        angles_deg: angles in degrees, see :func:`resolve_angles`.
        device: where the bags are wanted; the box tensor's when ``None``.

    Example:
        >>> bags = box_bags(torch.tensor([[[0., 1, 2, 3, 0]]]), (2, 3), 1, [0])
        >>> [bags.pixel[bags.bag == m].tolist() for m in range(len(bags.channel))]
        [[1, 4], [2, 5], [1, 2], [4, 5]]
    """
    dims = len(spatial_shape)
    rows = box_tensor.detach().cpu()
    image, number = (rows[..., -1] >= 0).nonzero(as_tuple=True)
    rows = rows[image, number].long()
    low, size, channel = rows[:, :dims], rows[:, dims : 2 * dims] - rows[:, :dims], rows[:, -1]
    strides = torch.tensor([math.prod(spatial_shape[i + 1 :]) for i in range(dims)])
    origin = (image * num_classes + channel) * math.prod(spatial_shape) + (low * strides).sum(1)

    # One group = all lines of one box, pair of axes and angle. The groups' tables are small and made on the host, so
    # that the sizes of what they expand to are known without asking the device.
    pairs = _axis_pairs(dims, resolve_angles(angles_deg))
    tangent = torch.tensor([math.tan(math.radians(pair.angle)) for pair in pairs], dtype=torch.float64)
    steep = tangent.abs() > 1
    slope = torch.where(steep, 1 / tangent, tangent)
    axes = torch.tensor([(pair.b, pair.a) if turned else (pair.a, pair.b) for pair, turned in zip(pairs, steep)])
    run, other = size[:, axes[:, 0]].flatten(), size[:, axes[:, 1]].flatten()  # (G,) = boxes x pairs
    run_stride, other_stride = strides[axes].repeat(len(size), 1).unbind(1)
    steep, slope = steep.repeat(len(size)), slope.repeat(len(size))
    group_origin, group_channel = (t.repeat_interleave(len(pairs)) for t in (origin, channel))

    reach = _round_half_to_zero((run - 1) / 2 * slope.abs())
    num_lines = torch.where(steep, 2 * reach - other + 2, other - 2 * reach).clamp(min=0)
    first = torch.where(steep, other - 1 - reach, reach)

    group, step = _ragged_arange(run)
    shift = _round_half_to_zero((step - (run[group] - 1) / 2) * slope[group])
    step_index = step * run_stride[group] + shift * other_stride[group]
    group, line = _ragged_arange(num_lines)
    start = first[group] + line
    line_index = group_origin[group] + start * other_stride[group]

    device = device or box_tensor.device
    bag, step = _ragged_arange(run[group], device)
    step += (run.cumsum(0) - run)[group].to(device)[bag]
    pixel = line_index.to(device)[bag] + step_index.to(device)[step]
    if steep.any():
        position = start.to(device)[bag] + shift.to(device)[step]
        inside = (position >= 0) & (position < other[group].to(device)[bag])
        pixel, bag = pixel[inside], bag[inside]
    if dims == 3:
        third = torch.tensor([pair.third for pair in pairs])
        depth, stride = size[:, third].flatten()[group].to(device), strides[third].repeat(len(size))[group].to(device)
        entry, layer = _ragged_arange(depth[bag])
        pixel, bag = pixel[entry] + layer * stride[bag[entry]], bag[entry]
    return Bags(pixel, bag, group_channel[group].to(device))


def empty_line_bags(outside: Tensor) -> Bags:
    """Negative bags of the MIL baseline: every full row and column (3D: axis-aligned slice) that meets no box.

    Args:
        outside: ``(B, C, *spatial)`` bool, true where no box of the class lies.

    Example:
        >>> outside = torch.tensor([[[[True, True], [True, False]]]])
        >>> bags = empty_line_bags(outside)
        >>> [bags.pixel[bags.bag == m].tolist() for m in range(len(bags.channel))]
        [[0, 1], [0, 2]]
    """
    index = torch.arange(outside.numel(), device=outside.device).view(outside.shape)
    pixels, lengths, channels = [], [], []
    for axis in range(2, outside.ndim):
        order = (0, 1, axis, *(i for i in range(2, outside.ndim) if i != axis))
        image, channel, line = outside.permute(order).flatten(3).all(-1).nonzero(as_tuple=True)
        found = index.permute(order).flatten(3)[image, channel, line]  # (M, pixels of a line)
        pixels.append(found.flatten())
        lengths.append(torch.full_like(channel, found.shape[1]))
        channels.append(channel)
    return Bags(torch.cat(pixels), _ragged_arange(torch.cat(lengths))[0], torch.cat(channels))


class _AxisPair(NamedTuple):
    a: int
    b: int
    third: int
    angle: float


def _axis_pairs(dims: int, angles: Sequence[float]) -> list[_AxisPair]:
    """Every direction and angle; an upright plane belongs to two directions in 3D and is kept once."""
    return [
        _AxisPair(a, b, 3 - a - b, angle)
        for a in range(dims)
        for b in range(dims)
        for angle in angles
        if a != b and (dims == 2 or angle != 0 or a == (b + 1) % 3)
    ]


def _round_half_to_zero(x: Tensor) -> Tensor:
    """Round to int64, ties toward zero: odd, and without a jump of two where a 45 degree line passes the centre."""
    return (x.sign() * (x.abs() - 0.5).ceil()).long()


def _ragged_arange(counts: Tensor, device: torch.device | None = None) -> tuple[Tensor, Tensor]:
    """``arange(n)`` for each ``n`` of ``counts``, one after the other: the owner and the value of each element."""
    device = device or counts.device
    total = int(counts.sum())
    counts = counts.to(device)
    owner = torch.arange(len(counts), device=device).repeat_interleave(counts, output_size=total)
    return owner, torch.arange(total, device=device) - (counts.cumsum(0) - counts)[owner]
