# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
"""The guard that ends a session of tests: it sees what would outlive them, and nothing else."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import time

import pytest

from tests.processes import PROC, none_left_behind

pytestmark = pytest.mark.skipif(not PROC.is_dir(), reason="processes are looked for in /proc")

SLEEP = "import time; time.sleep(600)"
# Starts a process in a session of its own, prints its number, and ends.
DETACH = f"""
import subprocess, sys
quiet = dict(stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
print(subprocess.Popen([sys.executable, "-c", {SLEEP!r}], start_new_session=True, **quiet).pid)
"""


def test_a_child_that_is_left_is_named():
    child = None
    try:
        with (
            pytest.raises(pytest.fail.Exception, match=r"(?s)are left.*time\.sleep\(600\)"),
            none_left_behind(patience=0),
        ):
            child = subprocess.Popen([sys.executable, "-c", SLEEP])
    finally:
        child.kill()
        child.wait()


def test_a_process_whose_parent_has_ended_is_named():
    number = None
    try:
        with pytest.raises(pytest.fail.Exception) as error, none_left_behind(patience=0):
            number = int(subprocess.run([sys.executable, "-c", DETACH], capture_output=True, check=True).stdout)
        assert f"  {number}: {sys.executable} -c {SLEEP}" in str(error.value)
    finally:
        os.kill(number, signal.SIGKILL)


def test_what_ends_with_the_tests_or_before_is_left_alone():
    child = subprocess.Popen([sys.executable, "-c", SLEEP])
    try:
        with none_left_behind(patience=0):
            subprocess.run([sys.executable, "-c", ""], check=True)
            daemon = multiprocessing.get_context("fork").Process(target=time.sleep, args=(600,), daemon=True)
            daemon.start()  # ended by Python when this process ends
        daemon.kill()
        daemon.join()
    finally:
        child.kill()
        child.wait()


def test_a_process_that_is_about_to_end_is_waited_for():
    with none_left_behind():
        child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(0.5)"])
    assert child.wait() == 0
