# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
"""Pseudo-labels by plain loops over boxes, sides and pixels."""

from __future__ import annotations

import math
from itertools import product

import torch

UNKNOWN = 255


def joint_bilateral_at(values, guide, place, sigma, intensity_sigma, steps):
    """Filtered value of one channel ``(*spatial)`` at one pixel; ``guide`` is already divided by its deviation."""
    total = weights = 0.0
    for k in product(*(range(size) for size in values.shape)):
        distance = sum(((a - b) * step) ** 2 for a, b, step in zip(k, place, steps))
        if distance > (2 * sigma) ** 2:
            continue
        difference = sum(float(channel[k] - channel[place]) ** 2 for channel in guide)
        weight = math.exp(-distance / (2 * sigma**2) - difference / (2 * intensity_sigma**2))
        total, weights = total + weight * float(values[k]), weights + weight
    return total / weights


def pixels_of(row):
    dims = len(row) // 2
    return list(product(*(range(int(a), int(b)) for a, b in zip(row[:dims], row[dims : 2 * dims]))))


def sides_of(heights, row, core):
    """Highest pixel of each side's outermost row of the core, low and high of each axis."""
    dims, sides = len(row) // 2, []
    for axis in range(dims):
        low, high = int(row[axis]), int(row[dims + axis])
        beside = math.floor((high - low) * (1 - core) / 2)
        for index in (low + beside, high - 1 - beside):
            sides.append(max(height for k, height in heights.items() if k[axis] == index))
    return sides


def level_at(k, row, sides, usual, reach, core):
    """Level that pixel ``k`` of a box must reach."""
    dims = len(row) // 2
    level = max(min(sides), min(usual, sum(sides) / len(sides)))
    needed = level
    for axis in range(dims):
        low, size = int(row[axis]), int(row[dims + axis] - row[axis])
        beside = math.floor(size * (1 - core) / 2)
        place = k[axis] - low
        for side, distance in zip(sides[2 * axis :], (place - beside, size - 1 - beside - place)):
            near = max(0.0, 1 - max(distance, 0) / (reach * size))
            needed = min(needed, near * min(side, level) + (1 - near) * level)
    return needed


def fit(logits, target, usual, side_reach, core, roundness):
    """Labels ``(B, C, *spatial)`` as :class:`PseudoLabelFitter` makes them without a mean shape."""
    labels = torch.zeros(logits.shape, dtype=torch.uint8)
    for image, rows in enumerate(target.tolist()):
        boxes = [row for row in rows if row[-1] >= 0]
        for row in rows:
            if row[-1] < -1:
                for k in pixels_of(row[:-1]):
                    if not any(box[-1] == -2 - row[-1] and k in pixels_of(box[:-1]) for box in boxes):
                        labels[image, int(-2 - row[-1])][k] = UNKNOWN
        margins = []
        for *row, channel in boxes:
            dims, heights = len(row) // 2, {}
            for k in pixels_of(row):
                middle = [(a + b - 1) / 2 for a, b in zip(row[:dims], row[dims:])]
                half = [(b - a) / 2 for a, b in zip(row[:dims], row[dims:])]
                radius = sum(((x - m) / h) ** 2 for x, m, h in zip(k, middle, half))
                heights[k] = float(logits[image, int(channel)][k]) + roundness * (1 - radius)
            sides = sides_of(heights, row, core)
            margins.append(
                {k: h - level_at(k, row, sides, usual[int(channel)], side_reach, core) for k, h in heights.items()}
            )
        for box, margin in zip(boxes, margins):
            inside = [k for k in margin if margin[k] >= 0]
            won = [k for k in inside if margin[k] >= max(other.get(k, -math.inf) for other in margins)]
            for k in won or inside:
                labels[image, int(box[-1])][k] = 1
    return labels
