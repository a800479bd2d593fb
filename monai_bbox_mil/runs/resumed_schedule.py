# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
"""Make the learning rates of a resumed training follow its settings instead of its checkpoint."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping
from copy import deepcopy
from typing import Any

import torch
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

__all__ = ["ResumedSchedule"]

_COUNTERS = {"last_epoch", "_step_count", "_last_lr", "_get_lr_called_within_step", "_is_initial"}
_Name = tuple[Any, ...]
"""Path to a value: the keys and positions on the way to it."""
_Schedule = tuple[list[list[dict[str, Any]]], list[dict[str, Any]]]
"""Options of each optimizer's groups, and the state of each scheduler."""


class ResumedSchedule:
    """The options that optimizers and schedulers were made with, to be restored after a checkpoint is loaded.

    A checkpoint's optimizer brings back its learning rate and other options, and its scheduler the old length and
    rates. Where the new objects were made with other options, :meth:`obey` restores them: it steps the schedule from
    its start to the epoch of the checkpoint, as if the run had used it all along. An optimizer's averages, which were
    learned, stay. If no option changed, everything is as in the checkpoint, bit for bit.

    Args:
        objects: those in a checkpoint, just made; all but optimizers and schedulers are ignored.

    Example:
        >>> def make(rate):
        ...     optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=rate)
        ...     return optimizer, torch.optim.lr_scheduler.StepLR(optimizer, step_size=1, gamma=0.5)
        >>> former, schedule = make(1.0)
        >>> former.step(), schedule.step()
        (None, None)
        >>> resumed, new_schedule = make(0.1)
        >>> made = ResumedSchedule([resumed, new_schedule])
        >>> resumed.load_state_dict(former.state_dict()), new_schedule.load_state_dict(schedule.state_dict())
        (None, None)
        >>> resumed.param_groups[0]["lr"], made.obey(), resumed.param_groups[0]["lr"]
        (0.5, True, 0.05)
    """

    def __init__(self, objects: Iterable[Any]) -> None:
        found = list(objects)
        self.optimizers = [each for each in found if isinstance(each, Optimizer)]
        self.schedulers = [each for each in found if isinstance(each, LRScheduler)]
        self._made = self._state()

    def obey(self, rate_changed: bool = False) -> bool:
        """Restore the options that the objects were made with, after a checkpoint was loaded into them.

        Args:
            rate_changed: whether the initial learning rate is known to have changed. This matters for a scheduler that
                follows more than the number of epochs, because its current rate does not reveal the initial one.

        Returns:
            Whether any option differs from the checkpoint's.

        Raises:
            ValueError: for such a scheduler, if the rate changed.
        """
        loaded = self._state()
        epochs = [scheduler.last_epoch for scheduler in self.schedulers]
        self._restore(self._made)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # torch warns that the optimizer has made no step yet
                for epoch in range(max(epochs, default=0)):
                    for scheduler, last in zip(self.schedulers, epochs):
                        if epoch < last:
                            scheduler.step()
        except TypeError as error:  # the scheduler's step needs a metric
            self._restore(loaded)
            if rate_changed:
                raise ValueError(
                    "learning_rate: expected the one that the checkpoint was trained with, got another. Its scheduler "
                    f"({', '.join(type(each).__name__ for each in self.schedulers)}) follows a metric, so the current "
                    "rate cannot be computed from another initial rate. Use the old learning_rate, or start over with "
                    "--resume False."
                ) from error
            for optimizer, made in zip(self.optimizers, self._made[0]):
                for group, value in zip(optimizer.param_groups, made):
                    group.update({name: option for name, option in value.items() if name != "lr"})
            return False
        if self._differs(self._made, self._state(), loaded):
            return True
        self._restore(loaded)
        return False

    def _state(self) -> _Schedule:
        groups = [[{k: v for k, v in g.items() if k != "params"} for g in o.param_groups] for o in self.optimizers]
        return deepcopy(groups), [deepcopy(scheduler.state_dict()) for scheduler in self.schedulers]

    def _restore(self, state: _Schedule) -> None:
        groups, schedules = deepcopy(state)
        for optimizer, values in zip(self.optimizers, groups):
            for group, value in zip(optimizer.param_groups, values):
                group.update(value)
        for scheduler, value in zip(self.schedulers, schedules):
            scheduler.load_state_dict(value)

    @staticmethod
    def _differs(made: Any, now: Any, loaded: Any) -> bool:
        """Return whether the checkpoint has another value for an option that stays the same from epoch to epoch."""
        first, present, former = _flat(made), _flat(now), _flat(loaded)
        return any(
            _equal(value, present.get(name)) and not _equal(value, former[name])
            for name, value in first.items()
            if name in former and name[-1] not in _COUNTERS and not _follows(name, former)
        )


def _follows(name: _Name, values: Mapping[_Name, Any]) -> bool:
    """Return whether it is the current learning rate, which a scheduler computes from another one."""
    return name[-1] == "lr" and (*name[:-1], "initial_lr") in values


def _flat(value: Any, name: _Name = ()) -> dict[_Name, Any]:
    if isinstance(value, Mapping):
        parts: Iterable[tuple[Any, Any]] = value.items()
    elif isinstance(value, (list, tuple)):
        parts = enumerate(value)
    else:
        return {name: value}
    return {key: item for part, inner in parts for key, item in _flat(inner, (*name, part)).items()}


def _equal(one: Any, other: Any) -> bool:
    if isinstance(one, torch.Tensor) or isinstance(other, torch.Tensor):
        return bool(torch.equal(torch.as_tensor(one).cpu(), torch.as_tensor(other).cpu()))
    return bool(one == other)
