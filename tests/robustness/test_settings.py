# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
"""Misspelt settings of a run, on the command line or in a file of one's own."""

from __future__ import annotations

import pytest
from monai.bundle import ConfigWorkflow

from monai_bbox_mil.runs import check_setting, check_settings
from monai_bbox_mil.smooth_max import SMOOTH_MAXIMA
from tests.bundle.conftest import CONFIGS
from tests.robustness.cases import causes

MISSPELT = {
    "learning_rte": "'learning_rte' (did you mean 'learning_rate'?)",
    "max_epoch": "'max_epoch' (did you mean 'max_epochs'?)",
    "batchsize": "'batchsize' (did you mean 'batch_size'?)",
    "image-size": "'image-size' (did you mean 'image_size'?)",
    "data_dir": "'data_dir' (did you mean 'data",
    "Seed": "'Seed' (did you mean 'seed'?)",
    "train#dataloder": "'train#dataloder' (did you mean 'train#dataloader'?)",
    "checkpoint#netwrok": "'checkpoint#netwrok' (did you mean 'checkpoint#network'?)",
    "qqqqqqqq": "'qqqqqqqq' (nothing refers to it)",
}


def initialize(*names, files=(), **overrides):
    paths = [*(str(CONFIGS / f"{name}.yaml") for name in names), *map(str, files)]
    kind = "infer" if "inference" in names or "evaluate" in names else "train"
    ConfigWorkflow(workflow_type=kind, config_file=paths, bundle_root=str(CONFIGS.parent), **overrides).initialize()


@pytest.mark.parametrize("name", MISSPELT)
def test_a_misspelt_setting_is_an_error(name):
    with pytest.raises(RuntimeError) as error:
        initialize("train", **{name: 1})
    assert f"expected settings that the configuration knows, got {MISSPELT[name]}" in causes(error.value)


@pytest.mark.parametrize("names", [["train", "evaluate"], ["inference"]])
def test_evaluation_and_inference_look_too(names):
    with pytest.raises(RuntimeError) as error:
        initialize(*names, treshold=0.5)
    assert "'treshold' (did you mean 'threshold'?)" in causes(error.value)


@pytest.mark.parametrize("file", ["multi_gpu_train", "multi_gpu_evaluate"])
def test_several_processes_look_before_they_meet(file):
    initialize = (CONFIGS / f"{file}.yaml").read_text().split("initialize:\n")[1]
    assert initialize.index("begin_run") < initialize.index("join_processes")


def test_a_misspelt_section_is_an_error_of_monais():
    with pytest.raises(KeyError) as error:
        initialize("train", **{"trian#dataloader#batch_size": 4})
    assert "did you mean 'train'" in causes(error.value)


@pytest.mark.parametrize(
    ("names", "overrides"),
    [
        (
            ["train"],
            {"learning_rate": 0.1, "train#dataloader#drop_last": True, "optimizer#lr": 1, "network_def#act": "RELU"},
        ),
        (["train", "experiments/protocol", "experiments/full_ce"], {}),
        (["train", "evaluate", "decathlon"], {"max_epochs": 1}),
        (["inference", "promise12"], {"max_epochs": 1}),
    ],
)
def test_known_settings_pass(names, overrides, tmp_path):
    if "inference" in names:  # its folder must hold an image
        (tmp_path / "a.png").touch()
        overrides = {**overrides, "dataset_dir": str(tmp_path)}
    initialize(*names, **overrides)


@pytest.mark.parametrize(("text", "unknown"), [("mine: 3\nmax_epochs: '@mine'\n", None), ("mime: 3\n", "'mime'")])
def test_a_setting_of_ones_own_must_be_used(tmp_path, text, unknown):
    (tmp_path / "own.yaml").write_text(text)
    if unknown is None:
        initialize("train", files=[tmp_path / "own.yaml"])
        return
    with pytest.raises(RuntimeError) as error:
        initialize("train", files=[tmp_path / "own.yaml"])
    assert unknown in causes(error.value)


def test_without_a_workflow_nothing_is_compared():
    assert check_settings() is None


def test_a_data_list_given_whole_is_no_section_of_settings():
    items = [{"image": "a.nii.gz", "mask": "b.nii.gz", "patient": "p"}]
    initialize("train", data_items={"training": items, "validation": []})
    with pytest.raises(RuntimeError) as error:
        initialize("train", data_item={"training": items, "validation": []})
    assert "'data_item' (did you mean 'data_items'?)" in causes(error.value)


@pytest.mark.parametrize(
    "name, words",
    [("smooth_max", SMOOTH_MAXIMA), ("supervision", ("boxes", "boxes_as_masks", "full"))],
)
def test_the_table_of_settings_knows_all_words(name, words):
    """The room of settings knows nothing of the losses, so it says their words again."""
    for word in words:
        assert check_setting(name, word) == word
    with pytest.raises(ValueError, match=f"{name}: expected {', '.join(list(words)[:-1])} or {list(words)[-1]}, got"):
        check_setting(name, "another")
