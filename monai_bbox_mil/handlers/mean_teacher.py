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
    """Give a loss, before each training step, the prediction of a teacher with the network's mean recent weights.

    Source: Tarvainen & Valpola, "Mean teachers are better role models" (NeurIPS 2017). Ignite's ``EMAHandler`` computes
    the mean; its ``momentum`` falls to its final value over the first steps. From epoch ``start_epoch`` + 1 on, the
    teacher predicts each batch without gradient and in evaluation mode, and its logits become ``loss.teacher`` (see
    :class:`~monai_bbox_mil.losses.BoxSelfTrainingLoss`). Before that epoch the box loss is used alone, because a
    teacher that has not found the objects yet would teach its own mistakes.

    In a checkpoint (``save_dict``) the handler stores the teacher's weights; the momentum follows from the number of
    the step. With several processes, each has its own copy of the same teacher.

    Args:
        network: network that returns logits ``(B, C, *spatial)``.
        loss: loss with an attribute ``teacher`` to set.
        start_epoch: number of epochs without a teacher.
        momentum: share of the network's weights that goes into the mean at each step.
        momentum_warmup: the same share at the first step.
        warmup_iters: number of steps over which ``momentum_warmup`` changes to ``momentum``.

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
            raise ValueError(
                f"loss must have an attribute 'teacher', got {type(loss).__name__}. Wrap it: BoxSelfTrainingLoss(loss)."
            )
        if start_epoch < 0:
            raise ValueError(f"start_epoch must be at least 0, got {start_epoch}.")
        self.loss = loss
        self.start_epoch = start_epoch
        self.mean = EMAHandler(network, momentum, momentum_warmup, warmup_iters)

    def attach(self, engine: Engine) -> None:
        """Watch ``engine``, MONAI's trainer."""
        self.mean.attach(engine, warn_if_exists=False)
        engine.add_event_handler(Events.STARTED, self._go_on)
        engine.add_event_handler(Events.ITERATION_STARTED, self._teach)

    def state_dict(self) -> dict[str, Any]:
        """Return the teacher's weights."""
        return self.mean.ema_model.state_dict()

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Load the weights of :meth:`state_dict`."""
        self.mean.ema_model.load_state_dict(state_dict)

    def _go_on(self, engine: Engine) -> None:
        # ignite's scheduler counts only the steps of this process, so its momentum would warm up again after a resume.
        if isinstance(scheduler := self.mean.momentum_scheduler, BaseParamScheduler):
            scheduler.event_index = engine.state.iteration

    @torch.no_grad()
    def _teach(self, engine: Any) -> None:
        if engine.state.epoch <= self.start_epoch:
            return
        options = {"non_blocking": engine.non_blocking, **engine.to_kwargs}
        inputs = engine.prepare_batch(engine.state.batch, engine.state.device, **options)[0]
        # Use the same CUDA autocast as the engine's own step. On a CPU, autocast, if any, surrounds the whole run.
        with torch.autocast("cuda", enabled=engine.amp or torch.is_autocast_enabled("cuda")):
            self.loss.teacher = engine.inferer(inputs, self.mean.ema_model)
