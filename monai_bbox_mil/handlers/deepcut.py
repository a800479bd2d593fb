# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
"""DeepCut: labels that start as filled boxes and are refined by the network trained on them."""

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
    """What is asked of a data set; :class:`~monai_bbox_mil.data.SliceDataset` has it."""

    def __len__(self) -> int: ...

    def plain(self, index: int) -> Mapping[str, Any]: ...

    def allow_relabelling(self, key: str = "label") -> Sequence[Tensor] | SharedLabels: ...

    def relabel(self, index: int, label: Tensor) -> None: ...


class DeepCut:
    """Refine the training labels at regular intervals, and restart the training on them.

    Rajchl et al., "DeepCut: Object Segmentation from Bounding Box Annotations using Convolutional Neural Networks"
    (IEEE Transactions on Medical Imaging, 2017). The labels start as filled boxes. After every ``interval`` epochs the
    network predicts all training slices without augmentation; ``refine`` moves the predictions to the edges of the
    images; what of it is above 0.5 and inside the boxes is the new label. Where that leaves a box (or a group of boxes
    that touch) without any object, the former label stays there: the box says that there is one.

    Then the network starts again from its first weights, so that phases differ by their labels alone and a run is
    repeatable, and the optimizer forgets its moments. It keeps its learning rate, which belongs to the schedule: use
    one that starts again every ``interval`` epochs, such as ``CosineAnnealingWarmRestarts``, for a decay over the whole
    run would leave the last phases too little to learn with. The last phase is as long as the others when the number of
    epochs is a multiple of ``interval``; no relabelling follows the last epoch.

    It acts as an epoch starts, before the loader is asked for batches. What is saved at the end of an epoch, and what
    is validated there, is thus the trained network with the labels it was trained on. In a checkpoint (``save_dict``)
    the handler keeps the labels and the first weights, and a resumed run goes on with them; put ``CheckpointLoader``
    before it.

    With several processes each relabels the whole data set; as all have the same network they come to the same labels.
    Running statistics of normalisation, which may differ between them, are those of the first process.

    Args:
        dataset: the training slices: a :class:`~monai_bbox_mil.data.SliceDataset` or what offers its ``plain``,
            ``allow_relabelling`` and ``relabel``. ``image`` is ``(channels, H, W)``, the label the filled boxes
            ``(C, H, W)``, each class in its own channel.
        network: gives logits ``(B, C, H, W)``.
        optimizer: of the network's training.
        refine: from probabilities ``(C, H, W)`` and image ``(channels, H, W)``, on the CPU, to refined probabilities;
            a :class:`~monai_bbox_mil.transforms.DenseCRF` when ``None``.
        interval: epochs between relabellings.
        inferer: how the network is applied to a batch; ``SimpleInferer`` when ``None``.
        batch_size: slices predicted at once; all slices of one size.
        restart: whether network and optimizer start again; otherwise training goes on with the new labels.
        image_key, label_key: keys of a slice's dictionary.
        progress: whether relabelling shows a progress bar.

    Raises:
        ValueError: for an interval or batch size below 1; when training starts, for labels that are not filled boxes of
            the image's size; for the state of other data.
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
        # Bare weights fit a checkpoint of any number of processes.
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
        self._boxes: list[Tensor] = []  # the first labels: filled boxes, bool
        self._first_weights: dict[str, Tensor] = {}
        self._loaded: Mapping[str, Any] | None = None

    def attach(self, engine: Engine) -> None:
        """Watch ``engine``, a trainer."""
        engine.add_event_handler(Events.STARTED, self._start)
        engine.add_event_handler(Events.EPOCH_STARTED, self._start_epoch)

    def state_dict(self) -> dict[str, Any]:
        """Labels, eight pixels a byte, and the network's first weights."""
        if not self._boxes:
            self._start()  # a checkpoint of the very beginning
        pixels = [np.asarray(self._labels[i]).ravel() > 0 for i in range(len(self._boxes))]
        packed = np.packbits(np.concatenate(pixels)) if pixels else np.empty(0, np.uint8)
        return {"labels": torch.from_numpy(packed), "first_weights": self._first_weights}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Go on with labels and first weights of :meth:`state_dict` from when training starts."""
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
                raise ValueError(f"state_dict must hold labels of {total} pixels, got {len(packed)} bytes of eight.")
            pixels = torch.from_numpy(np.unpackbits(packed, count=total))
            for i, label in enumerate(pixels.split([box.numel() for box in self._boxes])):
                self.dataset.relabel(i, label.reshape(self._boxes[i].shape))
            self._first_weights = {k: v.cpu() for k, v in self._loaded["first_weights"].items()}
            self._loaded = None

    def _check_labels(self) -> None:
        image, label = self.dataset.plain(0)[self.image_key], self._labels[0]
        if label.ndim != 3 or label.shape[1:] != image.shape[1:]:
            raise ValueError(
                f"dataset must hold filled boxes (C, {', '.join(map(str, image.shape[1:]))}) under {self.label_key!r} "
                f"(in the bundle: supervision boxes_as_masks), got the shape {tuple(label.shape)}."
            )

    def _start_epoch(self, engine: Engine) -> None:
        trained = engine.state.epoch - 1
        # Not again in a run that goes on in the middle of an epoch.
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
    """New label ``(C, H, W)`` bool: ``refined`` inside ``boxes``, and ``former`` in regions that would stay empty.

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
