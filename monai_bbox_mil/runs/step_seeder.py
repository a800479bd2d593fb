# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
"""Make random numbers depend only on the seed and the step, so that a resumed run draws the same as an unbroken one."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import ignite.distributed as idist
import numpy as np
import torch
from ignite.engine import Engine, Events
from ignite.utils import manual_seed
from monai.data.utils import set_rnd
from torch.utils.data import DataLoader

__all__ = ["StepSeeder"]


class StepSeeder:
    """Seed all random generators again at every epoch and step, from the seed, the rank and the number of the step.

    No generator's state has to be saved, because what is drawn at a step does not depend on earlier draws. A run that
    resumes from a checkpoint, at the end of an epoch or in the middle of one, gets the same batches in the same order,
    the same random transforms and the same dropout as a run that was never stopped.

    When an epoch starts, the global generators of Python, NumPy and PyTorch and the loader's data set are seeded, and
    the batches start from the first one. If the engine's iteration lies in the middle of an epoch, the batches it has
    already had are loaded and skipped. At each step the global generators are seeded again.

    A data set that seeds each item itself (``seed_items``, as in :class:`~monai_bbox_mil.data.SliceDataset`) gives the
    same items with any number of workers. In any other data set, the random MONAI transforms are seeded
    (``monai.data.utils.set_rnd``): directly without workers, and with workers through PyTorch's worker seeds. The
    workers must then be new in each epoch, and their number must stay the same.

    Args:
        seed: of the run.

    Raises:
        ValueError: when training starts, for persistent workers with a data set that has no ``seed_items``.

    Example:
        >>> drawn = []
        >>> trainer = Engine(lambda *_: drawn.append(torch.rand(1).item()))
        >>> StepSeeder(seed=0).attach(trainer)
        >>> _ = trainer.run([0, 1], max_epochs=2)
        >>> trainer.load_state_dict({"epoch": 1, "max_epochs": 2, "epoch_length": 2})
        >>> _ = trainer.run([0, 1])
        >>> drawn[2:4] == drawn[4:6]
        True
    """

    def __init__(self, seed: int = 0) -> None:
        self.seed = seed
        self._loader: Any = None
        self._begins = False
        self._pass = 0

    def attach(self, engine: Engine) -> None:
        """Seed ``engine``, a trainer."""
        engine.add_event_handler(Events.STARTED, self._start)
        engine.add_event_handler(Events.EPOCH_STARTED, self._start_epoch)
        engine.add_event_handler(Events.GET_BATCH_STARTED, self._start_batches)
        engine.add_event_handler(Events.DATALOADER_STOP_ITERATION, self._start_pass)
        engine.add_event_handler(Events.ITERATION_STARTED, self._start_step)

    def _start(self, engine: Engine) -> None:
        self._loader = loader = engine.state.dataloader
        if isinstance(loader, DataLoader) and loader.persistent_workers and not hasattr(loader.dataset, "seed_items"):
            raise ValueError(
                f"the data loader must have persistent_workers=False: persistent workers keep random states that no "
                f"checkpoint saves, and {type(loader.dataset).__name__} has no seed_items."
            )
        # A generator of its own: the global one is drawn from a different number of times with and without workers.
        sampler: Any = getattr(loader, "sampler", None)
        if getattr(sampler, "generator", self) is None:
            sampler.generator = torch.Generator()

    def _start_epoch(self) -> None:
        # Seeding waits, so that other handlers of this event (relabelling, a sampler's set_epoch) act before it.
        self._begins = True

    def _start_batches(self, engine: Engine) -> None:
        if not self._begins:
            return
        self._begins, had = False, 0
        if engine.state.epoch_length:
            had = engine.state.iteration % engine.state.epoch_length
        length = len(self._loader) if hasattr(self._loader, "__len__") else engine.state.epoch_length
        self._pass, batches = divmod(had, max(1, length or 1))
        self._seed_data(engine)
        engine.set_data(_Rest(self._loader, batches) if batches else self._loader)

    def _start_pass(self, engine: Engine) -> None:
        self._pass += 1  # an epoch may be longer than the loader
        self._seed_data(engine)

    def _seed_data(self, engine: Engine) -> None:
        seed = self._mix(engine.state.epoch, self._pass)
        manual_seed(seed)
        if not isinstance(self._loader, DataLoader):
            return
        for owner in (self._loader, self._loader.sampler):
            if (generator := getattr(owner, "generator", None)) is not None:
                generator.manual_seed(seed)
        if hasattr(self._loader.dataset, "seed_items"):
            self._loader.dataset.seed_items(seed)
        elif self._loader.num_workers == 0:
            set_rnd(self._loader.dataset, seed)

    def _start_step(self, engine: Engine) -> None:
        manual_seed(self._mix(engine.state.iteration))

    def _mix(self, *numbers: int) -> int:
        # Adding these numbers would give the same seed to different steps of different runs.
        return int(np.random.SeedSequence((self.seed, idist.get_rank(), *numbers)).generate_state(1)[0])


class _Rest:
    """A loader that skips its first batches the first time."""

    def __init__(self, loader: Iterable[Any], passed: int) -> None:
        self.loader = loader
        self.passed = passed

    def __iter__(self) -> Iterator[Any]:
        iterator, passed = iter(self.loader), self.passed
        self.passed = 0
        for _ in range(passed):
            next(iterator)
        return iterator
