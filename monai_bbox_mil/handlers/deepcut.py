# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
"""DeepCut: labels that start as filled boxes and are refined by the network that is trained on them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor
from tqdm import tqdm

from monai_bbox_mil.data import SharedLabels
from monai_bbox_mil.handlers.relabelling import Relabelable, Relabelling
from monai_bbox_mil.transforms import DenseCRF

__all__ = ["DeepCut"]


class DeepCut(Relabelling):
    """Refine the training labels every few epochs, and restart the training with them.

    Source: Rajchl et al., "DeepCut: Object Segmentation from Bounding Box Annotations using Convolutional Neural
    Networks" (IEEE Transactions on Medical Imaging, 2017). The labels start as filled boxes. After every ``interval``
    epochs the network predicts all training slices without augmentation, and ``refine`` aligns the predictions with the
    edges of the images. The new label is every pixel above 0.5 inside the boxes. If a box (or a group of touching
    boxes) would have no object left, it keeps its former label, because the box says that there is an object.

    The network then restarts from its first weights, so that the phases differ only in their labels and a run is
    repeatable. The optimizer's moments are reset, but its learning rate belongs to the scheduler. Use a schedule that
    restarts every ``interval`` epochs, such as ``CosineAnnealingWarmRestarts``: with a decay over the whole run, the
    last phases would have too small a learning rate. For when this happens and what a checkpoint holds, see
    :class:`~monai_bbox_mil.handlers.relabelling.Relabelling`.

    Args:
        dataset: the training slices, a :class:`~monai_bbox_mil.data.SliceDataset` or another data set with its methods
            ``plain``, ``allow_relabelling`` and ``relabel``. The image is ``(channels, H, W)``, and the label is filled
            boxes ``(C, H, W)`` with one channel per class.
        network: network that returns logits ``(B, C, H, W)``.
        optimizer: optimizer of the network.
        refine: function from probabilities ``(C, H, W)`` and an image ``(channels, H, W)``, both on the CPU, to refined
            probabilities; ``None`` for a :class:`~monai_bbox_mil.transforms.DenseCRF`.
        interval: number of epochs between relabellings.
        options: further options of :class:`~monai_bbox_mil.handlers.relabelling.Relabelling`.

    Raises:
        ValueError: if the interval or the batch size is below 1. When training starts: if the labels are not filled
            boxes of the image's size, or a loaded state belongs to other data.
    """

    checkpoint_name = "deepcut"  # see monai_bbox_mil.runs.complete_checkpoint

    def __init__(
        self,
        dataset: Relabelable,
        network: torch.nn.Module,
        optimizer: torch.optim.Optimizer,
        refine: Callable[[Tensor, Tensor], Tensor] | None = None,
        interval: int = 10,
        **options: Any,
    ) -> None:
        super().__init__(dataset, network, optimizer, interval, **options)
        self.refine = DenseCRF() if refine is None else refine
        self._boxes: list[Tensor] = []  # the first labels, which are filled boxes, as bool

    def _prepare(self) -> SharedLabels:
        labels = self.dataset.allow_relabelling(self.label_key)
        image, label = self.dataset.plain(0)[self.image_key], labels[0]
        if label.ndim != 3 or label.shape[1:] != image.shape[1:]:
            raise ValueError(
                f"dataset must have filled boxes (C, {', '.join(map(str, image.shape[1:]))}) under {self.label_key!r}, "
                f"got the shape {tuple(label.shape)}. In the bundle, set supervision to boxes_as_masks."
            )
        self._boxes = [labels[i] > 0 for i in range(len(self.dataset))]
        return labels

    def _relabel(self) -> float:
        starts = range(0, len(self._boxes), self.batch_size)
        for start in tqdm(starts, desc="Relabelling", disable=not self.progress):
            indices = range(start, min(start + self.batch_size, len(self._boxes)))
            images = torch.stack([torch.as_tensor(self.dataset.plain(i)[self.image_key]) for i in indices])
            images = images.as_subclass(Tensor).float()
            for i, image, prob in zip(indices, images, self._predict(images).sigmoid().cpu()):
                self.dataset.relabel(i, _cut_to_boxes(self.refine(prob, image) > 0.5, self._boxes[i], self._labels[i]))
        count = sum(int(box.sum()) for box in self._boxes)
        return sum(int((self._labels[i] > 0).sum()) for i in range(len(self._boxes))) / max(1, count)


def _cut_to_boxes(refined: Tensor, boxes: Tensor, former: Tensor) -> Tensor:
    """Cut ``refined`` to ``boxes``, and keep ``former`` in regions that would be empty; returns ``(C, H, W)`` bool.

    Example:
        >>> boxes = torch.tensor([[[True, True, False, True, True]]])
        >>> _cut_to_boxes(torch.tensor([[[0, 1, 1, 0, 0]]]) > 0, boxes, torch.tensor([[[1, 1, 0, 1, 0]]]))
        tensor([[[False,  True, False,  True, False]]])
    """
    label = refined & boxes
    for channel, region, before in zip(label, boxes, former):
        numbers, count = ndimage.label(region.numpy())
        filled = np.unique(numbers[channel.numpy()])
        empty = torch.from_numpy(np.isin(numbers, np.setdiff1d(np.arange(1, count + 1), filled)))
        channel |= empty & (before > 0)
    return label
