# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
"""Training in rounds: first from boxes, then on pixel labels that the previous round's network made to fit them."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import ignite.distributed as idist
import numpy as np
import torch
from monai.data import MetaTensor
from torch import Tensor
from tqdm import tqdm

from monai_bbox_mil.boxes import batch_box_tensors
from monai_bbox_mil.data import SharedLabels
from monai_bbox_mil.handlers.label_pictures import save_label_pictures
from monai_bbox_mil.handlers.relabelling import Relabelable, Relabelling
from monai_bbox_mil.pseudo_labels import BoxHeights, PseudoLabelFitter, smooth_logits, whole_voxels

__all__ = ["PseudoLabelRounds"]


class PseudoLabelRounds(Relabelling):
    """Turn the boxes into pixel labels every ``interval`` epochs, and train a fresh network on them.

    The first round learns from boxes by bags, which find an object but say little about its outline. Its network then
    predicts all training images. The logits are smoothed along the edges of the image, and across slices if these are
    close enough (:func:`~monai_bbox_mil.pseudo_labels.joint_bilateral_filter`). Then they are cut to regions that reach
    all sides of their boxes (:class:`~monai_bbox_mil.pseudo_labels.PseudoLabelFitter`). These regions are the labels of
    the next round, which starts from the first weights. Further rounds repeat this.

    The loss must take both kinds of target, as :class:`~monai_bbox_mil.losses.BoxOrPixelLoss` does.
    :class:`~monai_bbox_mil.handlers.relabelling.Relabelling` describes when all this happens, and what a checkpoint
    holds.

    Args:
        dataset: the training slices, or whole volumes, with box tensors ``(N, 2*D + 1)`` as labels: a
            :class:`~monai_bbox_mil.data.SliceDataset` or another data set with its methods ``plain``,
            ``allow_relabelling`` and ``relabel``. Slices of one volume must be consecutive and have the same
            ``volume_index``.
        network: network that returns logits ``(B, C, *spatial)``.
        optimizer: optimizer of the training.
        fitter: fitter that makes labels from logits.
        interval: number of epochs per round.
        sigma: standard deviation of the smoothing over distance, in pixels of the finest axis; 0 for no smoothing.
        intensity_sigma: standard deviation of the smoothing over intensity, as a share of the image's own.
        picture_dir: folder for a picture of each round's labels, ``labels_round_1.png`` and so on; ``None`` for none.
        class_names: names of the classes for the pictures.
        num_pictures: number of rows of a picture, from the image that the teacher is most sure of to the least sure.
        options: further arguments of :class:`~monai_bbox_mil.handlers.relabelling.Relabelling`.

    Raises:
        ValueError: in the constructor, if ``interval`` or ``batch_size`` is less than 1; when training starts, if
            labels are not box tensors of their images, or a checkpoint is from other data.

    Example:
        >>> from monai.networks.nets import BasicUNet
        >>> from monai_bbox_mil.data import SliceDataset
        >>> boxes = torch.tensor([[2.0, 3, 0, 9, 9, 2, 0]])  # one box, in both slices
        >>> slices = SliceDataset([{"image": torch.rand(1, 16, 16, 2), "label": boxes}])
        >>> network = BasicUNet(spatial_dims=2, out_channels=1, features=(4, 4, 8, 8, 8, 4))
        >>> optimizer = torch.optim.Adam(network.parameters())
        >>> rounds = PseudoLabelRounds(slices, network, optimizer, PseudoLabelFitter(1), interval=30)
    """

    checkpoint_name = "pseudo_labels"  # see monai_bbox_mil.runs.complete_checkpoint

    def __init__(
        self,
        dataset: Relabelable,
        network: torch.nn.Module,
        optimizer: torch.optim.Optimizer,
        fitter: PseudoLabelFitter,
        interval: int,
        sigma: float = 1.5,
        intensity_sigma: float = 0.2,
        picture_dir: str | os.PathLike[str] | None = None,
        class_names: Sequence[str] = (),
        num_pictures: int = 5,
        **options: Any,
    ) -> None:
        super().__init__(dataset, network, optimizer, interval, **options)
        self.fitter = fitter
        self.sigma = sigma
        self.intensity_sigma = intensity_sigma
        self.picture_dir = picture_dir
        self.class_names = class_names or [f"class {c}" for c in range(fitter.num_classes)]
        self.num_pictures = num_pictures
        self._volumes: list[list[int]] = []
        self._targets: list[Tensor] = []

    def _prepare(self) -> SharedLabels:
        volume = None
        for index in range(len(self.dataset)):
            item = self.dataset.plain(index)
            image, boxes = item[self.image_key], item[self.label_key]
            if boxes.ndim != 2 or boxes.shape[1] != 2 * image.ndim - 1:
                raise ValueError(
                    f"dataset must hold box tensors (N, {2 * image.ndim - 1}) under {self.label_key!r} (in the bundle: "
                    f"supervision boxes), got the shape {tuple(boxes.shape)}."
                )
            if (number := item.get("volume_index", index)) != volume:
                self._volumes.append([])
                volume = number
            self._volumes[-1].append(index)
            self._targets.append(whole_voxels(boxes.as_subclass(Tensor).cpu(), image.shape[1:]))
        return self.dataset.allow_relabelling(self.label_key, self.fitter.num_classes)

    def _relabel(self) -> float:
        seen = [self._look(indices) for indices in tqdm(self._volumes, "Predicting", disable=not self.progress)]
        self.fitter.learn(seen)
        pixels = objects = 0
        for indices, heights in zip(tqdm(self._volumes, "Relabelling", disable=not self.progress), seen):
            pixels += len(heights.height)
            for index, label in zip(indices, self.fitter.fit(heights)):
                self.dataset.relabel(index, label)
                objects += int((label == 1).sum())
        if self.picture_dir is not None and idist.get_rank() == 0:
            self._draw(seen)
        return objects / max(1, pixels)

    def _draw(self, seen: list[BoxHeights]) -> None:
        save_label_pictures(
            Path(str(self.picture_dir), f"labels_round_{self.round}.png"),
            seen,
            self.fitter,
            lambda number: self._images(self._volumes[number])[1],
            self._name,
            self.class_names,
            self.num_pictures,
        )

    def _name(self, number: int) -> str:
        item = self.dataset.plain(self._volumes[number][0])
        path = getattr(item[self.image_key], "meta", {}).get("filename_or_obj")
        return str(item.get("patient", f"image {number}")) if path is None else Path(str(path)).name

    def _images(self, indices: list[int]) -> tuple[Tensor, Tensor]:
        """Return the first slice with its meta data, and all slices as a batch without."""
        images = [self.dataset.plain(index)[self.image_key] for index in indices]
        return images[0], torch.stack([image.as_subclass(Tensor) for image in images]).float()

    def _look(self, indices: list[int]) -> BoxHeights:
        """Return the smoothed logits of the network in the boxes of one volume."""
        first, batch = self._images(indices)
        logits = self._predict(batch)
        boxes = batch_box_tensors([self._targets[index] for index in indices])
        inputs, spacing = batch.to(logits.device), _spacing(first)
        logits = smooth_logits(logits, inputs, self.sigma, self.intensity_sigma, spacing, boxes)
        return BoxHeights.of(logits.cpu(), boxes)


def _spacing(image: Tensor) -> list[float]:
    """Return the three spacings of a slice or volume; without an affine, slices are infinitely far apart.

    Example:
        >>> _spacing(MetaTensor(torch.zeros(1, 4, 4), affine=torch.diag(torch.tensor([2.0, 2, 9, 1]))))
        [2.0, 2.0, 9.0]
    """
    if isinstance(image, MetaTensor) and image.affine.shape == (4, 4):
        lengths = np.linalg.norm(np.asarray(image.affine, np.float64)[:3, :3], axis=0)
        if (lengths > 0).all():
            return [float(length) for length in lengths]
    return [1.0, 1.0, 1.0 if image.ndim == 4 else np.inf]
