# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
"""Self-training inside boxes by plain loops over boxes, sides and pixels."""

from __future__ import annotations

import math
from itertools import product

import torch

from tests.reference.naive_mil import in_boxes


def heights_of_box(logits, row, roundness):
    """Compute ``{pixel: logit + roundness * (1 - r^2)}`` for the pixels of one box."""
    dims = logits.ndim
    heights = {}
    for k in product(*(range(a, b) for a, b in zip(row[:dims], row[dims:-1]))):
        middle = [(a + b - 1) / 2 for a, b in zip(row[:dims], row[dims:-1])]
        half = [(b - a) / 2 for a, b in zip(row[:dims], row[dims:-1])]
        radius = sum(((x - m) / h) ** 2 for x, m, h in zip(k, middle, half))
        heights[k] = logits[k].item() + roundness * (1 - radius)
    return heights


def level_set_of_box(logits, row, roundness, core):
    """Find the pixels of a box at or above its level.

    Each side has an outermost row of the core. The level is the lowest of the maxima of these rows.
    """
    dims, heights = logits.ndim, heights_of_box(logits, row, roundness)
    sides = []
    for axis in range(dims):
        low, high = row[axis], row[dims + axis]
        beside = math.floor((high - low) * (1 - core) / 2)
        for index in (low + beside, high - 1 - beside):
            sides.append(max(height for k, height in heights.items() if k[axis] == index))
    return {k for k, height in heights.items() if height >= min(sides)}


def self_training_terms(logits, teacher, target, roundness, core, outside_weight):
    """Compute the ``(C,)`` losses from logits and teacher ``(B, C, *spatial)`` and a nested list of boxes."""
    pixels = list(product(*(range(s) for s in logits.shape[2:])))
    terms = []
    for c in range(logits.shape[1]):
        total = logits.new_zeros(())
        for image, rows in enumerate(target):
            regions = [level_set_of_box(teacher[image, c], row, roundness, core) for row in rows if row[-1] == c]
            label = set().union(*regions)
            both, either, entropy, number = (logits.new_zeros(()) for _ in range(4))
            for k in pixels:
                if in_boxes(rows, k, c, True) and not in_boxes(rows, k, c, False):
                    continue
                y = float(k in label)
                weight = 1 if in_boxes(rows, k, c, False) else outside_weight
                p = torch.sigmoid(logits[image, c][k])
                both, either, number = both + p * y, either + p + y, number + 1
                entropy = entropy - weight * (y * torch.log(p) + (1 - y) * torch.log(1 - p))
            dice = 1 - (2 * both + 1e-5) / (either + 1e-5)
            total = total + dice + entropy / max(1, number)
        terms.append(total / len(target))
    return torch.stack(terms)
