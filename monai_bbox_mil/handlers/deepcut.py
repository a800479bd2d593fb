# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
"""DeepCut: labels that start as filled boxes and are refined by the network that is trained on them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import ignite.distributed as idist
import numpy as np
import torch
from ignite.engine import Engine, Events
from monai.inferers import Inferer, SimpleInferer
from scipy import ndimage
from torch import Tensor
from torch.nn.parallel import DistributedDataParallel
from tqdm import tqdm

from monai_bbox_mil.data import SharedLabels
from monai_bbox_mil.transforms import DenseCRF

__all__ = ["DeepCut"]


class _Relabelable(Protocol):
    """Interface that a data set must offer, as :class:`~monai_bbox_mil.data.SliceDataset` does."""

    def __len__(self) -> int: ...

    def plain(self, index: int) -> Mapping[str, Any]: ...

    def allow_relabelling(self, key: str = "label") -> Sequence[Tensor] | SharedLabels: ...

    def relabel(self, index: int, label: Tensor) -> None: ...


class DeepCut:
    """Refine the training labels every few epochs, and restart the training with them.

    Source: Rajchl et al., "DeepCut: Object Segmentation from Bounding Box Annotations using Convolutional Neural
    Networks" (IEEE Transactions on Medical Imaging, 2017). The labels start as filled boxes. After every ``interval``
    epochs the network predicts all training slices without augmentation, and ``refine`` aligns the predictions with the
    edges of the images. The new label is every pixel above 0.5 inside the boxes. If a box (or a group of touching
    boxes) would have no object left, it keeps its former label, because the box says that there is an object.

    The network then restarts from its first weights, so that the phases differ only in their labels and a run is
    repeatable. The optimizer's moments are reset, but its learning rate belongs to the scheduler. Use a schedule that
    restarts every ``interval`` epochs, such as ``CosineAnnealingWarmRestarts``: with a decay over the whole run, the
    last phases would have too small a learning rate. The last phase is as long as the others if the number of epochs is
    a multiple of ``interval``. No relabelling follows the last epoch.

    The handler acts at the start of an epoch, before the loader prepares batches. Checkpoints and validation at the end
    of an epoch thus see the trained network together with the labels it was trained on. In a checkpoint (``save_dict``)
    the handler stores the labels and the first weights, so that a resumed run continues with them. Attach
    ``CheckpointLoader`` before this handler.

    With several processes, each process relabels the whole data set. All have the same network, so they compute the
    same labels. Normalisation statistics can differ between processes; those of the first process are used.

    Args:
        dataset: the training slices, a :class:`~monai_bbox_mil.data.SliceDataset` or another data set with its methods
            ``plain``, ``allow_relabelling`` and ``relabel``. The image is ``(channels, H, W)``, and the label is filled
            boxes ``(C, H, W)`` with one channel per class.
        network: network that returns logits ``(B, C, H, W)``.
        optimizer: optimizer of the network.
        refine: function from probabilities ``(C, H, W)`` and an image ``(channels, H, W)``, both on the CPU, to refined
            probabilities; ``None`` for a :class:`~monai_bbox_mil.transforms.DenseCRF`.
        interval: number of epochs between relabellings.
        inferer: inferer that applies the network to a batch; ``None`` for ``SimpleInferer``.
        batch_size: number of slices to predict at a time. All slices must have the same size.
        restart: whether to restart network and optimizer; if false, training continues with the new labels.
        image_key, label_key: keys of a slice's dictionary.
        progress: whether to show a progress bar while relabelling.

    Raises:
        ValueError: if the interval or the batch size is below 1. When training starts: if the labels are not filled
            boxes of the image's size, or a loaded state belongs to other data.
    """

    checkpoint_name = "deepcut"  # see monai_bbox_mil.runs.complete_checkpoint

    def __init__(
        self,
        dataset: _Relabelable,
        network: torch.nn.Module,
        optimizer: torch.optim.Optimizer,
        refine: Callable[[Tensor, Tensor], Tensor] | None = None,
        interval: int = 10,
        inferer: Inferer | None = None,
        batch_size: int = 8,
        restart: bool = True,
        image_key: str = "image",
        label_key: str = "label",
        progress: bool = True,
    ) -> None:
        for name, value in (("interval", interval), ("batch_size", batch_size)):
            if value < 1:
                raise ValueError(f"{name} must be at least 1, got {value}.")
        self.dataset = dataset
        # Without the DistributedDataParallel wrapper, the weights fit a checkpoint of any number of processes.
        self.network = network.module if isinstance(network, DistributedDataParallel) else network
        self.optimizer = optimizer
        self.refine = DenseCRF() if refine is None else refine
        self.interval = interval
        self.inferer = SimpleInferer() if inferer is None else inferer
        self.batch_size = batch_size
        self.restart = restart
        self.image_key = image_key
        self.label_key = label_key
        self.progress = progress
        self._labels: Sequence[Tensor] | SharedLabels = []
        self._boxes: list[Tensor] = []  # the first labels, which are filled boxes, as bool
        self._first_weights: dict[str, Tensor] = {}
        self._loaded: Mapping[str, Any] | None = None

    def attach(self, engine: Engine) -> None:
        """Watch ``engine``, a trainer."""
        engine.add_event_handler(Events.STARTED, self._start)
        engine.add_event_handler(Events.EPOCH_STARTED, self._start_epoch)

    def state_dict(self) -> dict[str, Any]:
        """Return the labels, eight pixels per byte, and the network's first weights."""
        if not self._boxes:
            self._start()  # a checkpoint from before the run starts
        pixels = [np.asarray(self._labels[i]).ravel() > 0 for i in range(len(self._boxes))]
        packed = np.packbits(np.concatenate(pixels)) if pixels else np.empty(0, np.uint8)
        return {"labels": torch.from_numpy(packed), "first_weights": self._first_weights}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Restore the labels and first weights of :meth:`state_dict` when training starts."""
        self._loaded = state_dict

    def _start(self) -> None:
        if not self._boxes:
            self._labels = self.dataset.allow_relabelling(self.label_key)
            self._check_labels()
            self._boxes = [self._labels[i] > 0 for i in range(len(self.dataset))]
            self._first_weights = {k: v.detach().cpu().clone() for k, v in self.network.state_dict().items()}
        if self._loaded is not None:
            packed, total = self._loaded["labels"].cpu().numpy(), sum(box.numel() for box in self._boxes)
            if len(packed) != (total + 7) // 8:
                raise ValueError(
                    f"state_dict must have labels of {total} pixels ({(total + 7) // 8} bytes), got {len(packed)} "
                    "bytes. Resume with the data of the checkpoint."
                )
            pixels = torch.from_numpy(np.unpackbits(packed, count=total))
            for i, label in enumerate(pixels.split([box.numel() for box in self._boxes])):
                self.dataset.relabel(i, label.reshape(self._boxes[i].shape))
            self._first_weights = {k: v.cpu() for k, v in self._loaded["first_weights"].items()}
            self._loaded = None

    def _check_labels(self) -> None:
        image, label = self.dataset.plain(0)[self.image_key], self._labels[0]
        if label.ndim != 3 or label.shape[1:] != image.shape[1:]:
            raise ValueError(
                f"dataset must have filled boxes (C, {', '.join(map(str, image.shape[1:]))}) under {self.label_key!r}, "
                f"got the shape {tuple(label.shape)}. In the bundle, set supervision to boxes_as_masks."
            )

    def _start_epoch(self, engine: Engine) -> None:
        trained = engine.state.epoch - 1
        # A run that resumes in the middle of an epoch has already relabelled at its start.
        begun = engine.state.iteration % (engine.state.epoch_length or 1)
        if trained == 0 or trained % self.interval or begun:
            return
        self._relabel()
        count = sum(int(box.sum()) for box in self._boxes)
        share = sum(int((self._labels[i] > 0).sum()) for i in range(len(self._boxes))) / max(1, count)
        engine.logger.info(f"DeepCut after {trained} epochs: {share:.1%} of the boxes' pixels are now object.")
        if self.restart:
            self.network.load_state_dict(self._first_weights)
            self.optimizer.state.clear()

    @torch.no_grad()
    def _relabel(self) -> None:
        if idist.get_world_size() > 1:
            for buffer in self.network.buffers():
                alike: Any = idist.broadcast(buffer, 0)
                buffer.copy_(alike)
        device = next(self.network.parameters()).device
        self.network.eval()  # the trainer sets it back at its next step
        starts = range(0, len(self._boxes), self.batch_size)
        for start in tqdm(starts, desc="Relabelling", disable=not self.progress):
            indices = range(start, min(start + self.batch_size, len(self._boxes)))
            images = torch.stack([torch.as_tensor(self.dataset.plain(i)[self.image_key]) for i in indices])
            images = images.as_subclass(Tensor).float()
            probs = self.inferer(images.to(device), self.network).float().sigmoid().cpu()
            for i, image, prob in zip(indices, images, probs):
                self.dataset.relabel(i, _cut_to_boxes(self.refine(prob, image) > 0.5, self._boxes[i], self._labels[i]))


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
