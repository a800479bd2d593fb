# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
"""Model cards, and what a run prints about the model that it uses."""

from __future__ import annotations

import json
import os

import pytest

from monai_bbox_mil.data import (
    announce_model,
    describe_model,
    finish_training,
    load_image_settings,
    save_model_card,
)
from monai_bbox_mil.runs import find_bundle, training_folder


@pytest.fixture
def mine(tmp_path):
    folder = tmp_path / "trained"
    folder.mkdir()
    (folder / "model.pt").write_bytes(b"weights")
    save_model_card(folder, ["prostate", "tumour"], 12, 4)
    return folder


def test_the_users_own_model_is_announced(mine, capsys):
    announce_model(mine)
    printed = capsys.readouterr().out
    assert printed.startswith(f"Model: {mine / 'model.pt'}, trained 20")
    assert printed.endswith(" on 12 images. Classes: prostate, tumour.\n")
    assert printed.count("\n") == 1


def test_the_bundles_weights_are_announced_with_the_users_own_model(mine, tmp_path, capsys):
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "model.pt").write_bytes(b"others")
    save_model_card(tmp_path / "models", ["heart"], 52, 14, "Hearts", "Heart Data")
    announce_model(tmp_path / "models", [tmp_path / "nowhere"])
    (first,) = capsys.readouterr().out.splitlines()
    assert ", Hearts, trained 20" in first
    assert first.endswith("on 52 images of Heart Data. Classes: heart.")
    announce_model(tmp_path / "models", [mine])
    printed = capsys.readouterr().out.splitlines()
    assert printed[0] == first
    assert f"{mine / 'model.pt'}, trained" in printed[1]
    assert printed[1].endswith(f"To use it: --ckpt_dir {mine}")
    announce_model(mine, [tmp_path / "models"])  # chosen by its user
    assert len(capsys.readouterr().out.splitlines()) == 1


def test_weights_of_unknown_origin(mine):
    """Use weights without a card, and weights that replaced those of the card."""
    (mine / "model.pt").write_bytes(b"other weights")
    assert describe_model(mine).endswith("no model_card.json there says what it was trained on.")
    (mine / "model_card.json").unlink()
    os.utime(mine / "model.pt", (0, 0))
    assert f"{mine / 'model.pt'}, written 19" in describe_model(mine)


@pytest.mark.parametrize("text", ["", "[1]", "{", "3"])
def test_a_malformed_card_raises(mine, text):
    (mine / "model_card.json").write_text(text)
    with pytest.raises(ValueError, match=r"model_card\.json: expected what a training writes there"):
        describe_model(mine)


def test_the_error_for_a_missing_model_names_another(mine, tmp_path):
    with pytest.raises(FileNotFoundError, match=rf"ckpt_dir nowhere: expected the weights .* --ckpt_dir {mine}$"):
        announce_model("nowhere", [tmp_path, mine])
    with pytest.raises(FileNotFoundError, match=r"name the folder of your model\.$"):
        announce_model("nowhere", [tmp_path])


def test_a_card_is_readable_json(mine):
    card = json.loads((mine / "model_card.json").read_text())
    assert card.keys() == {"classes", "trained", "training_images", "validation_images", "model_sha256"}


def test_a_training_does_not_replace_the_bundles_weights_unless_a_program_names_the_folder(tmp_path, monkeypatch):
    (tmp_path / "bundle" / "configs").mkdir(parents=True)
    (tmp_path / "bundle" / "configs" / "metadata.json").write_text("{}")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.path", ["", str(tmp_path / "nowhere")])
    assert find_bundle() == "bundle"
    assert training_folder(find_bundle()) == "bundle/trained"
    assert training_folder("bundle") == "bundle/models"
    monkeypatch.setattr("sys.path", ["", str(tmp_path / "bundle")])
    assert training_folder(find_bundle()) == f"{tmp_path / 'bundle'}/trained"
    monkeypatch.setattr("sys.path", [""])
    monkeypatch.chdir(tmp_path.parent)
    with pytest.raises(FileNotFoundError, match="bundle_root: expected a folder with configs/metadata.json"):
        find_bundle()


@pytest.mark.parametrize("rank", [0, 1])
def test_the_first_process_writes_and_all_wait(tmp_path, monkeypatch, rank):
    waited = []
    monkeypatch.setattr("ignite.distributed.get_rank", lambda: rank)
    monkeypatch.setattr("ignite.distributed.barrier", lambda: waited.append(sorted(p.name for p in tmp_path.iterdir())))
    (tmp_path / "model.pt").write_bytes(b"weights")
    finish_training(tmp_path, ["prostate"], [0.5, 1], (96, 64), 40, 10)
    written = [] if rank else ["image_settings.json", "model_card.json"]
    assert waited == [sorted(["model.pt", *written])]
    if rank == 0:
        settings = load_image_settings(tmp_path / "image_settings.json")
        assert settings == {"spacing_mm": [0.5, 1.0], "image_size": [96, 64]}
        card = json.loads((tmp_path / "model_card.json").read_text())
        assert (card["classes"], card["training_images"], card["validation_images"]) == (["prostate"], 40, 10)
