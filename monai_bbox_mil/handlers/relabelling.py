# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
"""Training in rounds: from time to time the network makes new labels, and another training starts on them."""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import ignite.distributed as idist
import numpy as np
import torch
from ignite.engine import Engine, Events
from monai.inferers import Inferer, SimpleInferer
from torch import Tensor
from torch.nn.parallel import DistributedDataParallel

from monai_bbox_mil.data import SharedLabels
from monai_bbox_mil.pseudo_labels import UNKNOWN

__all__ = ["Relabelable", "Relabelling"]


class Relabelable(Protocol):
    """A data set whose labels can be replaced; :class:`~monai_bbox_mil.data.SliceDataset` is one."""

    def __len__(self) -> int: ...

    def plain(self, index: int) -> Mapping[str, Any]: ...

    def allow_relabelling(self, key: str = "label", num_classes: int | None = None) -> SharedLabels: ...

    def relabel(self, index: int, label: Tensor) -> None: ...


class Relabelling(ABC):
    """Every ``interval`` epochs, replace the labels by what the network makes of them.

    It acts as an epoch starts, before the loader is asked for batches. What is saved at the end of an epoch, and what
    is validated there, is thus the trained network with the labels that it was trained on. No relabelling follows the
    last epoch; let the number of epochs be a multiple of ``interval``, so that the last round is as long as the others.

    A checkpoint holds the labels and the first weights, and a resumed run goes on with them; put ``CheckpointLoader``
    before this handler. With several processes each relabels the whole data set; as all have the same network they come
    to the same labels. Running statistics of normalisation, which may differ, are those of the first process.

    Args:
        dataset: the training slices.
        network: gives logits ``(B, C, *spatial)``.
        optimizer: of the network's training.
        interval: epochs per round.
        inferer: how the network is applied to a batch; ``SimpleInferer`` when ``None``.
        batch_size: slices predicted at once.
        restart: whether each round starts from the network's first weights and with an optimizer that knows nothing;
            otherwise training goes on with the new labels.
        lr_scheduler: starts over with each round, too, where it is given.
        image_key, label_key: keys of a slice's dictionary.
        progress: whether relabelling shows a progress bar.

    Raises:
        ValueError: for an interval or batch size below 1; when training starts, for the state of other data.
    """

    def __init__(
        self,
        dataset: Relabelable,
        network: torch.nn.Module,
        optimizer: torch.optim.Optimizer,
        interval: int,
        inferer: Inferer | None = None,
        batch_size: int = 8,
        restart: bool = True,
        lr_scheduler: torch.optim.lr_scheduler.LRScheduler | None = None,
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
        self.interval = interval
        self.inferer = SimpleInferer() if inferer is None else inferer
        self.batch_size = batch_size
        self.restart = restart
        self.lr_scheduler = lr_scheduler
        self.image_key = image_key
        self.label_key = label_key
        self.progress = progress
        self._labels: Sequence[Tensor] | SharedLabels = []
        self._relabelled = False
        self._first_weights: dict[str, Tensor] = {}
        # Before a checkpoint is loaded into it.
        self._first_rates = [group["lr"] for group in optimizer.param_groups]
        self._first_schedule = {} if lr_scheduler is None else copy.deepcopy(lr_scheduler.state_dict())
        self._loaded: Mapping[str, Any] | None = None

    def attach(self, engine: Engine) -> None:
        """Watch ``engine``, a trainer."""
        engine.add_event_handler(Events.STARTED, self._start)
        engine.add_event_handler(Events.EPOCH_STARTED, self._start_epoch)

    def state_dict(self) -> dict[str, Any]:
        """Return the labels, one bit per pixel and kind, if there are new ones, and the network's first weights."""
        self._start()  # a checkpoint of the very beginning
        state: dict[str, Any] = {"first_weights": self._first_weights}
        if self._relabelled:
            flat = np.concatenate([np.asarray(self._labels[i]).ravel() for i in range(len(self._labels))])
            state["labels"] = _pack((flat > 0) & (flat != UNKNOWN))
            if (flat == UNKNOWN).any():
                state["unknown"] = _pack(flat == UNKNOWN)
        return state

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Go on with labels and first weights of :meth:`state_dict` from when training starts."""
        self._loaded = state_dict

    @abstractmethod
    def _prepare(self) -> Sequence[Tensor] | SharedLabels:
        """Look at the data once, before labels change, and return the labels that may be replaced."""

    @abstractmethod
    def _relabel(self) -> float:
        """Replace all labels and return the share of the boxes' pixels that are object."""

    def _start(self) -> None:
        if not self._first_weights:
            self._labels = self._prepare()
            self._first_weights = {k: v.detach().cpu().clone() for k, v in self.network.state_dict().items()}
        if self._loaded is not None:
            if "labels" in self._loaded:
                self._load_labels(self._loaded)
            self._first_weights = {k: v.cpu() for k, v in self._loaded["first_weights"].items()}
            self._loaded = None

    def _load_labels(self, state: Mapping[str, Any]) -> None:
        shapes = [tuple(self._labels[i].shape) for i in range(len(self._labels))]
        total = sum(int(np.prod(shape)) for shape in shapes)
        packed = state["labels"]
        if len(packed) != (total + 7) // 8:
            raise ValueError(f"state_dict must hold labels of {total} pixels, got {len(packed)} bytes of eight.")
        flat = _unpack(packed, total)
        if "unknown" in state:
            flat[_unpack(state["unknown"], total) > 0] = UNKNOWN
        for i, label in enumerate(flat.split([int(np.prod(shape)) for shape in shapes])):
            self.dataset.relabel(i, label.reshape(shapes[i]))
        self._relabelled = True

    def _start_epoch(self, engine: Engine) -> None:
        trained = engine.state.epoch - 1
        # Not again in a run that goes on in the middle of an epoch.
        begun = engine.state.iteration % (engine.state.epoch_length or 1)
        if trained == 0 or trained % self.interval or begun:
            return
        if idist.get_world_size() > 1:
            for buffer in self.network.buffers():
                alike: Any = idist.broadcast(buffer, 0)
                buffer.copy_(alike)
        share = self._relabel()
        self._relabelled = True
        name = type(self).__name__
        engine.logger.info(f"{name} after {trained} epochs: {share:.1%} of the boxes' pixels are now object.")
        if self.restart:
            self.network.load_state_dict(self._first_weights)
            self.optimizer.state.clear()
        if self.lr_scheduler is not None:
            self.lr_scheduler.load_state_dict(copy.deepcopy(self._first_schedule))
            for group, rate in zip(self.optimizer.param_groups, self._first_rates):
                group["lr"] = rate

    @torch.no_grad()
    def _predict(self, images: Tensor) -> Tensor:
        """Predict logits ``(N, C, *spatial)`` of any number of images ``(N, channels, *spatial)``."""
        self.network.eval()  # the trainer sets it back at its next step
        device = next(self.network.parameters()).device
        parts = images.as_subclass(Tensor).float().split(self.batch_size)
        return torch.cat([self.inferer(part.to(device), self.network).float() for part in parts])


def _pack(bits: np.ndarray) -> Tensor:
    return torch.from_numpy(np.packbits(bits))


def _unpack(packed: Tensor, count: int) -> Tensor:
    return torch.from_numpy(np.unpackbits(packed.cpu().numpy(), count=count))
