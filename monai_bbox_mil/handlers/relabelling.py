# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
"""Training in rounds: at regular intervals the network makes new labels, and training restarts on them."""

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
    """Base class of handlers that replace the labels every ``interval`` epochs by labels made with the network.

    The handler runs when an epoch starts, before the loader yields batches. So validation and checkpoints at the end of
    an epoch see the trained network together with the labels that it was trained on. The labels are not replaced after
    the last epoch. Make the number of epochs a multiple of ``interval``, so that all rounds are equally long.

    A checkpoint holds the labels and the first weights, with which a resumed run continues. Attach ``CheckpointLoader``
    before this handler. With several processes, each one relabels the whole data set. All have the same network, so
    they make the same labels. The running statistics of normalisation, which may differ, are copied from the first
    process.

    Args:
        dataset: the training slices.
        network: network that returns logits ``(B, C, *spatial)``.
        optimizer: optimizer of the training.
        interval: number of epochs per round.
        inferer: inferer that applies the network to a batch; ``SimpleInferer`` if ``None``.
        batch_size: number of slices to predict at once.
        restart: whether each round starts from the network's first weights with a cleared optimizer; if not, training
            continues with the new labels.
        lr_scheduler: schedule of the learning rate to restart with each round; ``None`` to restart none.
        image_key, label_key: keys of a slice's dictionary.
        progress: whether to show a progress bar while relabelling.

    Raises:
        ValueError: in the constructor, if ``interval`` or ``batch_size`` is less than 1; when training starts, if a
            checkpoint is from other data.
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
        self.round = 0  # number of times that the labels were replaced
        self._labels: Sequence[Tensor] | SharedLabels = []
        self._relabelled = False
        self._first_weights: dict[str, Tensor] = {}
        # Recorded before a checkpoint is loaded into the optimizer.
        self._first_rates = [group["lr"] for group in optimizer.param_groups]
        self._first_schedule = {} if lr_scheduler is None else copy.deepcopy(lr_scheduler.state_dict())
        self._loaded: Mapping[str, Any] | None = None

    def attach(self, engine: Engine) -> None:
        """Attach the handler to ``engine``, a trainer."""
        engine.add_event_handler(Events.STARTED, self._start)
        engine.add_event_handler(Events.EPOCH_STARTED, self._start_epoch)

    def state_dict(self) -> dict[str, Any]:
        """Return the network's first weights and, if labels were replaced, the labels as packed bits."""
        self._start()  # a checkpoint may be saved before training starts
        state: dict[str, Any] = {"first_weights": self._first_weights}
        if self._relabelled:
            flat = np.concatenate([np.asarray(self._labels[i]).ravel() for i in range(len(self._labels))])
            state["labels"] = _pack((flat > 0) & (flat != UNKNOWN))
            if (flat == UNKNOWN).any():
                state["unknown"] = _pack(flat == UNKNOWN)
        return state

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Use the labels and first weights of :meth:`state_dict` once training starts."""
        self._loaded = state_dict

    @abstractmethod
    def _prepare(self) -> Sequence[Tensor] | SharedLabels:
        """Inspect the data once, before labels change, and return the labels that may be replaced."""

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
            raise ValueError(
                f"state_dict must have labels of {total} pixels ({(total + 7) // 8} bytes), got {len(packed)} bytes. "
                "Resume with the data of the checkpoint."
            )
        flat = _unpack(packed, total)
        if "unknown" in state:
            flat[_unpack(state["unknown"], total) > 0] = UNKNOWN
        for i, label in enumerate(flat.split([int(np.prod(shape)) for shape in shapes])):
            self.dataset.relabel(i, label.reshape(shapes[i]))
        self._relabelled = True

    def _start_epoch(self, engine: Engine) -> None:
        trained = engine.state.epoch - 1
        # A run that is resumed in the middle of an epoch has relabelled already.
        begun = engine.state.iteration % (engine.state.epoch_length or 1)
        if trained == 0 or trained % self.interval or begun:
            return
        if idist.get_world_size() > 1:
            for buffer in self.network.buffers():
                alike: Any = idist.broadcast(buffer, 0)
                buffer.copy_(alike)
        self.round = trained // self.interval
        share = self._relabel()
        self._relabelled = True
        if idist.get_rank() == 0:
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
        """Predict logits ``(N, C, *spatial)`` of images ``(N, channels, *spatial)``, ``batch_size`` at a time."""
        self.network.eval()  # the trainer switches back at its next step
        device = next(self.network.parameters()).device
        parts = images.as_subclass(Tensor).float().split(self.batch_size)
        return torch.cat([self.inferer(part.to(device), self.network).float() for part in parts])


def _pack(bits: np.ndarray) -> Tensor:
    return torch.from_numpy(np.packbits(bits))


def _unpack(packed: Tensor, count: int) -> Tensor:
    return torch.from_numpy(np.unpackbits(packed.cpu().numpy(), count=count))
