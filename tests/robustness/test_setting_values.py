# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
"""Settings with values that no run can use, and with good ones that are written in another way."""

from __future__ import annotations

import re
import sys
from pathlib import Path, PurePosixPath
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from monai.bundle import ConfigParser
from monai.networks.nets import BasicUNet, UNet

from monai_bbox_mil.networks import ENet, ResidualUNet
from monai_bbox_mil.runs import check_setting
from monai_bbox_mil.runs.settings.checked_values import check_values
from monai_bbox_mil.runs.settings.relations import network_misfit
from tests.bundle.conftest import CONFIGS

FLAGS = ("resume", "amp", "keep_best", "progress", "sync_normalizer")
REFUSED = [
    *[(name, value, "True or False") for name in FLAGS for value in ("no", "off", 0, 1, None, "None", 2.0)],
    *[
        ("image_size", value, "a list of 2 whole numbers, each at least 1")
        for value in (64, [64], [32, 32, 48], [0, 64], [-64, 64], [64.5, 64], "64", "[64,64]", [], None, [True, 64])
    ],
    *[
        ("spacing_mm", value, "None or a list of 2 numbers, each above 0")
        for value in ([2], [2, -1], [0, 1], 2, [1, 1, 1], [float("nan"), 1], [float("inf"), 1], "2,2", [])
    ],
    *[("dataset_dir", value, "the path of a folder") for value in (2024, 12, None, True, "", " ", 1e3, ["a"], b"a")],
    *[(name, 7, "the path of a folder") for name in ("ckpt_dir", "output_dir", "phantom_dir", "bundle_root")],
    ("datalist", 5, "None or the path of a file"),
    *[("max_epochs", value, "a whole number at least 1") for value in (0, 2.5, -1, "six", True, None, "1_0", [3])],
    *[(name, 0, "a whole number at least 1") for name in ("batch_size", "val_interval", "in_channels")],
    *[("learning_rate", value, "a number above 0") for value in (0, -1e-3, "fast", float("inf"), float("nan"), None)],
    *[(name, 1.5, "a number at least 0 and at most 1") for name in ("cache_rate", "rotate_prob", "beta")],
    *[("flip_prob", value, "a list of 2 numbers") for value in (0.5, [0.5], [2, 0], [-0.1, 0], [0.5, 0.5, 0.5])],
    *[("angles_deg", value, "a list of numbers, each above -90") for value in (0, [], [90], [[0]], "x", [-100, 100])],
    *[("alpha", value, "a number above 0 and at most 50") for value in (0, -1, 51)],
    *[("core", value, "a number above 0 and at most 1") for value in (0, 1.01, -1)],
    *[
        ("label_values", value, "a list of different whole numbers, each at least 1")
        for value in ([1, 1], [0], [-1], [1.5], [], 1, "1", [None])
    ],
    *[("box_classes", value, "None or a list of 1 text") for value in ("nucleus", ["a", "b"], [], {"a": 1}, [1.5])],
    *[("class_names", value, "a list of 1 text") for value in ("lesion", ["a", "b"], None)],
    *[("margin", value, "a number at least 0") for value in (-1, "wide", [1], [1, -1, 0])],
    *[("supervision", value, "boxes, boxes_as_masks or full") for value in ("box", "Boxes", None, 1)],
    ("smooth_max", "softmax", "alpha_softmax, alpha_quasimax or max"),
    *[("num_workers", value, "a whole number at least 0") for value in (-1, 0.5, "two")],
    ("checkpoint_interval", -1, "a whole number at least 0"),
    ("seed", -1, "a whole number at least 0"),
    ("slice_dim", 3, "None or a whole number at least -3 and at most 2"),
    ("spatial_dims", 4, "a whole number at least 2 and at most 3"),
    *[("device", value, "a device of this machine") for value in ("gpu", "cuda:99", "meta", None, True, 99, "cpu ")],
]
OF_EVALUATION = [
    *[("num_pictures", value, "a whole number at least 1") for value in (0, -1, 2.5)],
    ("keep_pictures", "no", "True or False"),
    ("evaluated", "valid", "training, validation or test"),
    *[("threshold", value, "a number above 0 and below 1") for value in (0, 1, -0.5, [0.5, 0.5], [], [1.5], "half")],
]
OF_INFERENCE = [
    *[("extensions", value, "a list of texts that begin with '.'") for value in (["nii"], ".nii", [], [1])],
    ("output_postfix", 5, "a text"),
    ("resume", "0", "True or False"),
]
CASES = [(*case, kind) for kind, cases in (("train", REFUSED), ("evaluate", OF_EVALUATION), ("inference", OF_INFERENCE))
         for case in cases]  # fmt: skip


