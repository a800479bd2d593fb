# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
"""What MONAI's model zoo verifies of a bundle before it takes it, and what the bundle's README says of its weights.

The model zoo's modes are ``min`` (directory, version, metadata), ``regular`` (directory, metadata) and ``full`` (all
of these, properties, shapes of the network, TorchScript).
"""

from __future__ import annotations

import configparser
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnxruntime
import pandas as pd
import pytest
import torch
from monai.bundle import ConfigParser, ConfigWorkflow, verify_metadata, verify_net_in_out
from monai.data import load_net_with_metadata
from monai.transforms import LoadImage
from packaging.requirements import Requirement
from packaging.version import Version

import monai_bbox_mil
from monai_bbox_mil.data import announce_model, get_datalist, load_image_settings
from monai_bbox_mil.metrics import load_threshold
from tests.bundle.conftest import CONFIGS, run_bundle
from tests.bundle.metadata_schema import SCHEMA
from tests.bundle.remake_weights import (
    BUNDLE,
    FILES,
    PUBLISHED,
    README,
    readme_commands,
    scores_of,
    sha256_of,
    table_of,
    table_pattern,
)

METADATA = json.loads((CONFIGS / "metadata.json").read_text())
DATA_SETS = {"SUNNYBROOK": "sunnybrook_lv", "HIPPOCAMPUS": "hippocampus"}
EACH = pytest.mark.parametrize("key", PUBLISHED)


@pytest.fixture(scope="module")
def zoo(tmp_path_factory) -> Path:
    """The bundle as a contribution to the model zoo: what is under version control, in a folder of ``models``."""
    bundle = tmp_path_factory.mktemp("model_zoo") / "models" / "segmentation_from_boxes"
    shutil.copytree(BUNDLE, bundle, ignore=shutil.ignore_patterns("data", "eval", "models", "trained"))
    for weights in PUBLISHED.values():
        (bundle / weights.folder).mkdir()
        for name in FILES:
            shutil.copy(BUNDLE / weights.folder / name, bundle / weights.folder)
    (bundle / "eval").mkdir()
    (bundle / "eval" / "schema.json").write_text(json.dumps(SCHEMA))  # what is there is not downloaded
    return bundle


@pytest.fixture
def network(zoo):
    """The shipped network, in evaluation mode."""
    network = ConfigParser(ConfigParser.load_config_file(zoo / "configs" / "inference.yaml"))
    network = network.get_parsed_content("network_def").eval()
    network.load_state_dict(torch.load(zoo / "models" / "model.pt", weights_only=True))
    return network


