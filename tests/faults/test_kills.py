# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
"""Killed trainings resume and end bit for bit like an uninterrupted one."""

from __future__ import annotations

import os
import random
import signal
import time

import pytest
import torch

from monai_bbox_mil.runs import latest_checkpoint
from tests.faults import runs

# Five fit in a minute; MONAI_BBOX_MIL_KILLS=20 for more.
KILLS = int(os.environ.get("MONAI_BBOX_MIL_KILLS", "5"))


def test_a_run_repeated_is_the_same_with_any_number_of_workers(phantom, reference, tmp_path):
    process = runs.start(runs.train, tmp_path, phantom, num_workers=2)
    assert runs.finish(process) == 0
    runs.assert_same_run(tmp_path, reference.folder)


def test_killed_at_random_moments(phantom, reference, tmp_path, record_property):
    """Every second run writes its weights slowly, so that many kills hit an unfinished file."""
    draw, kills, in_a_save, completed, round_ = random.Random(KILLS), 0, 0, 0, 0
    folder = tmp_path / "0"
    while kills < KILLS:
        pause = 0.15 * reference.seconds * (kills % 2)
        process = runs.start(runs.train_with_slow_saves, folder, phantom, pause)
        process.join(draw.uniform(0, 1 + pause / reference.seconds * 4) * reference.seconds)
        if process.is_alive():
            runs.kill(process)
            kills += 1
            in_a_save += bool(runs.unfinished(folder))
            for path in (folder / "models").glob("[!.]*.pt"):
                torch.load(path, weights_only=True)  # none that is found is half
        else:
            assert process.exitcode == 0, (folder / "log.txt").read_text()[-3000:]
            runs.assert_same_run(folder, reference.folder)
            completed, round_ = completed + 1, round_ + 1
            folder = tmp_path / str(round_)
    assert runs.finish(runs.start(runs.train, folder, phantom)) == 0, (folder / "log.txt").read_text()[-3000:]
    runs.assert_same_run(folder, reference.folder)
    record_property("kills", kills)
    print(f"{kills} kills, {in_a_save} of them while weights were written, {completed + 1} trainings completed")


@pytest.mark.parametrize("number", [1, 4])  # of the checkpoints of epochs 0 to 3; model.pt is the fifth
def test_killed_in_the_middle_of_a_save(phantom, reference, tmp_path, number):
    process = runs.start(runs.train_until_the_save, tmp_path, phantom, number)
    runs.wait_for(tmp_path / "halted", process)
    runs.kill(process)
    assert runs.unfinished(tmp_path) == [f".unfinished_checkpoint_epoch={number - 1}.pt"]
    if number == 1:
        with pytest.raises(FileNotFoundError, match="no checkpoint_epoch=N.pt to resume from"):
            latest_checkpoint(tmp_path / "models")
    else:
        latest = torch.load(latest_checkpoint(tmp_path / "models"), weights_only=True)
        assert latest["trainer"]["iteration"] == (number - 2) * latest["trainer"]["epoch_length"]
    assert runs.finish(runs.start(runs.train, tmp_path, phantom)) == 0
    runs.assert_same_run(tmp_path, reference.folder)


@pytest.mark.parametrize("iteration", [2, 5])
def test_sigterm_saves_in_the_middle_of_an_epoch_and_resume_continues_there(phantom, reference, tmp_path, iteration):
    process = runs.start(runs.train_and_signal, tmp_path, phantom, iteration)
    assert runs.finish(process) == 128 + signal.SIGTERM, (tmp_path / "log.txt").read_text()[-3000:]
    assert "SIGTERM received" in (tmp_path / "log.txt").read_text()
    saved = torch.load(latest_checkpoint(tmp_path / "models"), weights_only=True)
    assert saved["trainer"]["iteration"] == iteration
    assert not (tmp_path / "models" / "model.pt").exists()
    assert runs.finish(runs.start(runs.train, tmp_path, phantom)) == 0, (tmp_path / "log.txt").read_text()[-3000:]
    runs.assert_same_run(tmp_path, reference.folder)


def test_sigterm_from_outside_ends_a_run_within_a_step(phantom, tmp_path):
    process = runs.start(runs.train, tmp_path, phantom, max_epochs=1000)
    runs.wait_for(tmp_path / "models" / "checkpoint_epoch=1.pt", process)
    began = time.monotonic()
    os.kill(process.pid, signal.SIGTERM)
    assert runs.finish(process) == 128 + signal.SIGTERM
    assert time.monotonic() - began < 30
    assert runs.unfinished(tmp_path) == []
