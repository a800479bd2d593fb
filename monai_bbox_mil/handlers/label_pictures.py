# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
"""Pictures of pseudo-labels beside the boxes and the prediction that they were made from."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from monai_bbox_mil.boxes import PADDING, slice_box_tensor
from monai_bbox_mil.pseudo_labels import BoxHeights, PseudoLabelFitter
from monai_bbox_mil.visualize import CasePicture, save_comparison_grid

__all__ = ["save_label_pictures"]


def save_label_pictures(
    path: str | os.PathLike[str],
    volumes: Sequence[BoxHeights],
    fitter: PseudoLabelFitter,
    images_of: Callable[[int], Tensor],
    names_of: Callable[[int], str],
    class_names: Sequence[str],
    num_pictures: int,
) -> None:
    """Draw boxes, the teacher's prediction in them and the labels, from the surest volume to the least sure.

    A teacher is sure of a volume if the mean level of its boxes is high. The slice with the most pixels in boxes is
    drawn. Nothing is drawn if there are no boxes.

    Args:
        path: PNG file to write; its folder is made.
        volumes: the teacher's smoothed logits in the boxes of each volume.
        fitter: fitter that has learned.
        images_of: function from a volume's number to its image: slices ``(B, channels, H, W)``, or
            ``(1, channels, H, W, Z)``.
        names_of: function from a volume's number to its name.
        class_names: names of the classes.
        num_pictures: number of volumes to draw.
    """
    levels = {n: float(fitter.levels(heights).mean()) for n, heights in enumerate(volumes) if len(heights.height)}
    order = sorted(levels, key=lambda n: -levels[n])
    if not order or num_pictures < 1:
        return
    places = np.unique(np.linspace(0, len(order) - 1, min(num_pictures, len(order))).round().astype(int)).tolist()
    words = {0: "surest", len(order) // 2: "median", len(order) - 1: "least sure"}
    rows = []
    for place in places:
        number = order[place]
        title = f"{names_of(number)}\nlevel {levels[number]:+.2f}" + (f" ({words[place]})" if place in words else "")
        rows.append((title, _draw(volumes[number], fitter.fit(volumes[number]), images_of(number))))
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    save_comparison_grid(path, rows, class_names)


def _draw(heights: BoxHeights, label: Tensor, images: Tensor) -> dict[str, CasePicture]:
    pixel = heights.pixels().pixel.cpu()
    boxed = torch.zeros(heights.shape, dtype=torch.bool)
    boxed.view(-1)[pixel] = True
    teacher = torch.zeros_like(boxed)
    teacher.view(-1)[pixel] = heights.height.cpu() > 0
    is_volume = boxed.ndim == 5
    if is_volume:  # its slices take the place of the batch
        boxed, teacher, label, images = (x[0].movedim(-1, 0) for x in (boxed, teacher, label, images))
    index = int(boxed.flatten(1).sum(1).argmax())
    boxes = slice_box_tensor(heights.target[0], index) if is_volume else heights.target[index]
    picture = CasePicture(
        title="",
        image=images[index, 0].cpu().numpy(),
        boxes=boxes[boxes[:, -1] != PADDING].numpy(),
        mask=None,
        pred=teacher[index].numpy().astype(np.uint8),
    )
    fitted = (label[index].cpu() == 1).numpy().astype(np.uint8)
    return {"prediction in the boxes": picture, "label": picture._replace(pred=fitted)}
