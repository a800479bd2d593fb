# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
"""Generalized MIL by plain loops over lines and pixels, straight from the paper's equations."""

from __future__ import annotations

import math
from collections import defaultdict
from itertools import product

import torch


def round_half_to_zero(x: float) -> int:
    return int(math.copysign(math.ceil(abs(x) - 0.5), x))


def box_lines(box, angles, core=1.0):
    """Find the pixels of all crossing lines (planes) of one box of ``2*D`` whole numbers: ``{(a, b, angle): [bag]}``.

    Each entry leaves out the first and the last ``floor(n (1 - core) / 2)`` of its ``n`` lines.
    """
    dims = len(box) // 2
    size = [box[dims + i] - box[i] for i in range(dims)]
    found = {}
    for a, b in product(range(dims), repeat=2):
        for angle in angles:
            if a == b or (dims == 3 and angle == 0 and a != (b + 1) % 3):
                continue
            lines = defaultdict(list)
            tangent = math.tan(math.radians(angle))
            for offset in product(*(range(s) for s in size)):
                u = offset[a] - (size[a] - 1) / 2
                v = offset[b] - (size[b] - 1) / 2
                key = v - round_half_to_zero(u * tangent) if abs(tangent) <= 1 else u - round_half_to_zero(v / tangent)
                lines[key].append(offset)
            crossing = []
            for _, offsets in sorted(lines.items()):
                along = {o[a] for o in offsets}
                if 0 in along and size[a] - 1 in along and len(along) == size[a]:
                    crossing.append([tuple(o + box[i] for i, o in enumerate(offset)) for offset in offsets])
            beside = math.floor(len(crossing) * (1 - core) / 2)
            found[a, b, angle] = crossing[beside : len(crossing) - beside]
    return found


def smooth_max(p, method, alpha):
    if method == "max":
        return p.max()
    if method == "alpha_softmax":
        weight = torch.exp(alpha * p)
        return (p * weight).sum() / weight.sum()
    return torch.log(torch.exp(alpha * p).sum()) / alpha - math.log(len(p)) / alpha


def in_boxes(rows, pixel, channel, ignored):
    dims = len(pixel)
    codes = (channel, -2 - channel) if ignored else (channel,)
    return any(row[-1] in codes and all(row[i] <= pixel[i] < row[dims + i] for i in range(dims)) for row in rows)


def mil_terms(
    logits, target, method, alpha, angles, unary, beta, gamma, negatives, region, core=1.0
):  # fmt: skip
    """Compute ``(unary (C,), pairwise (C,))`` from float64 logits ``(B, C, *spatial)`` and a nested list of boxes."""
    prob = torch.sigmoid(logits)
    num_classes, shape = logits.shape[1], logits.shape[2:]
    dims = len(shape)
    pixels = list(product(*(range(s) for s in shape)))
    unaries, pairwises = [], []
    for c in range(num_classes):
        positive, negative = [], []
        squares, pairs = logits.new_zeros(()), 0
        for image, rows in enumerate(target):
            p = prob[image, c]
            for row in rows:
                if row[-1] == c:
                    for lines in box_lines([int(x) for x in row[:-1]], angles, core).values():
                        positive += [smooth_max(torch.stack([p[k] for k in line]), method, alpha) for line in lines]
            if negatives == "pixels":
                negative += [p[k] for k in pixels if not in_boxes(rows, k, c, True)]
            else:
                for axis in range(dims):
                    for index in range(shape[axis]):
                        line = [k for k in pixels if k[axis] == index]
                        if not any(in_boxes(rows, k, c, True) for k in line):
                            negative.append(smooth_max(torch.stack([p[k] for k in line]), method, alpha))
            for k in pixels:
                if region == "image" or in_boxes(rows, k, c, False):
                    for step in product((-1, 0, 1), repeat=dims):
                        other = tuple(i + s for i, s in zip(k, step))
                        if any(step) and all(0 <= i < n for i, n in zip(other, shape)):
                            squares = squares + (p[k] - p[other]) ** 2
                            pairs += 1
        zero = logits.new_zeros(())
        if unary == "bce":
            total = -sum((x.log() for x in positive), zero) - sum(((1 - x).log() for x in negative), zero)
            count = len(positive) + len(negative)
        else:
            total = -sum((beta * (1 - x) ** gamma * x.log() for x in positive), zero)
            total = total - sum(((1 - beta) * x**gamma * (1 - x).log() for x in negative), zero)
            count = len(positive) or len(negative)
        unaries.append(total / max(1, count))
        pairwises.append(squares / max(1, pairs))
    return torch.stack(unaries), torch.stack(pairwises)
