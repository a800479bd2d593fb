# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
"""Runs from the command line that fail: the last thing they print is what went wrong and what to do."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from monai.bundle import ConfigParser

from monai_bbox_mil.data import make_phantom, save_image_settings
from monai_bbox_mil.runs import end_with_the_cause

ROOT = Path(__file__).parents[2]
NETWORK = {"network_def#features": [4, 4, 8, 8, 16, 4], "image_size": [32, 32]}
TINY = {**NETWORK, "batch_size": 8, "max_epochs": 2, "progress": False}


def last_word(*configs, **settings):
    """What a run that fails prints below its traceback."""
    names = [str(ROOT / "bundle" / "configs" / f"{name}.yaml") for name in configs]
    options = [text for name, value in {**TINY, **settings}.items() for text in (f"--{name}", str(value))]
    command = [sys.executable, "-m", "monai.bundle", "run", "--config_file", str(names), *options]
    path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        command, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"}
    )
    assert done.returncode == 1, done.stdout + done.stderr
    _, marker, told = done.stderr.partition("\nWhat stopped the run (see above for where):\n")
    assert marker, done.stdout + done.stderr
    return told.strip()


@pytest.fixture
def phantom(tmp_path):
    make_phantom(tmp_path / "images", num_patients=4, seed=1, image_size=(48, 56), num_slices=(6, 6), progress=False)
    return tmp_path / "images"


@pytest.fixture
def places(phantom, tmp_path):
    return {"dataset_dir": phantom, "ckpt_dir": tmp_path / "models", "output_dir": tmp_path / "eval"}


@pytest.fixture
def untrained(places):
    parser = ConfigParser()
    parser.read_config(str(ROOT / "bundle" / "configs" / "inference.yaml"))
    parser.update(NETWORK)
    places["ckpt_dir"].mkdir()
    torch.save(parser.get_parsed_content("network_def").state_dict(), places["ckpt_dir"] / "model.pt")
    save_image_settings(places["ckpt_dir"] / "image_settings.json", None, [32, 32])
    return {**places, "threshold": 0.5}


def test_training_on_an_image_that_is_cut_short(places):
    image = next(path for path in sorted(places["dataset_dir"].glob("*.raw")) if "segmentation" not in path.name)
    os.truncate(image, 100)
    told = last_word("train", **places)
    assert told.startswith(f"ValueError: {image.with_suffix('.mhd')}: expected an image that can be read, got ")


def test_predicting_an_image_that_is_cut_short_in_a_process_of_the_loader(untrained):
    image = next(path for path in sorted(untrained["dataset_dir"].glob("*.raw")) if "segmentation" not in path.name)
    os.truncate(image, 100)
    told = last_word("inference", **untrained, num_workers=1)
    assert told.startswith("AdvisedError: a file cannot be read at iteration ")
    assert f"(ValueError: {image.with_suffix('.mhd')}: expected an image that can be read, got " in told


def test_training_at_a_rate_that_no_weight_survives(places):
    told = last_word("train", **places, learning_rate=1e30)
    assert told.startswith("FloatingPointError: the network's output is not finite at iteration 2 (epoch ")
    assert "Case0" in told and "pred not finite" in told and "lower learning_rate (now 1e+30)" in told


def test_checkpoints_on_a_full_disk(places, small_disk):
    told = last_word("train", **{**places, "ckpt_dir": small_disk / "models"})
    assert told.startswith(
        f"OSError: save_dir {small_disk}/models: expected to write checkpoint_epoch=0.pt there, got "
    )
    assert "bytes free there). Earlier checkpoints are unchanged: make room and resume." in told
    assert [path.name for path in (small_disk / "models").iterdir()] == [".training.lock"]


def test_curves_on_a_full_disk(places, small_disk):
    (small_disk / "filler").write_bytes(bytes(48 * 1024))
    told = last_word("train", **{**places, "output_dir": small_disk / "eval", "max_epochs": 40})
    assert told.startswith("AdvisedError: a disk is full at iteration ")
    assert f"Make room and resume. {places['ckpt_dir']}: " in told
    assert f"; {small_disk}/eval: 0 bytes free there. (OSError: [Errno 28] No space left on device)" in told


def test_scores_on_a_full_disk(untrained, small_disk):
    (small_disk / "filler").write_bytes(bytes(56 * 1024))
    told = last_word("train", "evaluate", **{**untrained, "output_dir": small_disk / "eval"})
    assert told.startswith("AdvisedError: a disk is full at iteration 1 ")
    assert f"Make room and resume. {small_disk}/eval: " in told


def test_another_program_keeps_its_own_way_of_telling_errors():
    before = sys.excepthook
    end_with_the_cause()
    assert sys.excepthook is before
