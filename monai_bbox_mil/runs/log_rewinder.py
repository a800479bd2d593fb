# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
"""Take logs back to the time when a checkpoint was written."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import ignite.distributed as idist

from monai_bbox_mil.runs.files import find_files

__all__ = ["LogRewinder"]


class LogRewinder:
    """Truncate logs to the state at a checkpoint, so that a resumed run leaves no step out and writes none twice.

    A run that is killed has logged steps after its latest checkpoint, and may have left half a record. TensorBoard's
    ``purge_step`` does not help: losses are logged by iteration and metrics by epoch, in the same file. But files that
    only grow can be truncated. This object saves the size of each file in a checkpoint (``save_dict``). When it is
    loaded, the files are cut to these sizes, and files that are newer than the checkpoint are deleted.

    Create it before the writers open their files. Attach loggers before the ``CheckpointSaver``, and let them write to
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
        """Return the size in bytes of each log, by name; the logs are on the disk before the checkpoint is."""
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
        """Truncate the logs that existed when this object was made to the sizes in :meth:`state_dict`."""
        if idist.get_rank() > 0:
            return
        for path in self._earlier:
            size = state_dict["sizes"].get(path.name)
            if size is None:
                path.unlink(missing_ok=True)
            elif path.stat().st_size > size:
                os.truncate(path, size)