@pytest.mark.parametrize(("name", "value", "expected", "workflow"), CASES, ids=str)
def test_refused_with_what_was_expected_and_what_came(name, value, expected, workflow):
    with pytest.raises(ValueError) as error:
        check_setting(name, value, workflow, axes=2, classes=1)
    told = str(error.value)
    assert told.startswith(f"{name}: expected {expected}")
    assert f", got {'the text ' if isinstance(value, str) else ''}{value!r}" in told
    typed = re.search(rf" Type --{name}[ =](.+)$", told)
    if typed:  # would be taken, if it were typed
        words = typed[1].strip('"')
        meant = ConfigParser({"it": f"${words}"})["it"][1:] if words[0] == "[" else words
        check_setting(name, eval(meant) if words[0] == "[" else meant, workflow, axes=2, classes=1)
    else:  # there is no telling what was meant
        assert name in ("dataset_dir", "num_workers", "threshold", "class_names", "extensions")


UNDERSTOOD = [
    *[(name, word, word == "true") for name in FLAGS for word in ("true", "false")],
    ("amp", np.bool_(True), True),
    ("image_size", (64, 48), [64, 48]),
    ("image_size", np.array([64, 48]), [64, 48]),
    ("image_size", torch.tensor([64, 48]), [64, 48]),
    ("image_size", [64.0, 48], [64, 48]),
    ("spacing_mm", (2, 0.5), [2, 0.5]),
    ("spacing_mm", None, None),
    ("spacing_mm", "null", None),
    ("dataset_dir", PurePosixPath("/data/set"), "/data/set"),
    ("dataset_dir", "2024", "2024"),
    ("max_epochs", 60.0, 60),
    ("max_epochs", "60", 60),
    ("max_epochs", np.int64(60), 60),
    ("learning_rate", "1e-3", 0.001),  # YAML takes this for text
    ("learning_rate", 1, 1),
    ("margin", 0.5, 0.5),
    ("margin", [1, 1, 0], [1, 1, 0]),
    ("mask_values", None, None),
    ("box_classes", [7], [7]),
    ("box_classes", ("left lung",), ["left lung"]),
    ("device", torch.device("cpu"), torch.device("cpu")),
    ("device", "cpu", "cpu"),
    ("slice_dim", None, None),
    ("slice_dim", 0, 0),
    ("angles_deg", [0], [0]),
    ("angles_deg", (-40, 40, 20), [-40, 40, 20]),
]


@pytest.mark.parametrize(("name", "value", "expected"), UNDERSTOOD, ids=str)
def test_what_is_meant_well_is_taken(name, value, expected):
    found = check_setting(name, value, axes=2, classes=1)
    assert found == expected
    assert type(found) is type(expected)


def test_three_axes_take_three_numbers():
    assert check_setting("flip_prob", [0.5, 0, 0.5], axes=3) == [0.5, 0, 0.5]
    assert check_setting("flip_prob", [0.5, 0.5], axes=3) == [0.5, 0.5]
    with pytest.raises(ValueError, match=r'list of 3 whole numbers.*Type --image_size "\[64,64,64\]"'):
        check_setting("image_size", [64, 64], axes=3)


# --- settings of a whole configuration --------------------------------------------------------------------------------
def checked(*names, **overrides):
    parser = ConfigParser(ConfigParser.load_config_files([str(CONFIGS / f"{name}.yaml") for name in names]))
    parser.update({"bundle_root": str(CONFIGS.parent), "dataset_dir": str(CONFIGS), **overrides})
    parser.parse()
    check_values(parser)
    return parser


