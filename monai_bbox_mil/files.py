# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
"""Files that are there as a whole or not at all, wherever a process is stopped."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

__all__ = ["UNFINISHED", "replacing"]

UNFINISHED = ".unfinished_"
"""Begins the name of what is still being written. Whatever is called so and not at work can be deleted."""


@contextmanager
def replacing(path: str | os.PathLike) -> Iterator[Path]:
    """Write a file under another name beside its place, and move it there once it is complete and on the disk.

    A process that is killed, or a machine that loses its power, leaves the former file or the new one, never a part.
    An error while writing leaves the former file. Only one process may write the same file at a time.

    Args:
        path: of the file; its folder is made if it is not there.

    Yields:
        the path to write to: same folder and extension, hidden, absent.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     with replacing(Path(folder, "scores.csv")) as unfinished:
        ...         _ = unfinished.write_text("case,dice")
        ...     [path.name for path in Path(folder).iterdir()]
        ['scores.csv']
    """
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    unfinished = target.with_name(UNFINISHED + target.name)
    unfinished.unlink(missing_ok=True)
    try:
        yield unfinished
        _to_disk(unfinished)
        unfinished.replace(target)
    except BaseException:
        unfinished.unlink(missing_ok=True)
        raise
    if os.name == "posix":  # elsewhere a folder cannot be opened
        _to_disk(target.parent)


def _to_disk(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
