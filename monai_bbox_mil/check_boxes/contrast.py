# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
"""Whether the images' grey values stand out more in turned boxes than in the boxes as they are: a hint without masks.

An object mostly differs from its surroundings, in one direction over a whole data set. So if boxes were exported with
an axis reversed, the reversed boxes differ more, and more consistently, than the given ones. One image proves nothing;
the figures of many are compared.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping

import numpy as np
import torch
from torch import Tensor

from monai_bbox_mil.boxes import clip_boxes, snap_boxes
from monai_bbox_mil.check_boxes.coordinates import turned_boxes
from monai_bbox_mil.check_boxes.findings import Finding

__all__ = ["box_contrasts", "find_contrast_elsewhere"]

_AS_GIVEN = ""
_MIN_IMAGES = 20
_MAX_BOXES = 30  # of one image: more tell little that is new
_SURE = 5.0  # standard errors
_FAR_BETTER = 2.0


def box_contrasts(image: Tensor, boxes: Tensor, plane: list[int]) -> dict[str, float]:
    """Mean grey value in the boxes less that around them, in standard deviations of the image.

    Args:
        image: ``(C, H, W, Z)``; its first channel counts.
        boxes: ``(N, 6)``, voxels.
        plane: axes that may be exchanged or reversed, along which "around" reaches.

    Returns:
        one value for each way to turn the boxes, by its name; ``""`` are the boxes as they are.

    Example:
        >>> image = torch.zeros(1, 20, 20, 1)
        >>> image[0, 2:6, 2:6] = 1
        >>> found = box_contrasts(image, torch.tensor([[14.0, 2, 0, 18, 6, 1]]), [0, 1])
        >>> round(found[""], 1), round(found["x is reversed"], 1)
        (0.0, 5.1)
    """
    shape = tuple(image.shape[1:])
    grey = image[0].as_subclass(Tensor).double()
    spread = float(grey.std())
    if not len(boxes) or spread == 0:
        return {}
    boxes = boxes[torch.linspace(0, len(boxes) - 1, min(len(boxes), _MAX_BOXES)).long()]
    readings = [(_AS_GIVEN, boxes), *turned_boxes(boxes, shape, plane)]
    return {name: _contrast(grey, turned, plane) / spread for name, turned in readings}


def find_contrast_elsewhere(contrasts: Iterable[Mapping[str, float]]) -> Finding | None:
    """Whether one way to turn all boxes fits the images far better than the boxes as they are.

    Args:
        contrasts: of each image, from :func:`box_contrasts`.

    Example:
        >>> rows = [{"": 0.1 * (-1) ** i, "x is reversed": 1 + 0.01 * i} for i in range(40)]
        >>> find_contrast_elsewhere(rows).detail.split(":")[0]
        'in 40 images, boxes stand out more if x is reversed'
    """
    values = defaultdict(list)
    for row in contrasts:
        for name, value in row.items():
            values[name].append(value)
    given = values.pop(_AS_GIVEN, [])
    if len(given) < _MIN_IMAGES:
        return None
    mean, sure = _mean_and_certainty(given)
    found = None
    # A way that fits few images only, as an exchange of axes does, says little about all.
    for name, others in values.items():
        if len(others) < max(_MIN_IMAGES, len(given) / 2):
            continue
        other, certainty = _mean_and_certainty(others)
        if certainty >= max(_SURE, _FAR_BETTER * sure) and abs(other) >= _FAR_BETTER * abs(mean):
            detail = (
                f"in {len(others)} images, boxes stand out more if {name}: from their surroundings by {other:+.2f} "
                f"standard deviations of the image in the mean, {mean:+.2f} as they are"
            )
            found = max(found or (0.0, ""), (certainty, detail))
    return Finding("contrast_elsewhere", found[1]) if found else None


def _mean_and_certainty(values: list[float]) -> tuple[float, float]:
    """Mean, and its absolute value in standard errors."""
    mean, error = float(np.mean(values)), float(np.std(values, ddof=1)) / np.sqrt(len(values))
    return mean, abs(mean) / max(error, 1e-12)


def _contrast(grey: Tensor, boxes: Tensor, plane: list[int]) -> float:
    inner, _ = clip_boxes(snap_boxes(boxes), grey.shape)
    around = boxes.clone()
    for axis in plane:
        half = (boxes[:, 3 + axis] - boxes[:, axis]) / 2
        around[:, axis] -= half
        around[:, 3 + axis] += half
    outer, _ = clip_boxes(snap_boxes(around), grey.shape)
    differences = []
    for inside, outside in zip(inner.int().tolist(), outer.int().tolist()):
        (small, few), (large, many) = _sum(grey, inside), _sum(grey, outside)
        if few and many > few:
            differences.append(small / few - (large - small) / (many - few))
    return float(np.mean(differences)) if differences else 0.0


def _sum(grey: Tensor, box: list[int]) -> tuple[float, int]:
    region = grey[box[0] : box[3], box[1] : box[4], box[2] : box[5]]
    return float(region.sum()), region.numel()
