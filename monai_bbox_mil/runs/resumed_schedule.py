# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
"""Learning rates of a resumed training, which follow its settings and not those of its checkpoint."""

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
"""Where a value stands: the keys and places on the way to it."""
_Schedule = tuple[list[list[dict[str, Any]]], list[dict[str, Any]]]
"""Options of each optimizer's groups, and the state of each scheduler."""


class ResumedSchedule:
    """What optimizers and schedulers were made with, to be put over what a checkpoint holds.

    A checkpoint's optimizer brings back its learning rate and other options, its scheduler the former length and rates.
    Where the new ones were made with others, :meth:`obey` keeps the new: the schedule is gone through from its
    beginning to the epoch of the checkpoint, as if the run had had it from the start. An optimizer's averages, which
    are what was learned, stay. Where nothing was changed, all is as the checkpoint has it, bit for bit.

    Args:
        objects: of a checkpoint, just made; those that are neither optimizer nor scheduler do not matter.

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
        """Take the options that the objects were made with, once they hold a checkpoint's.

        Args:
            rate_changed: whether the rate at the start is known to be another one. It matters for a scheduler that goes
                by more than the number of epochs, whose present rate does not tell from which one it came.

        Returns:
            Whether they are others.

        Raises:
            ValueError: for such a scheduler, where the rate was changed.
        """
        loaded = self._state()
        epochs = [scheduler.last_epoch for scheduler in self.schedulers]
        self._restore(self._made)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # that no optimizer has made a step
                for epoch in range(max(epochs, default=0)):
                    for scheduler, last in zip(self.schedulers, epochs):
                        if epoch < last:
                            scheduler.step()
        except TypeError as error:  # it wants a metric
            self._restore(loaded)
            if rate_changed:
                raise ValueError(
                    "learning_rate: expected that of the training that wrote the checkpoint, since its scheduler "
                    f"({', '.join(type(each).__name__ for each in self.schedulers)}) follows a metric, so that nobody "
                    "knows where another rate would be by now, got another. Go on with the former, or begin anew with "
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
        """Whether the checkpoint has another value for an option: for what stays the same from epoch to epoch."""
        first, present, former = _flat(made), _flat(now), _flat(loaded)
        return any(
            _equal(value, present.get(name)) and not _equal(value, former[name])
            for name, value in first.items()
            if name in former and name[-1] not in _COUNTERS and not _follows(name, former)
        )


def _follows(name: _Name, values: Mapping[_Name, Any]) -> bool:
    """Whether it is the learning rate of the moment, which a scheduler takes from another one."""
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
