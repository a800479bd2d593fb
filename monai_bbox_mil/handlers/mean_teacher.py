# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
"""A teacher whose weights are the running mean of the network's."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from ignite.engine import Engine, Events
from ignite.handlers import EMAHandler
from ignite.handlers.param_scheduler import BaseParamScheduler

__all__ = ["MeanTeacher"]


class MeanTeacher:
    """Give a loss, before each training step, the prediction of a teacher: the running mean of the network's weights.

    The mean is computed by ignite's ``EMAHandler``, whose momentum falls to ``momentum`` over the first steps. From
    epoch ``start_epoch + 1`` on, the teacher predicts each batch, in evaluation mode and without gradient. Its logits
    become ``loss.teacher`` (see :class:`~monai_bbox_mil.losses.BoxSelfTrainingLoss`). In earlier epochs there is only
    the box loss, because a teacher that has not yet found the objects would teach wrong labels.

    In a checkpoint (``save_dict``) the handler saves the teacher's weights; the momentum follows from the number of the
    step. With several processes, each has its own copy of the same teacher.

    Source: Tarvainen & Valpola, "Mean teachers are better role models" (NeurIPS 2017).

    Args:
        network: network that returns logits ``(B, C, *spatial)``.
        loss: loss whose attribute ``teacher`` is set.
        start_epoch: number of epochs without a teacher.
        momentum: share of the network's weights that goes into the mean at each step.
        momentum_warmup: the same share at the first step.
        warmup_iters: number of steps from ``momentum_warmup`` to ``momentum``.

    Raises:
        ValueError: if the loss has no attribute ``teacher``, or ``start_epoch`` is negative.

    Example:
        >>> from monai.networks.nets import BasicUNet
        >>> from monai_bbox_mil.losses import BoxSelfTrainingLoss, GeneralizedMILLoss
        >>> network = BasicUNet(spatial_dims=2, out_channels=1, features=(4, 4, 8, 8, 8, 4))
        >>> teacher = MeanTeacher(network, BoxSelfTrainingLoss(GeneralizedMILLoss()), start_epoch=18)
    """

    checkpoint_name = "mean_teacher"  # see monai_bbox_mil.runs.complete_checkpoint

    def __init__(
        self,
        network: torch.nn.Module,
        loss: Any,
        start_epoch: int = 0,
        momentum: float = 0.01,
        momentum_warmup: float = 0.2,
        warmup_iters: int = 100,
    ) -> None:
        if not hasattr(loss, "teacher"):
            raise ValueError(f"loss must have an attribute 'teacher', as BoxSelfTrainingLoss has, got {type(loss)}.")
        if start_epoch < 0:
            raise ValueError(f"start_epoch must be at least 0, got {start_epoch}.")
        self.loss = loss
        self.start_epoch = start_epoch
        self.mean = EMAHandler(network, momentum, momentum_warmup, warmup_iters)

    def attach(self, engine: Engine) -> None:
        """Attach the handler to ``engine``, MONAI's trainer."""
        self.mean.attach(engine, warn_if_exists=False)
        engine.add_event_handler(Events.STARTED, self._go_on)
        engine.add_event_handler(Events.ITERATION_STARTED, self._teach)

    def state_dict(self) -> dict[str, Any]:
        """Return the teacher's weights."""
        return self.mean.ema_model.state_dict()

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Load the teacher's weights from :meth:`state_dict`."""
        self.mean.ema_model.load_state_dict(state_dict)

    def _go_on(self, engine: Engine) -> None:
        # ignite counts the steps of this process only, so the momentum of a resumed run would warm up again.
        if isinstance(scheduler := self.mean.momentum_scheduler, BaseParamScheduler):
            scheduler.event_index = engine.state.iteration

    @torch.no_grad()
    def _teach(self, engine: Any) -> None:
        if engine.state.epoch <= self.start_epoch:
            return
        options = {"non_blocking": engine.non_blocking, **engine.to_kwargs}
        inputs = engine.prepare_batch(engine.state.batch, engine.state.device, **options)[0]
        # The same autocast as in the engine's own step. On a CPU, autocast, if any, surrounds the whole run.
        with torch.autocast("cuda", enabled=engine.amp or torch.is_autocast_enabled("cuda")):
            self.loss.teacher = engine.inferer(inputs, self.mean.ema_model)
