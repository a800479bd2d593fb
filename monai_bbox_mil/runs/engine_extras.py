# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
"""Save the parts of MONAI engines that their own state leaves out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

__all__ = ["EngineExtras"]


class EngineExtras:
    """The gradient scaler of a trainer and the best score of its validation, for a checkpoint.

    Without the scaler, a resumed half-precision run would start from the initial scale. Without the best score, its
    first validation would be the best one, and a worse model would replace the best one.

    Args:
        trainer: a MONAI trainer.
        evaluator: the MONAI evaluator of the validation, if there is one.

    Example:
        >>> from monai.engines import SupervisedEvaluator, SupervisedTrainer
        >>> import torch
        >>> network = torch.nn.Linear(1, 1)
        >>> optimizer = torch.optim.SGD(network.parameters())
        >>> trainer = SupervisedTrainer("cpu", 1, [], network, optimizer, torch.nn.MSELoss())
        >>> evaluator = SupervisedEvaluator("cpu", [], network)
        >>> EngineExtras(trainer, evaluator).state_dict()
        {'scaler': {}, 'best_metric': -1.0, 'best_metric_epoch': -1}
    """

    def __init__(self, trainer: Any, evaluator: Any = None) -> None:
        self.trainer = trainer
        self.evaluator = evaluator

    def state_dict(self) -> dict[str, Any]:
        """Return the state of the scaler (empty without one), the best score and its epoch."""
        state: dict[str, Any] = {"scaler": self.trainer.scaler.state_dict() if self.trainer.scaler is not None else {}}
        if self.evaluator is not None:
            state["best_metric"] = float(self.evaluator.state.best_metric)
            state["best_metric_epoch"] = int(self.evaluator.state.best_metric_epoch)
        return state

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Restore :meth:`state_dict`; runs with and without half precision may follow each other."""
        if self.trainer.scaler is not None and state_dict["scaler"]:
            self.trainer.scaler.load_state_dict(state_dict["scaler"])
        if self.evaluator is not None and "best_metric" in state_dict:
            self.evaluator.state.best_metric = state_dict["best_metric"]
            self.evaluator.state.best_metric_epoch = state_dict["best_metric_epoch"]
