# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
"""Global constraints by plain loops over boxes, bands and pixels."""

from __future__ import annotations

import math
from itertools import product

import torch

from tests.reference.naive_mil import in_boxes


def psi(z, t):
    """Compute the extended log-barrier of a number, or of a tensor with one number."""
    z = torch.as_tensor(z)
    if z.item() <= -1 / t**2:
        return -torch.log(-z) / t
    return t * z - math.log(1 / t**2) / t + 1 / t


def constraint_terms(logits, target, t, band_width, size_bounds):
    """Compute ``(tightness, size, emptiness)``, each ``(C,)``.

    Logits are ``(B, C, *spatial)``, and the target is a nested list of boxes.
    """
    prob = torch.sigmoid(logits)
    shape = logits.shape[2:]
    dims = len(shape)
    pixels = list(product(*(range(s) for s in shape)))
    terms = []
    for c in range(logits.shape[1]):
        tightness, size, emptiness = (logits.new_zeros(()) for _ in range(3))
        for image, rows in enumerate(target):
            p = prob[image, c]
            for row in rows:
                if row[-1] != c:
                    continue
                low, high = row[:dims], row[dims:-1]
                for axis in range(dims):
                    for first in range(low[axis], high[axis], band_width):
                        last = min(first + band_width, high[axis])
                        held = sum(p[k] for k in pixels if in_boxes([row], k, c, False) and first <= k[axis] < last)
                        tightness = tightness + psi(last - first - held, t)
            outside = sum((p[k] for k in pixels if not in_boxes(rows, k, c, True)), logits.new_zeros(()))
            emptiness = emptiness + t * outside / len(pixels)
            inside = [p[k] for k in pixels if in_boxes(rows, k, c, False)]
            if inside:
                total = sum(inside) + outside
                least, most = (bound * len(inside) for bound in size_bounds)
                size = size + (psi(total - most, t) + psi(least - total, t)) / len(pixels)
        terms.append(torch.stack([tightness, size, emptiness]) / len(target))
    return tuple(torch.stack(terms).unbind(1))
