# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
"""Keep annotation files that describe several images in memory, so that each is parsed once per run."""

from __future__ import annotations

import hashlib
import os
import time
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from threading import Lock
from typing import Any, NamedTuple

from monai_bbox_mil.annotations.interface import AnnotationFormat

__all__ = ["TABLES", "TableCache"]

# A file that is written twice within one tick of the file system's clock has the same time for both contents.
_SETTLED_NS = 50_000_000

Loaded = tuple[AnnotationFormat, Any]


class _Kept(NamedTuple):
    stamp: tuple[int, ...]
    digest: bytes
    """Digest of a file written a moment ago, which may change again without a new stamp; else empty."""
    asked_for: str
    loaded: Loaded


class TableCache:
    """A cache of annotation files whose formats have a ``by_image``, valid until a file changes on disk.

    Threads may share it: one of them parses a file while the others wait. A forked process goes on with the cached
    files; a spawned one starts without any.

    Args:
        size: number of files to keep.

    Example:
        >>> TableCache(2).load.__name__
        'load'
    """

    def __init__(self, size: int = 4) -> None:
        self.size = size
        self._kept: OrderedDict[str, _Kept] = OrderedDict()
        self.renew_locks()

    def renew_locks(self) -> None:
        """Replace all locks: after a fork, the threads that held them do not exist in the child."""
        self._lock = Lock()
        self._busy: dict[str, Lock] = {}

    def load(self, path: Path, asked_for: str, parse: Callable[[], Loaded]) -> Loaded:
        """Return the format and the indexed content of a file, and parse it if it is not cached or has changed.

        Args:
            path: of the file.
            asked_for: the argument ``format`` of the caller.
            parse: returns format and indexed content; called only if needed.

        Raises:
            OSError: when the file does not exist; also everything that ``parse`` raises.
        """
        key = os.path.realpath(path)
        with self._lock:
            mine = self._busy.setdefault(key, Lock())
        try:
            with mine:
                return self._load(key, path, asked_for, parse)
        finally:
            with self._lock:
                self._busy.pop(key, None)

    def _load(self, key: str, path: Path, asked_for: str, parse: Callable[[], Loaded]) -> Loaded:
        kept, stamp = self._kept.get(key), _stamp(path)
        fresh = time.time_ns() - max(stamp[-2:]) < _SETTLED_NS
        if kept is not None and kept.stamp == stamp and asked_for in (kept.asked_for, kept.loaded[0].name):
            digest = _digest(path) if kept.digest else b""
            if kept.digest == digest:
                self._keep(key, kept._replace(digest=digest if fresh else b""))
                return kept.loaded
        self._kept.pop(key, None)
        digest = _digest(path) if fresh else b""
        loaded = parse()
        if loaded[0].by_image is not None and _stamp(path) == stamp:
            self._keep(key, _Kept(stamp, digest, asked_for, loaded))
        return loaded

    def _keep(self, key: str, kept: _Kept) -> None:
        with self._lock:
            self._kept[key] = kept
            self._kept.move_to_end(key)
            while len(self._kept) > self.size:
                self._kept.popitem(last=False)


def _digest(path: Path) -> bytes:
    return hashlib.blake2b(path.read_bytes()).digest()


def _stamp(path: Path) -> tuple[int, ...]:
    """Return what changes with a file's content; its two times come last."""
    status = os.stat(path)
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns


TABLES = TableCache()
"""The cache of this process."""

if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=TABLES.renew_locks)