def test_what_is_put_right_is_what_the_run_gets(tmp_path):
    (tmp_path / "set#2").mkdir()
    right = {"max_epochs": "10", "progress": "false", "dataset_dir": tmp_path / "set#2", "class_names": ["a#1"]}
    parser = checked("train", **right)
    assert parser.get_parsed_content("train#trainer#max_epochs") == 10
    assert parser.get_parsed_content("self_training_start") == 2  # computed from it
    assert parser.get_parsed_content("progress") is False
    assert parser.get_parsed_content("dataset_dir") == f"{tmp_path}/set#2"
    assert parser.get_parsed_content("class_names") == ["a#1"]


@pytest.mark.parametrize("name", ["a#b", "#b", "a::b", "a@b", "50%", "a$b", "@b", "$b", "%b"])
@pytest.mark.parametrize("as_path", [True, False])
def test_names_of_folders_that_mean_something_to_monai(tmp_path, name, as_path):
    folder = tmp_path / name
    folder.mkdir()
    parser = checked("train", dataset_dir=folder if as_path else str(folder), output_dir=Path("new#1", name))
    assert parser.get_parsed_content("dataset_dir") == str(folder)
    assert parser.get_parsed_content("output_dir") == f"new#1/{name}"
    assert parser.get_parsed_content("run_lock").paths[1].parent in (
        Path("new#1", name).resolve(),
        (CONFIGS.parent / "models").resolve(),
    )


@pytest.mark.parametrize("value", ["$no_such_thing", "@no_such_thing"])
def test_an_expression_that_fails_names_its_setting(value):
    with pytest.raises(ValueError, match=rf"dataset_dir: expected .*that MONAI cannot compute .*\./\{value}$"):
        checked("train", dataset_dir=value)


def test_several_faults_are_reported_together_and_none_that_only_follows():
    with pytest.raises(ValueError) as error:
        checked("train", device="gpu", max_epochs="six", resume="no")
    assert [line.split(":")[0] for line in str(error.value).splitlines()] == ["device", "resume", "max_epochs"]


def test_an_expression_that_needs_the_other_processes_is_left_to_the_run():
    assert checked("train", batch_size="$8 // dist.get_world_size()")["batch_size"].startswith("$")


MISFITS = [
    (["train"], {"dataset_dir": "/no/such/folder"}, "dataset_dir: expected an existing folder, got '/no/such/folder'"),
    (["inference"], {"dataset_dir": "/no/such/folder"}, "dataset_dir: expected an existing folder"),
    (["train"], {"rotate_prob": 0.5, "image_size": [64, 96]}, 'rotate_prob: expected 0.*--image_size "[96,96]"'),
    (["train"], {"mask_connectivity": 0, "min_size": 5}, "min_size: expected 0 with mask_connectivity 0"),
    (["train"], {"angles_deg": [-40, 40, 30]}, "angles_deg"),
    (["train"], {"image_size": [16, 16]}, 'image_size: expected a size that the network takes, got [16, 16]'),
    (["train", "volumes"], {"image_size": [32, 32, 8]}, '--image_size "[32,32,16]"'),
    (["train", "evaluate"], {"image_size": [16, 16]}, "image_size"),
    (["train", "volumes"], {"spacing_mm": [2, 2]}, '--spacing_mm "[2,2,2]"'),
    (["train"], {"label_values": [1, 2], "class_names": ["a"]}, "class_names: expected a list of 2 different texts"),
    (["train"], {"label_values": [1, 2], "box_classes": ["a"]}, "box_classes: expected None or a list of 2"),
]  # fmt: skip


@pytest.mark.parametrize(("names", "overrides", "told"), MISFITS)
def test_settings_that_do_not_go_together(names, overrides, told):
    with pytest.raises(ValueError) as error:
        checked(*names, **overrides)
    assert re.search(".*".join(map(re.escape, told.split(".*"))), str(error.value))


