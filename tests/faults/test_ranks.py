# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
"""Trainings with several processes, some or all of which end early."""

from __future__ import annotations

import os
import random
import re
import shutil
import signal
import sys
import time
from pathlib import Path

import pytest
import torch

from monai_bbox_mil.runs import latest_checkpoint
from tests.faults import ranks, runs
from tests.faults.test_kills import KILLS

TRAIN = (runs.train,)
UNDISTURBED = (TRAIN, TRAIN)
ON_LINUX = pytest.mark.skipif(sys.platform != "linux", reason="the children of a process are read from /proc")


def log_of(folder):
    return (folder / "log.txt").read_text()


@pytest.fixture(scope="module")
def reference_of_two(phantom, reference, tmp_path_factory):
    """Return the folder of an uninterrupted run, and the seconds it took."""
    folder, began = tmp_path_factory.mktemp("two"), time.monotonic()
    assert_completes(folder, phantom)
    return folder, time.monotonic() - began


def assert_completes(folder, phantom, parts=UNDISTURBED, **overrides):
    codes = ranks.finish(ranks.start(folder, phantom, parts, **overrides))
    assert codes == [0] * len(parts), log_of(folder)[-3000:]


def assert_goes_on(folder, phantom, reference_of_two):
    assert_completes(folder, phantom)
    runs.assert_same_run(folder, reference_of_two[0])


def test_one_rank_killed_ends_the_other_and_resume_continues(phantom, reference_of_two, tmp_path):
    """In the second of four steps of the second epoch."""
    killed = (runs.train_and_signal, 6, signal.SIGKILL)
    codes = ranks.finish(ranks.start(tmp_path, phantom, [TRAIN, killed]), timeout=60)
    assert codes == [1, -signal.SIGKILL]
    assert "AdvisedError: another process of this training is gone or does not answer at iteration 6" in log_of(
        tmp_path
    )
    assert latest_checkpoint(tmp_path / "models").endswith("=1.pt")
    assert_goes_on(tmp_path, phantom, reference_of_two)


def test_rank_0_killed_in_the_middle_of_a_save(phantom, reference_of_two, tmp_path):
    processes = ranks.start(tmp_path, phantom, [(runs.train_until_the_save, 3), TRAIN])
    runs.wait_for(tmp_path / "halted", processes[0])
    runs.kill(processes[0])
    assert ranks.finish(processes, timeout=60) == [-signal.SIGKILL, 1]
    assert runs.unfinished(tmp_path) == [".unfinished_checkpoint_epoch=2.pt"]
    assert latest_checkpoint(tmp_path / "models").endswith("=1.pt")
    assert_goes_on(tmp_path, phantom, reference_of_two)


