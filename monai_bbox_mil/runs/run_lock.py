# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
"""Allow one run per folder."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Sequence
from pathlib import Path

from filelock import FileLock, Timeout

__all__ = ["FolderInUseError", "RunLock"]

_HELD: dict[Path, tuple[FileLock, threading.Thread]] = {}  # by this process


class FolderInUseError(RuntimeError):
    """Another run is using a folder."""


class RunLock:
    """Lock folders for one run; a second run is refused.

    The operating system locks a hidden file in each folder. The lock ends with the process, however that ends, so a
    stale one never blocks a run. On network drives, the lock is only as reliable as the drive's own locks. If an error
    ended a run of this process, its next run can still lock the same folders.

    Args:
        folders: created if needed.
        name: kind of run; runs of different kinds do not exclude each other.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     with RunLock(folder):
        ...         print([path.name for path in Path(folder).iterdir()])
        ...     print([path.name for path in Path(folder).iterdir()])
        ['.training.lock']
        []
    """

    def __init__(
        self, folders: str | os.PathLike[str] | Sequence[str | os.PathLike[str]], name: str = "training"
    ) -> None:
        if isinstance(folders, (str, os.PathLike)):
            folders = [folders]
        if not all(os.fspath(folder) for folder in folders):
            raise ValueError("folders (ckpt_dir, output_dir): expected names of folders, got empty text.")
        self.name = name
        # In a fixed order, so that of two runs that want the same folders, one gets them all.
        self.paths = sorted({Path(folder).resolve() / f".{name}.lock" for folder in folders})

    def acquire(self) -> None:
        """Lock all folders.

        Raises:
            FolderInUseError: when another run has locked one of them; no folder is locked then.
        """
        for number, path in enumerate(self.paths):
            try:
                self._acquire(path)
            except FolderInUseError:
                for taken in self.paths[:number]:
                    _release(taken)
                raise

    def release(self) -> None:
        """Unlock all folders."""
        for path in self.paths:
            _release(path)

    def __enter__(self) -> RunLock:
        self.acquire()
        return self

    def __exit__(self, *_: object) -> None:
        self.release()

    def _acquire(self, path: Path) -> None:
        me = threading.current_thread()
        if path in _HELD:
            thread = _HELD[path][1]
            if thread is not me and thread.is_alive():
                raise self._in_use(path, f"thread {thread.name} of this process ({os.getpid()})")
            _release(path)  # left locked by a run that an error ended
        path.parent.mkdir(parents=True, exist_ok=True)
        # The thread that releases a lock may be another one than the one that acquired it.
        lock = FileLock(path, thread_local=False)
        try:
            lock.acquire(timeout=0)
        except Timeout as error:
            raise self._in_use(path, _holder(path)) from error
        path.write_text(f"process {os.getpid()} on {socket.gethostname()}")
        _HELD[path] = (lock, me)

    def _in_use(self, path: Path, holder: str) -> FolderInUseError:
        return FolderInUseError(
            f"folder {path.parent}: {holder} is using it, and two runs of kind {self.name!r} in one folder would "
            "overwrite each other's files. Wait for it, stop it, or give another folder."
        )


def _holder(path: Path) -> str:
    try:
        return path.read_text().strip() or "another process"
    except OSError:  # released in the meantime, or not readable for this user
        return "another process"


def _release(path: Path) -> None:
    if path in _HELD:
        lock, _ = _HELD.pop(path)
        # Delete it before the release: a process that waits for it then sees that it is gone and makes a new one.
        path.unlink(missing_ok=True)
        lock.release()
