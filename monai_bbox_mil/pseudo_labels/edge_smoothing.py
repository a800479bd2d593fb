# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
"""Smoothing along the edges of an image: the joint bilateral filter."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import torch
from torch import Tensor

from monai_bbox_mil.boxes import PADDING

__all__ = ["joint_bilateral_filter", "smooth_logits"]


def joint_bilateral_filter(
    values: Tensor,
    guide: Tensor,
    sigma: float = 1.5,
    intensity_sigma: float = 0.2,
    spacing: Sequence[float] | None = None,
    deviation: Tensor | None = None,
) -> Tensor:
    """Average each pixel with neighbours that are near and look alike.

    ``sum_k w_k v_k / sum_k w_k`` with ``w_k = exp(-|x_k - x|^2 / (2 sigma^2) - |g_k - g|^2 / (2 intensity_sigma^2))``
    over the neighbours ``x_k`` within ``2 sigma`` (Petschnigg et al., SIGGRAPH 2004). Values spread inside regions of
    the guide and stop at its edges.

    Args:
        values: ``(C, *spatial)``.
        guide: ``(channels, *spatial)``, in any unit.
        sigma: standard deviation over distance, in units of the finest spacing.
        intensity_sigma: standard deviation over intensity, as a share of the guide's own standard deviation.
        spacing: ``D`` sizes of a voxel, infinite along an axis without neighbours; all equal when ``None``.
        deviation: standard deviation to use as the guide's own, if the guide is a part of an image.

    Returns:
        ``(C, *spatial)``.

    Raises:
        ValueError: when ``sigma`` or ``intensity_sigma`` is not positive, or sizes differ.

    Example:
        >>> values, guide = torch.tensor([[[1.0, 0, 0, 0]]]), torch.tensor([[[0.0, 0, 9, 9]]])
        >>> joint_bilateral_filter(values, guide).round(decimals=4)  # the guide has an edge in its middle
        tensor([[[0.5553, 0.4447, 0.0000, 0.0000]]])
    """
    if sigma <= 0 or intensity_sigma <= 0:
        raise ValueError(f"sigma and intensity_sigma must be positive, got {sigma} and {intensity_sigma}.")
    dims, sizes = values.ndim - 1, values.shape[1:]
    if guide.shape[1:] != sizes:
        raise ValueError(f"guide must have the size of values {tuple(sizes)}, got {tuple(guide.shape[1:])}.")
    if spacing is not None and (len(spacing) != dims or min(spacing) <= 0):
        raise ValueError(f"spacing must hold {dims} positive numbers, got {tuple(spacing)}.")
    steps = [1.0] * dims if spacing is None else [length / min(spacing) for length in spacing]
    # In units in which the exponent is -|difference|^2. A constant guide has no edges.
    deviation = guide.float().std(correction=0) if deviation is None else deviation
    scaled = guide.float() * (0.5**0.5 / (intensity_sigma * deviation.clamp(min=1e-6)))
    summands = torch.cat([values, torch.ones_like(values[:1])])  # the last channel adds up the weights
    total = summands.clone()
    for offset in _half_ball(steps, 2 * sigma, sizes):
        near = (slice(None), *(slice(max(0, -o), size - max(0, o)) for o, size in zip(offset, sizes)))
        far = (slice(None), *(slice(max(0, o), size + min(0, o)) for o, size in zip(offset, sizes)))
        alike = (scaled[far] - scaled[near]).square_().sum(0, keepdim=True).neg_().exp_()
        close = math.exp(-_squared_length(offset, steps) / (2 * sigma**2))
        # Both ends of a pair have the same weight.
        total[near].addcmul_(alike, summands[far], value=close)
        total[far].addcmul_(alike, summands[near], value=close)
    return total[:-1] / total[-1:]


def smooth_logits(
    logits: Tensor,
    images: Tensor,
    sigma: float = 1.5,
    intensity_sigma: float = 0.2,
    spacing: Sequence[float] | None = None,
    target: Tensor | None = None,
) -> Tensor:
    """Smooth a network's logits along the edges of its input by :func:`joint_bilateral_filter`.

    Args:
        logits: ``(B, C, H, W)`` of consecutive slices of one volume, or ``(B, C, H, W, Z)`` of separate volumes.
        images: ``(B, channels, *spatial)``, the network's input.
        sigma: standard deviation over distance, in units of the finest spacing; 0 for no smoothing.
        intensity_sigma: standard deviation over intensity, as a share of the volume's own standard deviation.
        spacing: three sizes of a voxel, the distance between slices last; if ``None``, slices are smoothed separately
            and voxels of volumes are cubes.
        target: ``(B, N_max, 2*D + 1)`` box tensor whose corners are whole voxels inside the image. With it, only the
            smallest rectangle around all boxes is smoothed, which is faster.

    Returns:
        as ``logits``.

    Raises:
        ValueError: as :func:`joint_bilateral_filter` does.
    """
    if sigma == 0:
        return logits
    if logits.ndim == 5:
        parts = [None] * len(logits) if target is None else [_rectangle(rows) for rows in target]
        each = zip(logits, images, parts)
        return torch.stack([_smooth(*one, sigma, intensity_sigma, spacing) for one in each])
    steps = (1.0, 1.0, math.inf) if spacing is None else spacing
    part = None if target is None else [*_rectangle(target.flatten(0, 1)), (0, len(logits))]
    return _smooth(logits.movedim(0, -1), images.movedim(0, -1), part, sigma, intensity_sigma, steps).movedim(-1, 0)


def _rectangle(rows: Tensor) -> list[tuple[int, int]]:
    """Return the first voxel and one after the last of all boxes ``(N, 2*D + 1)`` along each axis."""
    boxes = rows[rows[:, -1] != PADDING, :-1]
    if not len(boxes):
        return [(0, 0)] * (boxes.shape[1] // 2)
    low, high = boxes.chunk(2, 1)
    return list(zip(low.amin(0).int().tolist(), high.amax(0).int().tolist()))


def _smooth(
    values: Tensor,
    guide: Tensor,
    part: Sequence[tuple[int, int]] | None,
    sigma: float,
    intensity_sigma: float,
    spacing: Sequence[float] | None,
) -> Tensor:
    """Smooth ``values`` in the rectangle ``part``; all of them if it is ``None``."""
    if part is None:
        return joint_bilateral_filter(values, guide, sigma, intensity_sigma, spacing)
    if any(low >= high for low, high in part):
        return values
    # Neighbours beyond the rectangle count too.
    reach = math.ceil(2 * sigma)
    wide = (slice(None), *(slice(max(0, low - reach), high + reach) for low, high in part))
    inner = (slice(None), *(slice(low - max(0, low - reach), high - max(0, low - reach)) for low, high in part))
    deviation = guide.float().std(correction=0)
    found = joint_bilateral_filter(values[wide], guide[wide], sigma, intensity_sigma, spacing, deviation)
    result = values.clone()
    result[(slice(None), *(slice(*ends) for ends in part))] = found[inner]
    return result


def _half_ball(steps: Sequence[float], radius: float, sizes: Sequence[int]) -> list[tuple[int, ...]]:
    """List offsets in voxels within ``radius``: one of each pair ``o, -o``, and none that leaves the image."""
    reach = [min(int(radius / step), size - 1) for step, size in zip(steps, sizes)]
    offsets = itertools.product(*(range(-r, r + 1) for r in reach))
    middle = (0,) * len(steps)
    return [o for o in offsets if o > middle and _squared_length(o, steps) <= radius**2]


def _squared_length(offset: Sequence[int], steps: Sequence[float]) -> float:
    # An infinite step is one that is never made.
    return sum((o * step) ** 2 for o, step in zip(offset, steps) if o)
