# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
"""3D Dice of volumes that are predicted slice by slice, for training curves."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import ignite.distributed as idist
import torch
from ignite.engine import Engine, Events
from torch import Tensor

__all__ = ["VolumeDice"]


class VolumeDice:
    """Put the mean 3D Dice over volumes and classes into ``engine.state.metrics``, at the network's resolution.

    The handler reads ``mask`` ``(B, C, *spatial)`` and ``volume_index`` ``(B,)`` from the batch, as
    :class:`~monai_bbox_mil.data.SliceDataset` provides them, and the logits ``pred`` ``(B, C, *spatial)`` from the
    output. A volume in which a class is neither present nor predicted scores 1. Without masks there is no metric. The
    metric is for curves only: list the handler before those that log, and do not use it to select models when training
    from boxes.

    Args:
        threshold: probability at or above which a pixel is predicted.
        metric_name: key of the metric.

    Raises:
        ValueError: if the threshold is outside ``[0, 1]``.

    Example:
        >>> mask = torch.zeros(2, 1, 4, 4)
        >>> mask[0, 0, :2] = 1
        >>> logits = torch.full((2, 1, 4, 4), -1.0)
        >>> logits[0, 0, :1] = 1
        >>> engine = Engine(lambda *_: {"pred": logits})
        >>> VolumeDice().attach(engine)
        >>> engine.run([{"mask": mask, "volume_index": torch.tensor([0, 0])}]).metrics
        {'val_dice': 0.6666666666666666}
    """

    def __init__(self, threshold: float = 0.5, metric_name: str = "val_dice") -> None:
        if not 0 <= threshold <= 1:
            raise ValueError(f"threshold must be in [0, 1], got {threshold}.")
        self.threshold = threshold
        self.metric_name = metric_name
        self._counts: dict[int, Tensor] = {}

    def attach(self, engine: Engine) -> None:
        """Watch ``engine``, an evaluator whose output is not decollated."""
        engine.add_event_handler(Events.EPOCH_STARTED, self._start)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self._add)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self._finish)

    def _start(self) -> None:
        self._counts = {}

    def _add(self, engine: Engine) -> None:
        batch, output = engine.state.batch, engine.state.output
        if "mask" not in batch:  # type: ignore[operator]
            return
        pred = output["pred"].detach().as_subclass(Tensor)  # type: ignore[index]
        mask = batch["mask"].as_subclass(Tensor).to(pred.device).flatten(2) > 0  # type: ignore[index]
        found = (pred.float().sigmoid() >= self.threshold).flatten(2)
        # (B, C, 2): voxels in the intersection, and voxels of prediction plus mask
        counts = torch.stack([(found & mask).sum(2), found.sum(2) + mask.sum(2)], dim=-1).cpu()
        _add_up(self._counts, zip(batch["volume_index"].tolist(), counts))  # type: ignore[index]

    def _finish(self, engine: Engine) -> None:
        counts = _add_up_ranks(self._counts)
        if counts:
            agreed, both = torch.stack(list(counts.values())).double().unbind(-1)  # (V, C)
            dice = torch.where(both > 0, 2 * agreed / both.clamp(min=1), 1.0)
            engine.state.metrics[self.metric_name] = dice.mean().item()


def _add_up_ranks(counts: dict[int, Tensor]) -> dict[int, Tensor]:
    """Add up the counts of each volume over all processes, each of which predicted some of its slices."""
    gathered: Any = idist.all_gather(counts)
    total: dict[int, Tensor] = {}
    for part in gathered:
        _add_up(total, part.items())
    return total


def _add_up(total: dict[int, Tensor], counts: Iterable[tuple[int, Tensor]]) -> None:
    for index, count in counts:
        total[index] = total.get(index, torch.zeros_like(count)) + count
