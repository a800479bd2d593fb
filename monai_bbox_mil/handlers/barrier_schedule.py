# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
"""Log-barriers that grow sharper from epoch to epoch."""

from __future__ import annotations

import math
from typing import Any

from ignite.engine import Engine, Events

from monai_bbox_mil.losses.global_constraint import MAX_T

__all__ = ["BarrierSchedule"]


class BarrierSchedule:
    """Multiply a loss's ``t`` by ``factor`` each epoch: ``t = t0 * factor ** (epoch - 1)``, at most ``1e12``.

    ``t0`` is the ``t`` of the loss when the handler is created. Everything else follows from the engine's epoch, so a
    resumed run continues where it stopped. Anything that shares the loss object, such as an evaluator's validation
    loss, also shares ``t``. Do not compare its values between epochs.

    Args:
        loss: loss with an attribute ``t``, such as :class:`~monai_bbox_mil.losses.GlobalConstraintLoss`.
        factor: growth of ``t`` per epoch, at least 1.

    Raises:
        ValueError: if the loss has no positive number ``t``, or ``factor`` is out of range.

    Example:
        >>> from monai_bbox_mil.losses import GlobalConstraintLoss
        >>> loss = GlobalConstraintLoss(t=5.0)
        >>> trainer = Engine(lambda *_: loss.t)
        >>> BarrierSchedule(loss, factor=2.0).attach(trainer)
        >>> trainer.run([0], max_epochs=3).output
        20.0
    """

    def __init__(self, loss: Any, factor: float = 1.1) -> None:
        t0 = getattr(loss, "t", None)
        if not isinstance(t0, (int, float)) or not t0 > 0:
            raise ValueError(
                "loss must have an attribute t greater than 0, as GlobalConstraintLoss does, got "
                f"{type(loss).__name__} {f'with t = {t0}' if isinstance(t0, (int, float)) else 'without a number t'}."
            )
        if not 1 <= factor < math.inf:
            raise ValueError(f"factor must be a finite number of at least 1, got {factor}.")
        self.loss = loss
        self.t0 = t0
        self.factor = factor

    def attach(self, engine: Engine) -> None:
        """Follow the epochs of ``engine``, a trainer."""
        engine.add_event_handler(Events.EPOCH_STARTED, self._set)

    def _set(self, engine: Engine) -> None:
        steps = engine.state.epoch - 1
        # Compare logarithms, because a power beyond the largest float raises an error.
        in_range = steps * math.log(self.factor) < math.log(MAX_T / self.t0)
        self.loss.t = self.t0 * self.factor**steps if in_range else MAX_T
