# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
"""Processes that tests started and that would outlive them."""

from __future__ import annotations

import gc
import multiprocessing
import os
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

PROC = Path("/proc")
MARK = "MONAI_BBOX_MIL_TEST_SESSION"
# As children of this process they end with it, unless another that is left holds their pipe. Processes that the server
# forked have its command line too.
_PYTHONS_OWN = ("from multiprocessing.forkserver import", "from multiprocessing.resource_tracker import")


@contextmanager
def none_left_behind(patience: float = 20.0) -> Iterator[None]:
    """Fail at the end, naming their command lines, when processes are left that began within.

    Found are descendants of this process, and what they started before they ended: all inherit a mark in their
    environment. Works where there is ``/proc``; elsewhere nothing is looked for.

    Args:
        patience: seconds that processes which are about to end are given.
    """
    before, os.environ[MARK] = os.environ.get(MARK), uuid.uuid4().hex
    mark = f"{MARK}={os.environ[MARK]}".encode()
    known = set(_left(mark))
    try:
        yield
    finally:
        if before is None:
            del os.environ[MARK]
        else:
            os.environ[MARK] = before
    gc.collect()  # a loader ends its processes when it goes
    deadline = time.monotonic() + patience
    while (left := _left(mark)).keys() - known and time.monotonic() < deadline:
        time.sleep(0.2)
    if left.keys() - known:
        lines = "\n".join(f"  {pid}: {command}" for pid, command in left.items() if pid not in known)
        pytest.fail(f"Processes are left that the tests started:\n{lines}", pytrace=False)


def _left(mark: bytes) -> dict[int, str]:
    """Command lines of the processes that carry the mark or descend from this one, by number."""
    found = {int(path.name): _parent(path) for path in PROC.glob("[0-9]*")}
    parents = {pid: parent for pid, parent in found.items() if parent is not None}
    known = {os.getpid()}
    while more := {pid for pid, parent in parents.items() if parent in known} - known:
        known |= more
    marked = {pid for pid in parents if mark in _read(PROC / str(pid) / "environ").split(b"\0")}
    # Daemons among its own children are ended by multiprocessing when this process ends.
    expected = {os.getpid(), *(child.pid for child in multiprocessing.active_children() if child.daemon)}
    commands = {pid: _command(pid) for pid in sorted((known | marked) - expected)}
    return {
        pid: text
        for pid, text in commands.items()
        if parents[pid] != os.getpid() or not any(own in text for own in _PYTHONS_OWN)
    }


def _parent(path: Path) -> int | None:
    """Number of a process' parent; ``None`` for one that has ended."""
    fields = _read(path / "stat").rpartition(b")")[2].split()
    return None if not fields or fields[0] in (b"Z", b"X") else int(fields[1])


def _command(pid: int) -> str:
    return _read(PROC / str(pid) / "cmdline").replace(b"\0", b" ").decode(errors="replace").strip()


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:  # gone, or another user's
        return b""
