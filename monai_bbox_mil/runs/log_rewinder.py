# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
"""Logs that go back to where a checkpoint was written."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import ignite.distributed as idist

from monai_bbox_mil.runs.files import find_files

__all__ = ["LogRewinder"]


class LogRewinder:
    """Cut logs off behind what a checkpoint knows of, so that a resumed run leaves no step out and writes none twice.

    A run that is killed has logged steps behind its latest checkpoint, and may have left half a record. TensorBoard's
    ``purge_step`` would not do: steps of the losses are iterations, those of the metrics are epochs, and one file holds
    both. But whatever only grows can be cut. In a checkpoint (``save_dict``) this object keeps the size of each file;
    when it is loaded, files are cut to their sizes, and those that are younger than the checkpoint are deleted.

    Make it before the writers open their files, attach loggers before the ``CheckpointSaver``, and let them write to
    the disk before the checkpoint is saved (``SummaryWriter.flush``, as MONAI's handlers do).

    Args:
        folder: of the logs.
        patterns: names of files that are only ever appended to, such as TensorBoard's events or a CSV table.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     log, logs = Path(folder, "loss.csv"), LogRewinder(folder, ["*.csv"])
        ...     _ = log.write_text("1,0.5")
        ...     state = logs.state_dict()
        ...     _ = log.write_text("1,0.5 2,0.")  # killed here
        ...     LogRewinder(folder, ["*.csv"]).load_state_dict(state)
        ...     log.read_text()
        '1,0.5'
    """

    def __init__(self, folder: str | os.PathLike[str], patterns: Sequence[str] = ("events.out.tfevents.*",)) -> None:
        self.folder = Path(folder)
        self.patterns = tuple(patterns)
        self._earlier = find_files(self.folder, self.patterns)

    def state_dict(self) -> dict[str, Any]:
        """Size in bytes of each log, by its name; the logs are on the disk before the checkpoint is."""
        sizes = {}
        for path in find_files(self.folder, self.patterns):
            descriptor = os.open(path, os.O_RDWR)
            try:
                os.fsync(descriptor)
                sizes[path.name] = os.fstat(descriptor).st_size
            finally:
                os.close(descriptor)
        return {"sizes": sizes}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Cut the logs that were there when this object was made to the sizes of :meth:`state_dict`."""
        if idist.get_rank() > 0:
            return
        for path in self._earlier:
            size = state_dict["sizes"].get(path.name)
            if size is None:
                path.unlink(missing_ok=True)
            elif path.stat().st_size > size:
                os.truncate(path, size)