@pytest.mark.parametrize(
    ("names", "overrides"),
    [
        (["train"], {"image_size": [17, 40]}),
        (["train"], {"datalist": "list.json", "dataset_dir": "/no/such/folder"}),  # it may name whole paths
        (["train"], {"dataset_dir": "/no/such/folder", "data_items": {"training": [{}], "validation": [{}]}}),
        (["train"], {"train#trainer#max_epochs": 3, "train#dataset#data": [{"image": "a#b"}]}),
        (["train", "volumes"], {"image_size": [32, 32, 16], "box_slice_dim": -1}),
        (["train", "evaluate"], {"threshold": 0.5}),
        (["inference"], {"spacing_mm": None, "image_size": [64, 64], "threshold": [0.5]}),
        (["train", "federated"], {}),
        (["train", "monailabel"], {}),
        (["train", "experiments/protocol", "experiments/global_constraint"], {}),
        (["train", "promise12"], {"image_size": [15, 15]}),
    ],
)
def test_sound_settings_pass(names, overrides):
    checked(*names, **overrides)


NETWORKS = {
    "BasicUNet": lambda: BasicUNet(spatial_dims=2, out_channels=1, features=(2, 2, 2, 2, 2, 2)),
    "UNet": lambda: UNet(2, 1, 1, channels=(2, 2, 2, 2), strides=(2, 2, 2)),
    "ENet": lambda: ENet(1, 1, features=4),
    "ResidualUNet": lambda: ResidualUNet(1, 1, features=(2, 2, 2)),
}


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("size", [[8, 8], [15, 40], [16, 16], [16, 32], [17, 33], [24, 40], [100, 96], [1, 300]])
def test_sizes_are_refused_where_a_step_of_training_fails(name, size):
    network, works = NETWORKS[name](), True
    try:
        works = network(torch.zeros(2, 1, *size)).shape[2:] == torch.Size(size)
    except (ValueError, RuntimeError):
        works = False
    told = list(network_misfit(NETWORKS[name], size, batch=2))
    assert (not told) == works
    for message in told:
        other = list(map(int, re.search(r'Type --image_size "\[(\d+),(\d+)\]"', message).groups()))
        assert network(torch.zeros(2, 1, *other)).shape[2:] == torch.Size(other)


def test_a_network_that_is_at_fault_itself_is_left_to_the_run():
    broken = torch.nn.Conv2d(3, 1, 3)  # of another number of channels
    assert list(network_misfit(lambda: broken, [16, 16])) == []
    assert list(network_misfit(lambda: 1 / 0, [16, 16])) == []


# --- the command line -------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("typed", "parsed", "expected"),
    [
        ("2024", 2024, "2024"),
        ("1_2", 12, "1_2"),
        ("1e3", 1000.0, "1e3"),
        ("set#2", "set", "set#2"),
        ("a,b", ("a", "b"), "a,b"),
        ("'it#1'", "it::1", "it#1"),
        ("plain", "plain", "plain"),
    ],
)
def test_a_path_is_what_was_typed_whatever_python_reads_in_it(tmp_path, monkeypatch, typed, parsed, expected):
    (tmp_path / expected).mkdir()
    monkeypatch.chdir(tmp_path)
    command_line(monkeypatch, "--dataset_dir", typed)
    assert checked("train", dataset_dir=parsed).get_parsed_content("dataset_dir") == expected


def test_none_that_was_typed_counts_although_monai_drops_it(monkeypatch):
    command_line(monkeypatch, "--spacing_mm", "None", "--slice_dim=None")
    parser = checked("train", "promise12")
    assert parser["spacing_mm"] is None
    assert parser["slice_dim"] is None
    command_line(monkeypatch, "--dataset_dir", "None")
    with pytest.raises(ValueError, match="dataset_dir: expected the path of a folder, got None"):
        checked("train")


def command_line(monkeypatch, *words):
    main = SimpleNamespace(__spec__=SimpleNamespace(name="monai.bundle.__main__"))
    monkeypatch.setitem(sys.modules, "__main__", main)
    monkeypatch.setattr(sys, "argv", ["monai.bundle", "run", *words])
