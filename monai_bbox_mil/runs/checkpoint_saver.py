# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
"""MONAI's ``CheckpointSaver`` with files that a killed process never leaves incomplete."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import ignite.distributed as idist
import torch
from ignite.engine import Engine, Events
from ignite.handlers import Checkpoint, DiskSaver
from monai.handlers import CheckpointSaver

from monai_bbox_mil.runs.files import UNFINISHED, free_bytes, replacing

__all__ = ["AtomicCheckpointSaver"]


class AtomicCheckpointSaver(CheckpointSaver):
    """MONAI's ``CheckpointSaver`` with files that are complete or absent.

    MONAI's saver deletes the previous checkpoint and then writes the new one in its place. A process that is killed in
    between has none. Here a file is written under another name and moved to its place once it is on the disk. Only then
    is the previous one deleted.

    When a training starts, its state is saved as epoch (iteration) 0, so that a run killed in its first epoch can be
    resumed like any other. When it resumes, checkpoints of the interrupted run are included in ``n_saved``; put the
    ``CheckpointLoader`` before this handler. A previous training may have left checkpoints of later epochs than the
    engine's, which would be mistaken for the latest. They are deleted once the first epoch is saved, so that a training
    that was started by mistake can be stopped and the previous one resumed.

    When the engine terminates early (``Engine.terminate``, as by :class:`StopOnSignal`), its state is saved, even in
    the middle of an epoch; the file has the number of that epoch.

    When an evaluator's best score was restored (:class:`EngineExtras`), only a better model replaces the file of the
    best one.

    Args:
        save_dir: folder of the checkpoints.
        save_dict: objects with a ``state_dict``.
        kwargs: other arguments of ``monai.handlers.CheckpointSaver``.

    If a file cannot be written, an ``OSError`` names the folder and the space that is left in it.

    Example:
        >>> import tempfile
        >>> network = torch.nn.Linear(1, 1)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     trainer = Engine(lambda *_: None)
        ...     content = {"network": network, "trainer": trainer}
        ...     AtomicCheckpointSaver(folder, content, save_interval=1, n_saved=1).attach(trainer)
        ...     _ = trainer.run([0], max_epochs=3)
        ...     [path.name for path in Path(folder).iterdir()]
        ['checkpoint_epoch=3.pt']
    """

    def __init__(self, save_dir: str, save_dict: dict[str, Any], **kwargs: Any) -> None:
        super().__init__(save_dir, save_dict, **kwargs)
        self._prefix = f"{kwargs['file_prefix']}_" if kwargs.get("file_prefix") else ""
        self._best_filename: str | None = kwargs.get("key_metric_filename")
        for checkpoint in (self._final_checkpoint, self._key_metric_checkpoint, self._interval_checkpoint):
            if checkpoint is not None:
                fixed_name = getattr(checkpoint.save_handler, "filename", None)
                checkpoint.save_handler = _AtomicDiskSaver(Path(save_dir), fixed_name)

    def attach(self, engine: Engine) -> None:
        """Save the state of ``engine``, a trainer or an evaluator."""
        super().attach(engine)
        if self._interval_checkpoint is not None:
            engine.add_event_handler(Events.STARTED, self._take_over, self._interval_checkpoint)
            engine.add_event_handler(Events.TERMINATE, self.interval_completed)
        if self._key_metric_checkpoint is not None:
            engine.add_event_handler(Events.STARTED, self._take_over_best, self._key_metric_checkpoint)

    def _take_over(self, engine: Engine, checkpoint: Checkpoint) -> None:
        if idist.get_rank() > 0:
            return
        unit = "epoch" if self.epoch_level else "iteration"
        pattern = rf"(?:{UNFINISHED})?{re.escape(self._prefix + self._name_of_content())}_{unit}=(\d+)\.pt"
        if engine.state.iteration == 0:
            self.interval_completed(engine)
        reached, found = getattr(engine.state, unit), {}
        for path in Path(self.save_dir).iterdir():
            if match := re.fullmatch(pattern, path.name):
                if path.name.startswith(UNFINISHED):
                    path.unlink()
                elif int(match[1]) <= reached:
                    found[int(match[1])] = path.name
                else:
                    checkpoint.save_handler.remove(path.name)
        checkpoint.load_state_dict({"_saved": sorted(found.items())})

    def _take_over_best(self, engine: Engine, checkpoint: Checkpoint) -> None:
        if checkpoint.last_checkpoint is not None or getattr(engine.state, "best_metric_epoch", -1) < 1:
            return
        # The score function reads the engine's current metric, so it must see the best one here.
        name, latest = engine.state.key_metric_name, engine.state.metrics  # type: ignore[attr-defined]
        engine.state.metrics = {name: engine.state.best_metric}  # type: ignore[attr-defined]
        score = checkpoint.score_function(engine)  # type: ignore[misc]
        engine.state.metrics = latest
        filename = self._best_filename or f"{self._prefix}{self._name_of_content()}_key_metric={score:.4f}.pt"
        if Path(self.save_dir, filename).is_file():
            checkpoint.load_state_dict({"_saved": [(score, filename)]})

    def _name_of_content(self) -> str:
        return next(iter(self.save_dict)) if len(self.save_dict) == 1 else "checkpoint"


class _AtomicDiskSaver(DiskSaver):
    """Delete what ignite asks it to delete only when the replacing file is complete."""

    def __init__(self, folder: Path, filename: str | None) -> None:
        super().__init__(folder, atomic=False, require_empty=False)  # ignite's atomic files have different permissions
        self.filename = filename
        self._outdated: set[str] = set()

    def __call__(self, checkpoint: Mapping[str, Any], filename: str, metadata: Mapping[str, Any] | None = None) -> None:
        if idist.get_rank() != self.save_on_rank:
            return
        filename = self.filename or filename
        try:
            with replacing(self.dirname / filename) as unfinished:
                torch.save(checkpoint, unfinished)
        except (OSError, RuntimeError) as error:  # torch raises a RuntimeError when the disk is full
            raise OSError(
                f"save_dir {self.dirname}: expected to write {filename} there, got {type(error).__name__}: {error} "
                f"({free_bytes(self.dirname)}). Earlier checkpoints are unchanged: make room and resume."
            ) from error
        for name in self._outdated - {filename}:
            (self.dirname / name).unlink(missing_ok=True)
        self._outdated.clear()

    def remove(self, filename: str) -> None:
        self._outdated.add(self.filename or filename)
