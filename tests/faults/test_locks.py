# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
"""One run a folder."""

from __future__ import annotations

import os
import socket
import threading

import pytest

from monai_bbox_mil.runs.run_lock import FolderInUseError, RunLock
from tests.faults import runs


def test_the_second_run_is_refused_and_comes_in_when_the_first_is_killed(phantom, tmp_path):
    first = runs.start(runs.train, tmp_path / "a", phantom, max_epochs=1000, num_workers=1)
    runs.wait_for(tmp_path / "a" / "models" / "checkpoint_epoch=1.pt", first)
    second = runs.start(runs.train, tmp_path / "b", phantom, output_dir=str(tmp_path / "a" / "eval"))
    assert runs.finish(second) == 1
    told = (tmp_path / "b" / "log.txt").read_text()
    assert f"FolderInUseError: folder {tmp_path / 'a' / 'eval'}: process {first.pid} on {socket.gethostname()}" in told
    assert not list((tmp_path / "b").rglob("*.lock"))  # it let go of the folder that was free
    assert not list((tmp_path / "a").rglob("earlier"))  # and moved nothing of the first
    runs.kill(first)
    # At once: loader processes that outlive their parent for some seconds do not hold the lock.
    third = runs.start(runs.train, tmp_path / "a", phantom, max_epochs=1000)
    runs.wait_for(tmp_path / "a" / "eval" / ".training.lock", third)
    runs.finish(third, timeout=1)
    assert "FolderInUseError" not in (tmp_path / "a" / "log.txt").read_text()


def test_a_thread_keeps_its_folder_from_another_and_loses_it_when_it_ends(tmp_path):
    lock, taken, leave = RunLock(tmp_path), threading.Event(), threading.Event()

    def hold():
        lock.acquire()
        taken.set()
        leave.wait(30)  # ends without letting go, as by an error

    thread = threading.Thread(target=hold)
    thread.start()
    assert taken.wait(30)
    with pytest.raises(FolderInUseError, match=f"thread .* of this process \\({os.getpid()}\\) is using it"):
        RunLock(tmp_path).acquire()
    leave.set()
    thread.join()
    with_other = RunLock([tmp_path, tmp_path / "b"])
    with_other.acquire()
    with_other.acquire()  # a run of this thread that was left by an error
    with_other.release()
    assert list(tmp_path.rglob(".*.lock")) == []


def test_runs_of_other_kinds_are_let_in(tmp_path):
    training, evaluation = RunLock(tmp_path), RunLock(tmp_path, name="evaluation")
    training.acquire()
    evaluation.acquire()
    training.release()
    evaluation.release()
