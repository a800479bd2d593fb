# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
"""Logging of the terms of a loss as metrics of the trainer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from ignite.engine import Engine, Events

__all__ = ["LossParts"]


class LossParts:
    """Put each epoch's means of a loss's ``parts`` into ``engine.state.metrics``, for logs and TensorBoard.

    A loss without ``parts``, such as MONAI's, adds no metrics, so the same configuration works with both. In a
    checkpoint (``save_dict``) the handler stores the sums of an unfinished epoch.

    Args:
        loss: loss with an attribute ``parts``, such as :class:`~monai_bbox_mil.losses.GeneralizedMILLoss`.
        prefix: prefix of the metrics' names.

    Example:
        >>> from monai_bbox_mil.losses import GeneralizedMILLoss
        >>> loss = GeneralizedMILLoss()
        >>> trainer = Engine(lambda _, batch: loss(torch.zeros(1, 1, 8, 8), batch))
        >>> LossParts(loss).attach(trainer)
        >>> sorted(trainer.run([torch.tensor([[[1.0, 1, 4, 4, 0]]])]).metrics)
        ['train_loss', 'train_pairwise', 'train_unary']
    """

    checkpoint_name = "loss_parts"  # see monai_bbox_mil.runs.complete_checkpoint

    def __init__(self, loss: Any, prefix: str = "train_") -> None:
        self.loss = loss
        self.prefix = prefix
        self._sums: dict[str, torch.Tensor] = {}
        self._count = 0
        self._names: list[str] = []

    def attach(self, engine: Engine) -> None:
        """Watch ``engine``, a trainer."""
        engine.add_event_handler(Events.EPOCH_STARTED, self._start)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self._add)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self._finish)

    def _start(self, engine: Engine) -> None:
        # Otherwise a part that the loss no longer has would be logged with its last value in every later epoch.
        for name in self._names:
            engine.state.metrics.pop(name, None)
        self._names = []
        length = engine.state.epoch_length
        if not length or engine.state.iteration % length == 0:  # otherwise the run resumes in the middle of an epoch
            self._sums, self._count = {}, 0

    def state_dict(self) -> dict[str, Any]:
        """Return the sums over the epoch so far, and the number of steps."""
        return {"sums": dict(self._sums), "count": self._count}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Continue with the sums of :meth:`state_dict`."""
        self._sums, self._count = dict(state_dict["sums"]), state_dict["count"]

    def _add(self) -> None:
        for name, value in getattr(self.loss, "parts", {}).items():
            self._sums[name] = self._sums.get(name, torch.zeros_like(value)) + value
        self._count += 1

    def _finish(self, engine: Engine) -> None:
        for name, value in self._sums.items():
            means = (value / self._count).tolist()
            for channel, mean in enumerate(means):
                suffix = f"_class{channel}" if len(means) > 1 else ""
                self._names.append(f"{self.prefix}{name}{suffix}")
                engine.state.metrics[self._names[-1]] = mean
