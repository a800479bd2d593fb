# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
"""What MONAI's engines know and leave out of their own state."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

__all__ = ["EngineExtras"]


class EngineExtras:
    """The scaler of a trainer's half precision and the best score of its validation, for a checkpoint.

    Without the one, a resumed run scales its gradients from the start again; without the other, its first validation
    counts as the best, and a worse model takes the place of the best one.

    Args:
        trainer: MONAI's.
        evaluator: MONAI's, of the validation, if there is one.

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
        """State of the scaler (empty without one), best score and its epoch."""
        state: dict[str, Any] = {"scaler": self.trainer.scaler.state_dict() if self.trainer.scaler is not None else {}}
        if self.evaluator is not None:
            state["best_metric"] = float(self.evaluator.state.best_metric)
            state["best_metric_epoch"] = int(self.evaluator.state.best_metric_epoch)
        return state

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Take over :meth:`state_dict`; a run with and one without half precision can follow each other."""
        if self.trainer.scaler is not None and state_dict["scaler"]:
            self.trainer.scaler.load_state_dict(state_dict["scaler"])
        if self.evaluator is not None and "best_metric" in state_dict:
            self.evaluator.state.best_metric = state_dict["best_metric"]
            self.evaluator.state.best_metric_epoch = state_dict["best_metric_epoch"]