def run_readme_command(zoo, tool):
    """Run the command of the README's section on verification as it stands there, in the bundle's folder."""
    (command,) = [c for c in readme_commands("Verification and export") if f"monai.bundle {tool} " in c]
    environment = {**os.environ, "PYTHONPATH": str(Path(monai_bbox_mil.__file__).parents[1]), "OMP_NUM_THREADS": "1"}
    words = [sys.executable, *shlex.split(command)[1:]]
    done = subprocess.run(words, cwd=zoo, env=environment, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr


@pytest.mark.parametrize("name", ["configs/metadata.json", "LICENSE", "models/model.pt", "configs/inference.yaml"])
def test_directory_holds_the_necessary_and_the_preferred_files(zoo, name):
    assert (zoo / name).stat().st_size > 0


@pytest.mark.parametrize(
    "name", ["docs/README.md", "docs/data_license.txt", "configs/logging.conf", "configs/train.yaml"]
)
def test_directory_holds_what_users_expect(zoo, name):
    assert (zoo / name).stat().st_size > 100


def test_directory_needs_no_downloads_and_is_small(zoo):
    assert not [path for path in zoo.iterdir() if path.stem == "large_files"]
    assert (zoo / "models" / "model.pt").stat().st_size < 10e6


def test_version_is_the_newest_of_the_changelog():
    assert METADATA["version"] == max(METADATA["changelog"], key=Version)
    assert all(METADATA["changelog"].values())


def test_metadata_satisfies_the_schema_by_the_command_of_the_readme(zoo):
    assert METADATA["schema"].endswith("/meta_schema_20240725.json")
    assert "verified with no error" in run_readme_command(zoo, "verify_metadata")


@pytest.mark.parametrize("missing", ["task", "required_packages_version", "network_data_format"])
def test_metadata_that_lacks_something_would_be_refused(zoo, tmp_path, missing):
    (tmp_path / "metadata.json").write_text(json.dumps({k: v for k, v in METADATA.items() if k != missing}))
    with pytest.raises(ValueError, match=f"'{missing}' is a required property"):
        verify_metadata(meta_file=str(tmp_path / "metadata.json"), filepath=str(zoo / "eval" / "schema.json"))


def test_required_packages_are_those_that_the_package_requires():
    setup = configparser.ConfigParser()
    setup.read(Path(__file__).parents[2] / "setup.cfg")
    required = [Requirement(line) for line in setup["options"]["install_requires"].split("\n") if line]
    stated = {
        "monai": METADATA["monai_version"],
        "torch": METADATA["pytorch_version"],
        "numpy": METADATA["numpy_version"],
        **METADATA["required_packages_version"],
    }
    assert stated.pop("monai_bbox_mil") == monai_bbox_mil.__version__
    assert {requirement.name for requirement in required} == set(stated)
    for requirement in required:
        assert stated[requirement.name] in requirement.specifier, requirement


def test_properties_of_inference_are_complete(zoo, tmp_path):
    assert METADATA["supported_apps"] == {}  # the model zoo requires more properties of any app
    (tmp_path / "image.png").write_bytes(b"")  # a folder must hold an image to be a data set
    workflow = ConfigWorkflow(
        workflow_type="infer",
        config_file=str(zoo / "configs" / "inference.yaml"),
        meta_file=str(zoo / "configs" / "metadata.json"),
        logging_file=str(zoo / "configs" / "logging.conf"),
        bundle_root=str(zoo),
        dataset_dir=str(tmp_path),
    )
    workflow.initialize()
    assert workflow.check_properties() == []


def test_shapes_of_network_data_format_by_the_command_of_the_readme(zoo, network):
    assert "verified with no error" in run_readme_command(zoo, "verify_net_in_out")
    image, pred = METADATA["network_data_format"]["inputs"]["image"], METADATA["network_data_format"]["outputs"]["pred"]
    with torch.no_grad():
        result = network(torch.zeros(1, image["num_channels"], *image["spatial_shape"]))
    assert list(result.shape[1:]) == [pred["num_channels"], *pred["spatial_shape"]]
    assert pred["channel_def"] == {"0": "background", "1": "object"}


def test_shapes_that_are_not_the_networks_would_be_refused(zoo):
    files = {"meta_file": str(CONFIGS / "metadata.json"), "config_file": str(CONFIGS / "inference.yaml")}
    wrong = {"_meta_#network_data_format#outputs#pred#num_channels": 2}
    with pytest.raises(ValueError, match="output channel number `1` doesn't match: `2`"):
        verify_net_in_out(net_id="network_def", device="cpu", **files, **wrong)


def test_torchscript_by_the_command_of_the_readme_is_the_network(zoo, network):
    run_readme_command(zoo, "ckpt_export")
    exported, metadata, files = load_net_with_metadata(
        str(zoo / "models" / "model.ts"), more_extra_files=["inference.json"]
    )
    assert metadata["version"] == METADATA["version"]
    assert "network_def" in json.loads(files["inference.json"])
    for shape in ((1, 1, 64, 64), (3, 1, 80, 96)):
        image = torch.randn(shape)
        with torch.no_grad():
            torch.testing.assert_close(exported.eval()(image), network(image))


def test_onnx_by_the_command_of_the_readme_is_the_network(zoo, network):
    run_readme_command(zoo, "onnx_export")
    session = onnxruntime.InferenceSession(zoo / "models" / "model.onnx", providers=["CPUExecutionProvider"])
    (name,) = [put.name for put in session.get_inputs()]
    image = torch.randn(1, 1, *METADATA["network_data_format"]["inputs"]["image"]["spatial_shape"])
    with torch.no_grad():
        expected = network(image).numpy()
    assert np.ptp(expected) > 1
    np.testing.assert_allclose(session.run(None, {name: image.numpy()})[0], expected, rtol=1e-3, atol=1e-4)


@EACH
@pytest.mark.parametrize("name", FILES)
def test_weights_are_those_that_the_scores_belong_to(key, name):
    published = METADATA["weights_sha256"][key.lower()][name]
    content = (BUNDLE / PUBLISHED[key].folder / name).read_bytes()
    assert sha256_of(content) == published, f"python -m tests.bundle.remake_weights --weights {key}"


@EACH
def test_the_readme_tells_the_scores_and_commands_of_the_weights(key):
    assert table_pattern(key).findall(README.read_text()) == [table_of(METADATA["eval_metrics"][key.lower()])]
    used = [re.findall(r"configs/[\w/]+\.yaml", command) for command in readme_commands("Weights") if key in command]
    assert used[0] + ["configs/evaluate.yaml"] == used[1]
    assert f"configs/experiments/datasets/{DATA_SETS[key]}.yaml" in used[0]
    assert all((BUNDLE / path).is_file() for path in used[1])


def test_the_readme_tells_size_and_licences_of_the_weights(network):
    text = README.read_text()
    assert f"{sum(p.numel() for p in network.parameters()):,}" in text
    assert "CC0" in text and "CC-BY-SA 4.0" in text


@EACH
def test_the_card_of_the_weights_says_what_they_are(zoo, capsys, key):
    folder, name, data = PUBLISHED[key]
    announce_model(zoo / folder)
    printed = capsys.readouterr().out
    assert printed.startswith(f"Model: {zoo / folder / 'model.pt'}, {name}, trained 20")
    images, classes = {"SUNNYBROOK": (52, "left ventricle"), "HIPPOCAMPUS": (160, "anterior, posterior")}[key]
    assert printed.endswith(f" on {images} images of {data}. Classes: {classes}.\n")
    assert data in METADATA["data_source"]


@EACH
def test_settings_of_the_weights_are_those_of_their_data_set_and_of_the_metadata(zoo, key):
    folder = zoo / PUBLISHED[key].folder
    settings = load_image_settings(folder / "image_settings.json")
    data_set = ConfigParser.load_config_file(CONFIGS / "experiments" / "datasets" / f"{DATA_SETS[key]}.yaml")
    assert settings == {name: data_set.get(name) for name in settings}
    assert load_threshold(folder / "threshold.json") == METADATA["eval_metrics"][key.lower()]["threshold"]
    if key == "SUNNYBROOK":
        assert settings["image_size"] == METADATA["network_data_format"]["inputs"]["image"]["spatial_shape"]


@EACH
def test_the_scores_of_the_weights_come_out_again(zoo, real_data, tmp_path, key):
    """By the README's own evaluation, on the validation images where these are at hand."""
    names = ["train", "experiments/protocol", f"experiments/datasets/{DATA_SETS[key]}", "pseudo_labels", "evaluate"]
    data, models = str(real_data / DATA_SETS[key]), str(zoo / PUBLISHED[key].folder)
    run_bundle(*names, dataset_dir=data, ckpt_dir=models, output_dir=str(tmp_path), progress=False)
    expected = METADATA["eval_metrics"][key.lower()]
    found = scores_of(pd.read_csv(tmp_path / "cases.csv"))
    assert found.pop("threshold") == expected["threshold"]
    assert found == pytest.approx({name: value for name, value in expected.items() if name != "threshold"}, rel=2e-3)


def test_the_weights_segment_a_cine_image_with_nothing_but_its_folder_given(zoo, real_data, tmp_path):
    item = get_datalist(real_data / "sunnybrook_lv")["validation"][0]
    (tmp_path / "images").mkdir()
    for file in (item["image"], item["image"].replace(".mhd", ".raw")):
        shutil.copy(file, tmp_path / "images")
    folders = {"dataset_dir": str(tmp_path / "images"), "output_dir": str(tmp_path / "masks")}
    run_bundle("inference", ckpt_dir=str(zoo / "models"), progress=False, **folders)
    (written,) = (tmp_path / "masks").glob("*.mhd")
    pred, mask = (LoadImage()(path) for path in (written, item["mask"]))
    assert pred.shape == mask.shape
    assert 2 * float((pred * mask).sum()) / float((pred + mask).sum()) > 0.8
