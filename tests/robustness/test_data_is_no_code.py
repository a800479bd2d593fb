# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
"""Names and texts of the data stay what they are: MONAI runs a text of a configuration that begins with "$".

Each text below, where it is run, leaves a file in the working folder.
"""

from __future__ import annotations

import json
from pathlib import Path

import nibabel
import numpy as np
import pytest
import torch
from monai.bundle import ConfigParser, ConfigWorkflow

from monai_bbox_mil.data import save_image_settings
from monai_bbox_mil.metrics import save_threshold

CONFIGS = Path(__file__).parents[2] / "bundle" / "configs"
TINY = {"network_def#features": [4, 4, 8, 8, 16, 4], "image_size": [32, 32], "progress": False, "max_epochs": 1}


def code(place):
    return f"$open('ran_{place}','w')"


@pytest.fixture(autouse=True)
def _nothing_is_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    yield
    assert not list(tmp_path.rglob("ran_*"))


def write_image(path, mask=False):
    voxels = np.random.default_rng(0).normal(100, 10, (16, 16, 2)).astype(np.float32)
    voxels[4:9, 5:11] += 50
    voxels = (voxels > 130).astype(np.uint8) if mask else voxels
    path.parent.mkdir(exist_ok=True)
    nibabel.save(nibabel.Nifti1Image(voxels, np.diag([1.0, 1, 2, 1])), path)
    return path.name


@pytest.fixture
def data_list(tmp_path):
    """Images, masks, box files, patients, classes and values of unknown keys, all named by code."""
    folder = tmp_path / "data"
    items = []
    for number in range(3):
        name = code(f"name{number}")
        item = {"image": write_image(folder / f"{name}.nii.gz"), "patient": code(f"patient{number}"), code("key"): 1}
        if number == 0:
            item["label"] = write_image(folder / f"{code('mask')}.nii.gz", mask=True)
        else:
            boxes = {"box": [[4, 5, z, 9, 11, z + 1] for z in range(2)], "label": [code("class")] * 2}
            (folder / f"{name}.json").write_text(json.dumps(boxes | {code("field"): "@network", "%train": "%train"}))
            item["box"] = f"{name}.json"
        items.append({**item, "note": {"_target_": "builtins.open", "file": "ran_target", "mode": "w"}})
    (folder / "dataset.json").write_text(json.dumps({"training": items[:2], "validation": items[2:]}))
    return folder


def test_a_training_with_its_evaluation_and_prediction(data_list, tmp_path):
    places = {"dataset_dir": "data", "ckpt_dir": str(tmp_path / "models"), "output_dir": str(tmp_path / "eval")}
    # Classes are settings, so one that begins with "$" would be code.
    (tmp_path / "classes.json").write_text(json.dumps([code("class")]))
    overrides = {**TINY, **places, "box_classes": "$__import__('json').load(open('classes.json'))"}
    for names in (["train"], ["train", "evaluate"]):
        files = [str(CONFIGS / f"{name}.yaml") for name in names]
        workflow = ConfigWorkflow(files, workflow_type="train", **overrides)
        workflow.initialize()
        workflow.run()
        workflow.finalize()
    found = json.loads((tmp_path / "models" / "threshold.json").read_text())
    assert 0 <= found["threshold"][0] <= 1


def test_names_of_images_to_predict(tmp_path):
    write_image(tmp_path / "images" / f"{code('image')}.nii.gz")
    write_image(tmp_path / "images" / "@network.nii.gz")
    write_image(tmp_path / "images" / "%train#0.nii.gz")
    parser = ConfigParser(ConfigParser.load_config_files([str(CONFIGS / "inference.yaml")]))
    save_image_settings(tmp_path / "models" / "image_settings.json", None, [16, 16])
    save_threshold(tmp_path / "models" / "threshold.json", [0.5], calibrated_from="nothing")
    parser.update({"dataset_dir": "images", "ckpt_dir": "models", "output_dir": "masks"})
    names = sorted(Path(item["image"]).name for item in parser.get_parsed_content("dataset").data)
    assert names == sorted(path.name for path in (tmp_path / "images").iterdir())


@pytest.mark.parametrize("name", ["image_settings", "threshold"])
def test_files_beside_the_model(tmp_path, name):
    save_image_settings(tmp_path / "models" / "image_settings.json", None, [16, 16])
    save_threshold(tmp_path / "models" / "threshold.json", [0.5], calibrated_from="nothing")
    path = tmp_path / "models" / f"{name}.json"
    content = json.loads(path.read_text())
    path.write_text(json.dumps({key: code(key) for key in content}))
    write_image(tmp_path / "images" / "a.nii.gz")
    parser = ConfigParser(ConfigParser.load_config_files([str(CONFIGS / "inference.yaml")]))
    parser.update({"dataset_dir": "images", "ckpt_dir": "models", "output_dir": "masks"})
    with pytest.raises(Exception, match=rf"{name}|image_size|threshold"):
        parser.get_parsed_content("postprocessing" if name == "threshold" else "preprocessing")
        parser.get_parsed_content("threshold")()


def test_a_data_list_given_as_a_value():
    """A tuple is a value, where a list would be a part of the configuration; so the MONAI Label app gives it."""
    parser = ConfigParser(ConfigParser.load_config_files([str(CONFIGS / "train.yaml")]))
    items = tuple(
        {"image": torch.zeros(1, 8, 8), "label": torch.zeros(0, 5), "patient": code("item")} for _ in range(2)
    )
    parser.update({"train#dataset#data": items, "train#dataset#transform": None})
    assert [item["patient"] for item in parser.get_parsed_content("train#dataset").volumes] == [code("item")] * 2
