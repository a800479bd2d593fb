# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
"""Self-training inside boxes by plain loops over boxes, sides and pixels."""

from __future__ import annotations

from itertools import product

import torch

from tests.reference.naive_mil import in_boxes


def level_of_box(prob, row):
    """Mean over the distinct outermost rows, columns (and slices) of a box of the highest probability there."""
    dims = prob.ndim
    region = prob[tuple(slice(a, b) for a, b in zip(row[:dims], row[dims:-1]))]
    sides = []
    for axis in range(dims):
        for index in {0, region.shape[axis] - 1}:
            sides.append(region.select(axis, index).max().item())
    return min(max(sum(sides) / len(sides), 0.15), 0.85)


def self_training_terms(logits, teacher, target):
    """``(C,)``; logits and teacher ``(B, C, *spatial)``, target a nested list of rows."""
    pixels = list(product(*(range(s) for s in logits.shape[2:])))
    dims = logits.ndim - 2
    terms = []
    for c in range(logits.shape[1]):
        total = logits.new_zeros(())
        for image, rows in enumerate(target):
            seen = torch.sigmoid(teacher[image, c])
            levels = [(row, level_of_box(seen, row)) for row in rows if row[-1] == c]
            both, either, entropy, number = (logits.new_zeros(()) for _ in range(4))
            for k in pixels:
                if in_boxes(rows, k, c, True) and not in_boxes(rows, k, c, False):
                    continue
                inside = [level for row, level in levels if all(row[i] <= k[i] < row[dims + i] for i in range(dims))]
                y = float(any(seen[k].item() >= level for level in inside))
                p = torch.sigmoid(logits[image, c][k])
                both, either, number = both + p * y, either + p + y, number + 1
                entropy = entropy - (y * torch.log(p) + (1 - y) * torch.log(1 - p))
            dice = 1 - (2 * both + 1e-5) / (either + 1e-5)
            total = total + dice + entropy / max(1, number)
        terms.append(total / len(target))
    return torch.stack(terms)
