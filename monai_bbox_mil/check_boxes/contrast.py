# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
"""Find out from grey values, without masks, whether boxes fit better after swapping or flipping axes.

Most objects are brighter, or most are darker, than their surroundings throughout a data set. So if boxes were exported
with an axis reversed, reversing it again makes them differ more, and more consistently, from their surroundings. One
image proves nothing, so figures of many images are compared.
"""

from __future__ import annotations

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
_MAX_BOXES = 30  # per image: more add little
_SURE = 6.0  # standard errors of the gain
_BETTER = 2.0  # times the contrast: correct boxes of whole hippocampi gain a factor of 1.5 when turned


def box_contrasts(image: Tensor, boxes: Tensor, plane: list[int]) -> dict[str, float]:
    """Measure how much brighter boxes are than their surroundings, in standard deviations of the image.

    Args:
        image: ``(C, H, W, Z)``; only its first channel is used.
        boxes: ``(N, 6)``, voxels.
        plane: axes to swap or reverse; surroundings extend along the same axes.

    Returns:
        the mean difference for each way to turn the boxes, by its name; ``""`` means the boxes as they are.

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
    """Find out whether one way to turn all boxes fits the images far better than the boxes as they are.

    Args:
        contrasts: the result of :func:`box_contrasts` for each image.

    Example:
        >>> rows = [{"": 0.1 * (-1) ** i, "x is reversed": 1 + 0.01 * i} for i in range(40)]
        >>> find_contrast_elsewhere(rows).detail.split(":")[0]
        'in 40 images, boxes stand out more if x is reversed'
    """
    rows = [row for row in contrasts if _AS_GIVEN in row]
    found: tuple[float, str] | None = None
    for name in dict.fromkeys(name for row in rows for name in row if name != _AS_GIVEN):
        pairs = np.array([(row[_AS_GIVEN], row[name]) for row in rows if name in row])
        # Swapped axes may fit only a few images, which says little about all of them.
        if len(pairs) < max(_MIN_IMAGES, len(rows) / 2):
            continue
        given, turned = pairs.mean(axis=0)
        gain = pairs[:, 1] * np.sign(turned) - pairs[:, 0] * np.sign(given)
        certainty = float(gain.mean() / max(gain.std(ddof=1) / np.sqrt(len(gain)), 1e-12))
        if certainty >= _SURE and abs(turned) >= _BETTER * abs(given) and (found is None or certainty > found[0]):
            detail = (
                f"in {len(pairs)} images, boxes stand out more if {name}: they differ from their surroundings by "
                f"{turned:+.2f} standard deviations of the image on average, and by {given:+.2f} as they are"
            )
            found = (certainty, detail)
    return None if found is None else Finding("contrast_elsewhere", found[1])


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
