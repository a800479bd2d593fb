# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
"""What a matrix file may say, and the errors of an invalid one."""

from __future__ import annotations

import copy

import pytest
import yaml

from benchmarks.accuracy import ExperimentError, RunKey, load_matrix
from benchmarks.accuracy.matrix import DEFAULT_MATRIX
from tests.benchmarks.accuracy.conftest import matrix_content, write_matrix


def test_products_are_joined_without_repeats_seeds_outermost(tmp_path):
    content = matrix_content()
    content["datasets"]["other"] = {"folds": {"a": {"datalist": "a.json"}, "b": {}}}
    content["runs"] = [
        {"datasets": ["phantom"], "systems": ["full", "paper"], "seeds": [0, 1]},
        {"datasets": ["phantom", "other"], "systems": ["paper"], "seeds": [0]},
        {"datasets": "phantom", "systems": "paper", "variants": "margin_2"},
    ]
    matrix = load_matrix(write_matrix(tmp_path, content))
    assert matrix.runs == (
        RunKey("phantom", "full", "", "0", 0),
        RunKey("phantom", "paper", "", "0", 0),
        RunKey("phantom", "full", "", "0", 1),
        RunKey("phantom", "paper", "", "0", 1),
        RunKey("other", "paper", "", "a", 0),
        RunKey("other", "paper", "", "b", 0),
        RunKey("phantom", "paper", "margin_2", "0", 0),
    )
    assert [str(key.folder) for key in matrix.runs[-2:]] == [
        "other/paper/foldb_seed0",
        "phantom/paper/margin_2/fold0_seed0",
    ]
    assert matrix.select(["other"]) == list(matrix.runs[4:6])
    assert matrix.select(["full", "phantom"]) == [matrix.runs[0], matrix.runs[2]]


def test_later_overrides_win(tmp_path):
    content = matrix_content()
    content["overrides"] = dict.fromkeys(["a", "b", "c", "d", "e", "seed"], "all runs")
    content["datasets"]["phantom"] |= {"overrides": dict.fromkeys("bcde", "set"), "folds": {"x": {"e": "fold"}}}
    content["systems"]["paper"]["overrides"] = dict.fromkeys("cde", "system")
    content["variants"]["margin_2"]["overrides"] = dict.fromkeys("de", "variant")
    matrix = load_matrix(write_matrix(tmp_path, content))
    found = matrix.train_overrides(RunKey("phantom", "paper", "margin_2", "x", 3))
    assert found == {"a": "all runs", "b": "set", "c": "system", "d": "variant", "e": "fold", "seed": 3}


def test_config_files_are_relative_to_the_bundle(tmp_path):
    (tmp_path / "configs" / "deep").mkdir(parents=True)
    for name in ("train.yaml", "evaluate.yaml"):
        (tmp_path / "configs" / name).write_text("{}")
    content = {"bundle": "../..", "base": ["configs/train.yaml"], "datasets": {"d": {}}, "systems": {"s": None},
               "runs": [{"datasets": ["d"], "systems": ["s"]}]}  # fmt: skip
    matrix = load_matrix(write_matrix(tmp_path / "configs" / "deep", content))
    assert matrix.base == (str(tmp_path / "configs" / "train.yaml"),)
    assert matrix.evaluate == (str(tmp_path / "configs" / "evaluate.yaml"),)
    assert matrix.systems["s"].label == "s"
    assert matrix.systems["s"].evaluations == ("default",)
    assert matrix.report[0].views[0].kind == "table"


def test_the_bundles_own_matrix_can_be_read():
    matrix = load_matrix(DEFAULT_MATRIX)
    assert len(matrix.runs) == len(set(matrix.runs)) >= 100
    assert matrix.systems["full_ce"].evaluations == ("0.5",)
    assert matrix.systems["recommended"].evaluations == ("0.5", "calibrated")


def at(*path, value):
    def change(content):
        for step in path[:-1]:
            content = content[step]
        content[path[-1]] = value

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (at("sytems", value={}), "unknown key 'sytems'; expected bundle, base, evaluate"),
        (at("datasets", "phantom", "path", value="x"), "datasets: phantom: unknown key 'path'; expected title, folder"),
        (at("systems", "full", "evaluations", value=["0.6"]), "unknown name '0.6'; expected one of calibrated, 0.5"),
        (at("runs", 0, "systems", value=["ful"]), r"runs\[0\]: systems: unknown name 'ful'; expected one of full"),
        (at("runs", 0, "seeds", value=[-1]), "seeds: expected whole numbers of at least 0, got -1"),
        (at("runs", 0, value={"datasets": ["phantom"]}), r"runs\[0\]: the key 'systems' is missing"),
        (at("runs", value=[]), "runs: expected at least one run"),
        (at("base", value=["nowhere.yaml"]), "base: expected a config file, relative to .*, got no file .*where"),
        (at("variants", "margin_2", "x", value="two"), "variants: margin_2: x: expected a number, got 'two'"),
        (at("systems", value={"a/b": {}}), "systems: expected a name of letters, digits and . _ . -, got 'a/b'"),
        (at("systems", "full", "overrides", value=[1]), r"overrides: expected a mapping, got \[1\]"),
        (at("report", 0, "tabel", value={}), r"report\[0\]: unknown key 'tabel'"),
        (at("report", 0, "table", "reference", value="best"), r"report\[0\]: table: reference: unknown name 'best'"),
        (at("report", 0, "table", "columns", value=["iou"]), "columns: unknown name 'iou'; expected one of hd95_mm"),
        (at("report", 0, "learning", "x", value="hours"), "x: unknown name 'hours'; expected one of epoch, iteration"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_named(tmp_path, change, message):
    content = copy.deepcopy(matrix_content())
    change(content)
    with pytest.raises(ExperimentError, match=message) as error:
        load_matrix(write_matrix(tmp_path, content))
    assert "\n" not in str(error.value)


def test_files_that_are_no_matrix_are_reported(tmp_path):
    with pytest.raises(ExperimentError, match="expected a YAML file, got nothing"):
        load_matrix(tmp_path / "nowhere.yaml")
    with pytest.raises(ExperimentError, match="expected a YAML file, got a folder"):
        load_matrix(tmp_path)
    (tmp_path / "bad.yaml").write_text("a: [1")
    with pytest.raises(ExperimentError, match="expected YAML, got while parsing"):
        load_matrix(tmp_path / "bad.yaml")
    (tmp_path / "empty.yaml").write_text("")
    with pytest.raises(ExperimentError, match="the key 'base' is missing; got nothing"):
        load_matrix(tmp_path / "empty.yaml")


def test_a_row_without_the_evaluation_shows_its_own(tmp_path):
    content = matrix_content()
    content["report"][0]["table"]["rows"] = [
        "full",
        {"system": "paper", "evaluation": "0.5"},
        "paper",
    ]
    (section,) = load_matrix(write_matrix(tmp_path, content)).report
    table = next(view for view in section.views if view.kind == "table")
    assert [(row.system, row.evaluation, row.label) for row in table.rows] == [
        ("full", "0.5", ""), ("paper", "0.5", "the paper's weights, 0.5"), ("paper", "calibrated", "")
    ]  # fmt: skip


def test_unquoted_names_of_numbers_are_names(tmp_path):
    text = yaml.safe_dump(matrix_content(), sort_keys=False).replace("'0.5'", "0.5")
    assert "'0.5'" not in text
    (tmp_path / "matrix.yaml").write_text(text)
    assert list(load_matrix(tmp_path / "matrix.yaml").evaluations) == ["calibrated", "0.5"]
