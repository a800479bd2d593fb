# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
"""The declared settings against the bundle's files: none is forgotten, and each default is one that would be taken."""

from __future__ import annotations

import ast

import pytest
import yaml
from monai.bundle import ConfigParser

from monai_bbox_mil.losses import GeneralizedMILLoss
from monai_bbox_mil.runs import check_setting, settings_markdown
from monai_bbox_mil.runs.settings.table import SETTINGS, settings_of
from tests.bundle.conftest import CONFIGS

BASES = {"train": ["train"], "evaluate": ["train", "evaluate"], "inference": ["inference"]}
# What is computed from settings, and what the files hand to each other.
WIRING = {
    "joined", "listed_boxes", "listed_masks",
    "autocast", "box_transforms", "calibrates", "calibration", "calibration_initialize", "data_items", "data_source",
    "device_type", "earlier_run", "epochs_per_round", "finalize",
    "gpu_amp", "image_settings", "images", "imports", "inferer", "initialize",
    "label_transforms", "loss", "memory_options", "network", "pixel_labels", "run", "settings", "validates",
}  # fmt: skip


def literal(text):
    try:
        return ast.literal_eval(text)
    except (SyntaxError, ValueError):
        return text


def scalars(config):
    """Names of the values that are no section, no component and no list of components."""
    return {
        name
        for name, value in config.items()
        if not isinstance(value, dict) and not (isinstance(value, list) and any(isinstance(i, dict) for i in value))
    }


def read(path):
    return yaml.safe_load(path.read_text())


@pytest.mark.parametrize("workflow", BASES)
def test_each_setting_is_declared_and_each_declared_one_is_there(workflow):
    config = {}
    for name in BASES[workflow]:
        config.update(read(CONFIGS / f"{name}.yaml"))
    declared = {name for name, setting in settings_of(workflow).items() if not setting.overlay}
    assert scalars(config) - WIRING == declared


def test_overlays_bring_no_setting_that_is_not_declared():
    declared, brought = {setting.name for setting in SETTINGS}, set()
    overlays = [path for path in CONFIGS.rglob("*.yaml") if path.stem not in ("train", "inference", "matrix")]
    for path in overlays:
        names = {name for name in scalars(read(path)) if "#" not in name and not name.startswith("+")}
        assert names - WIRING <= declared, path
        brought |= {(name, path.name) for name in names}
    assert {(setting.name, setting.overlay) for setting in SETTINGS if setting.overlay} <= brought
    assert len(overlays) > 20


@pytest.mark.parametrize("workflow", BASES)
def test_defaults_are_those_of_the_files_and_pass_their_own_check(workflow):
    config, compared = {}, 0
    for name in BASES[workflow]:
        config.update(read(CONFIGS / f"{name}.yaml"))
    for name, setting in settings_of(workflow).items():
        value = config.get(name, literal(setting.default))
        if isinstance(value, str) and value.startswith(("$", "@")):
            continue
        compared += 1
        assert check_setting(name, value, workflow, axes=2, classes=1) == value
        if name != "extensions":
            assert literal(setting.default) == value, name
    assert compared > {"train": 35, "evaluate": 38, "inference": 8}[workflow]


@pytest.mark.parametrize("path", sorted(CONFIGS.rglob("*.yaml")), ids=lambda path: path.stem)
def test_values_of_overlays_pass(path):
    workflow = "inference" if path.stem == "inference" else "evaluate"
    table = settings_of(workflow)
    for name, value in read(path).items():
        if name in table and not str(value).startswith(("$", "@")):
            assert check_setting(name, value, workflow) == value


def test_the_sharpest_maximum_that_is_taken_is_the_loss_s_own():
    GeneralizedMILLoss(alpha=check_setting("alpha", 50))
    with pytest.raises(ValueError, match="alpha"):
        check_setting("alpha", 50.1)
    with pytest.raises(ValueError, match="alpha"):
        GeneralizedMILLoss(alpha=50.1)


@pytest.mark.parametrize("workflow", BASES)
def test_the_table_of_the_documentation_has_a_row_for_each(workflow):
    rows = settings_markdown(workflow).splitlines()
    assert [row.split("`")[1] for row in rows[2:]] == list(settings_of(workflow))
    assert all(row.count(" | ") == 3 for row in rows if row != rows[1])


def test_a_table_of_no_workflow_is_an_error():
    with pytest.raises(ValueError, match=r"workflow must be one of .*, got 'training'"):
        settings_markdown("training")


def test_a_data_list_of_ones_own_is_read_with_the_phantom_s_folder_too(tmp_path):
    (tmp_path / "mine.json").write_text('{"training": [], "validation": []}')
    parser = ConfigParser(ConfigParser.load_config_files([str(CONFIGS / "train.yaml")]))
    parser.update({"bundle_root": str(tmp_path), "datalist": str(tmp_path / "mine.json")})
    with pytest.raises(RuntimeError) as error:
        parser.get_parsed_content("data_items")
    assert "mine.json" in str(error.value.__cause__)
    assert not (tmp_path / "data").exists()  # no phantom was made instead