def test_ranks_killed_at_random_moments(phantom, reference_of_two, tmp_path):
    """Any or all of them; every second run writes its weights slowly."""
    draw, (undisturbed, seconds), folder = random.Random(KILLS), reference_of_two, tmp_path / "0"
    kills, completed = 0, 0
    while kills < max(1, KILLS // 5):
        pause = 0.15 * seconds * (kills % 2)
        processes = ranks.start(folder, phantom, [(runs.train_with_slow_saves, pause)] * 2)
        processes[0].join(draw.uniform(0.4, 1 + pause / seconds * 4) * seconds)
        if all(process.is_alive() for process in processes):
            for process in draw.choice([processes, processes[:1], processes[1:]]):
                runs.kill(process)
            assert 0 not in ranks.finish(processes, timeout=60), log_of(folder)[-3000:]
            kills += 1
        else:
            assert ranks.finish(processes) == [0, 0], log_of(folder)[-3000:]
            runs.assert_same_run(folder, undisturbed)
            completed += 1
            folder = tmp_path / str(completed)
    assert_goes_on(folder, phantom, reference_of_two)


def test_batch_norm_and_more_than_two_ranks(phantom, tmp_path):
    """Running means are those of one rank in a checkpoint; sums of three gradients depend on their order."""
    parts, batch_norm = [TRAIN] * 3, {"network_def#norm": "batch"}
    assert_completes(tmp_path / "undisturbed", phantom, parts, **batch_norm)
    killed = [TRAIN, (runs.train_and_signal, 5, signal.SIGKILL), TRAIN]
    codes = ranks.finish(ranks.start(tmp_path / "killed", phantom, killed, **batch_norm), timeout=60)
    assert codes == [1, -signal.SIGKILL, 1]
    assert_completes(tmp_path / "killed", phantom, parts, **batch_norm)
    runs.assert_same_run(tmp_path / "killed", tmp_path / "undisturbed")


def test_sigterm_to_one_rank_stops_all_after_the_same_step(phantom, reference_of_two, tmp_path):
    two, one = tmp_path / "two", tmp_path / "one"
    codes = ranks.finish(ranks.start(two, phantom, [TRAIN, (runs.train_and_signal, 6)]), timeout=60)
    assert codes == [128 + signal.SIGTERM] * 2, log_of(two)[-3000:]
    assert log_of(two).count("SIGTERM received: training ends after iteration 6 (epoch 2)") == 2
    assert torch.load(latest_checkpoint(two / "models"), weights_only=True)["trainer"]["iteration"] == 6
    shutil.copytree(two, one)
    assert_goes_on(two, phantom, reference_of_two)
    assert_one_process_goes_on(one, phantom)


def assert_one_process_goes_on(folder, phantom):
    """It reports what differs, and the unfinished epoch starts again with all of its slices."""
    process = runs.start(runs.train, folder, phantom, batch_size=ranks.TRAINING["batch_size"])
    assert runs.finish(process) == 0, log_of(folder)[-3000:]
    assert re.search(
        r"epoch=2\.pt: written by a training with 4 steps per epoch, but this one has 8, because of another number of "
        r"processes, .* It goes on from the beginning of epoch 2, and its weights",
        log_of(folder),
    )
    ended = torch.load(latest_checkpoint(folder / "models"), weights_only=True)
    assert (ended["trainer"]["iteration"], ended["trainer"]["epoch_length"]) == (8 * runs.EPOCHS, 8)
    assert ended["lr_scheduler"]["last_epoch"] == runs.EPOCHS


def test_a_loss_that_is_no_number_on_one_rank_ends_all(phantom, reference_of_two, tmp_path):
    codes = ranks.finish(ranks.start(tmp_path, phantom, [TRAIN, (runs.train_with_nan, 6)]), timeout=60)
    assert codes == [1, 1], log_of(tmp_path)[-3000:]
    assert "FloatingPointError: the loss is nan at iteration 6 (epoch 2), with a batch of" in log_of(tmp_path)
    assert "AdvisedError: another process of this training is gone" in log_of(tmp_path)
    assert latest_checkpoint(tmp_path / "models").endswith("=1.pt")
    assert_goes_on(tmp_path, phantom, reference_of_two)


@ON_LINUX
def test_torchrun_reports_the_rank_that_was_killed(phantom, tmp_path):
    folder = tmp_path / "run"
    process = ranks.torchrun(folder, phantom, max_epochs=1000)
    try:
        wait_for_epoch(2, folder, process)
        os.kill(ranks.workers(process)[1], signal.SIGKILL)
        assert process.wait(60) == 1
    finally:
        process.kill()
    assert re.search(r"Root Cause.*rank +: 1 .*exitcode +: -9", log_of(folder), re.DOTALL)
    torch.load(latest_checkpoint(folder / "models"), weights_only=True)
    assert runs.unfinished(folder) == []


@ON_LINUX
def test_sigterm_to_torchrun_saves_and_ends_all(phantom, tmp_path):
    folder = tmp_path / "run"
    process = ranks.torchrun(folder, phantom, max_epochs=1000)
    try:
        wait_for_epoch(1, folder, process)
        started = ranks.workers(process)
        process.terminate()
        assert process.wait(60) != 0  # torchrun's own status says no more than that
    finally:
        process.kill()
    assert len(started) == 2 and not any(Path(f"/proc/{pid}").exists() for pid in started)
    told = re.findall(r"SIGTERM received: training ends after iteration (\d+)", log_of(folder))
    saved = torch.load(latest_checkpoint(folder / "models"), weights_only=True)
    assert told == [str(saved["trainer"]["iteration"])] * 2


def wait_for_epoch(number, folder, process, timeout=120):
    end = time.monotonic() + timeout
    while not any(int(path.stem.partition("=")[2]) >= number for path in (folder / "models").glob("checkpoint*.pt")):
        assert time.monotonic() < end and process.poll() is None, log_of(folder)[-3000:]
        time.sleep(0.05)
