# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
"""What runs of the bundle refuse to write over, and what they say of their model."""

from __future__ import annotations

import hashlib
import os
import shutil
from pathlib import Path

import pytest

from monai_bbox_mil.data import find_images
from monai_bbox_mil.runs import check_scores_folder
from tests.bundle.conftest import CONFIGS, TINY, places, run_bundle
from tests.robustness.cases import causes

NETWORK = {key: value for key, value in TINY.items() if key != "image_size"}


def hashes(folder):
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.iterdir() if path.is_file()}


@pytest.fixture
def images(phantom, tmp_path):
    """Two volumes of the phantom, without their masks."""
    folder = tmp_path / "images"
    folder.mkdir()
    for item in find_images(phantom)[:2]:
        for path in (Path(item["image"]), Path(item["image"]).with_suffix(".raw")):
            shutil.copy(path, folder)
    return folder


def predict(images, trained, **overrides):
    options = {"dataset_dir": str(images), "ckpt_dir": str(trained / "models"), "output_dir": str(images), **NETWORK}
    run_bundle("inference", **{**options, **overrides})


@pytest.mark.parametrize("postfix", ["", "_", "_out"])
def test_a_prediction_into_the_folder_of_the_images_changes_none(images, trained, postfix):
    before = hashes(images)
    with pytest.raises(RuntimeError) as error:
        predict(images, trained, output_postfix=postfix)
    assert f"output_dir {images}, output_postfix {postfix!r}" in causes(error.value)
    assert hashes(images) == before


def test_masks_next_to_the_images_are_written_once(images, trained, capsys):
    before = hashes(images)
    predict(images, trained)
    printed = capsys.readouterr().out
    assert f"Model: {trained / 'models' / 'model.pt'}, trained 20" in printed
    assert printed.index("Model: ") < printed.index("masks written")
    after = hashes(images)
    assert {name: after[name] for name in before} == before
    assert len([name for name in after if name.endswith("_segmentation.mhd")]) == 2
    with pytest.raises(RuntimeError) as error:
        predict(images, trained)
    assert "is there already, next to the image" in causes(error.value)
    predict(images, trained, resume=True)
    assert hashes(images) == after


def test_scores_do_not_go_into_the_folder_of_the_images(phantom, trained, tmp_path):
    """Where cases.csv is the table of parts and patients."""
    shutil.copytree(phantom, tmp_path / "phantom")
    before = hashes(tmp_path / "phantom")
    folders = {**places(trained, tmp_path / "phantom"), "output_dir": str(tmp_path / "phantom")}
    with pytest.raises(RuntimeError) as error:
        run_bundle("train", "evaluate", **folders, **TINY)
    assert "expected another folder than dataset_dir" in causes(error.value)
    assert hashes(tmp_path / "phantom") == before
    with pytest.raises(ValueError, match="output_dir"):
        check_scores_folder(os.path.join(tmp_path, "x", "..", "phantom"), tmp_path / "phantom")


def test_files_of_the_bundle_that_runs_write_are_not_tracked():
    """Those of the commands of the README, by git's own rules."""
    ignored = (CONFIGS.parents[1] / ".gitignore").read_text().splitlines()
    assert {"/bundle/trained/", "/bundle/eval/", "/bundle/data/", "build/", "*.egg-info/", "/box_check/"} <= set(
        ignored
    )
