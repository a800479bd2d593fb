# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
"""A training that begins in folders of an earlier one."""

from __future__ import annotations

import os
import shlex
import shutil
import signal
from pathlib import Path

import pytest

from monai_bbox_mil.runs import set_aside_earlier_run
from tests.faults import runs

EVENTS = "events.out.tfevents.1.a.2.0"


def files(folder):
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def contents(folder):
    return {name: (folder / name).read_bytes() for name in files(folder)}


def write(folder, *names):
    folder.mkdir(exist_ok=True)
    for name in names:
        (folder / name).write_text(name)
        os.utime(folder / name, (10**9, 10**9))


def test_a_new_run_killed_in_its_first_epoch_is_what_resume_continues(phantom, reference, tmp_path):
    """The earlier run also resumes from its new place, as if it had never stopped."""
    folder, other = tmp_path / "run", {"seed": 1, "learning_rate": 0.01}
    assert runs.finish(runs.start(runs.train, folder, phantom, **other, max_epochs=1)) == 0
    shutil.copytree(folder, tmp_path / "kept")
    process = runs.start(runs.train_and_signal, folder, phantom, 2, signal.SIGKILL, resume=False)
    assert runs.finish(process) == -signal.SIGKILL, (folder / "log.txt").read_text()[-3000:]
    assert runs.finish(runs.start(runs.train, folder, phantom)) == 0, (folder / "log.txt").read_text()[-3000:]
    (told,) = [line for line in (folder / "log.txt").read_text().splitlines() if "earlier training is now" in line]
    options = shlex.split(told)
    earlier = [Path(options[options.index(name) + 1]) for name in ("--ckpt_dir", "--output_dir")]
    (tmp_path / "earlier").mkdir()
    for name, place in zip(("models", "eval"), earlier):
        assert place.parent == folder / name / "earlier"
        place.rename(tmp_path / "earlier" / name)
        shutil.rmtree(place.parent)
    assert contents(tmp_path / "earlier") == {k: v for k, v in contents(tmp_path / "kept").items() if k != "log.txt"}
    runs.assert_same_run(folder, reference.folder)
    goes_on = runs.start(runs.train, tmp_path / "earlier", phantom, **other, max_epochs=2)
    assert runs.finish(goes_on) == 0, (tmp_path / "earlier" / "log.txt").read_text()[-3000:]
    assert (tmp_path / "earlier" / "models" / "checkpoint_epoch=2.pt").is_file()
    assert not (tmp_path / "earlier" / "models" / "earlier").exists()


def test_a_run_that_ends_while_it_reads_its_images_leaves_nothing_to_resume(phantom, tmp_path):
    write(tmp_path / "models", "checkpoint_epoch=60.pt")
    images = shutil.copytree(phantom, tmp_path / "images")
    os.truncate(images / "Case00.raw", 100)
    assert runs.finish(runs.start(runs.train, tmp_path, images, resume=False)) == 1
    assert not list((tmp_path / "models").glob("*.pt"))
    assert [path.name for path in (tmp_path / "models").rglob("*.pt")] == ["checkpoint_epoch=60.pt"]


def test_a_run_without_a_data_list_leaves_the_earlier_one_in_its_place(phantom, tmp_path):
    write(tmp_path / "models", "checkpoint_epoch=60.pt")
    assert runs.finish(runs.start(runs.train, tmp_path, phantom.parent / "no such folder", resume=False)) == 1
    assert "no such folder' (no such folder, looked for from" in (tmp_path / "log.txt").read_text()
    assert files(tmp_path / "models") - {".training.lock"} == {"checkpoint_epoch=60.pt"}


def test_the_first_training_of_a_clone_moves_nothing(tmp_path, capsys):
    write(tmp_path, "model.pt", "threshold.json", "image_settings.json", "cases.csv")
    before = files(tmp_path)
    assert set_aside_earlier_run(tmp_path, tmp_path) is None
    assert set_aside_earlier_run(tmp_path / "none", tmp_path / "none") is None
    assert files(tmp_path) == before
    assert not (tmp_path / "none").exists()
    assert capsys.readouterr().out == ""


def test_what_an_earlier_training_left_is_moved_and_its_results_are_copied(tmp_path, capsys):
    models, logs = tmp_path / "my models", tmp_path / "eval"
    for number in ("", "_2", "_3"):  # of one and the same second
        write(models, "checkpoint_epoch=4.pt", "checkpoint_epoch=0.pt", "model.pt", "threshold.json")
        write(logs, EVENTS, "cases.csv")
        place = set_aside_earlier_run(models, logs)
        assert place is not None and place.parent == models / "earlier"
        assert files(place) == {"checkpoint_epoch=4.pt", "model.pt", "threshold.json"}
        assert files(logs / "earlier" / place.name) == {EVENTS}
        assert place.name.endswith(number)
        told = shlex.split(capsys.readouterr().out)
        assert told[-4:] == ["--ckpt_dir", str(place), "--output_dir", str(logs / "earlier" / place.name)]
    assert {name for name in files(tmp_path) if "earlier" not in name} == {
        "my models/model.pt", "my models/threshold.json", "eval/cases.csv"
    }  # fmt: skip


def test_a_training_that_kept_no_checkpoint_leaves_curves(tmp_path, capsys):
    """Or none of an epoch that was completed."""
    write(tmp_path / "models", "checkpoint_epoch=0.pt", "model.pt")
    write(tmp_path / "eval", EVENTS)
    assert set_aside_earlier_run(tmp_path / "models", tmp_path / "eval") is None
    assert files(tmp_path / "models") == {"model.pt"}
    (place,) = (tmp_path / "eval" / "earlier").iterdir()
    assert files(place) == {EVENTS}
    assert capsys.readouterr().out == f"Curves of an earlier training are now in {place}.\n"


def test_an_error_on_the_way_loses_nothing(tmp_path, monkeypatch):
    write(tmp_path, "checkpoint_epoch=4.pt", "model.pt", EVENTS)
    monkeypatch.setattr(shutil, "copy2", _fail)
    with pytest.raises(OSError, match="No space"):
        set_aside_earlier_run(tmp_path, tmp_path)
    assert files(tmp_path) == {"checkpoint_epoch=4.pt", "model.pt", EVENTS}


def _fail(*_):
    raise OSError("No space left on device")


def test_links_lead_to_the_same_files_after_they_were_moved(tmp_path):
    """A checkpoint kept on another disk, and a folder of earlier trainings that lies there."""
    write(tmp_path / "store", "last.pt", EVENTS)
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "checkpoint_epoch=4.pt").symlink_to(Path("..", "store", "last.pt"))
    (tmp_path / "models" / "earlier").symlink_to(tmp_path / "store", target_is_directory=True)
    (tmp_path / "link").symlink_to(tmp_path / "models", target_is_directory=True)
    place = set_aside_earlier_run(tmp_path / "link", tmp_path / "eval")
    assert place == tmp_path / "link" / "earlier" / place.name
    assert (tmp_path / "store" / place.name / "checkpoint_epoch=4.pt").read_text() == "last.pt"
    assert (tmp_path / "store" / "last.pt").is_file()
    assert not list((tmp_path / "models").glob("*.pt"))
