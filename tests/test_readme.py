# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import re
from pathlib import Path

import pytest
from monai.bundle import ConfigParser

REPOSITORY = Path(__file__).parents[1]
README = (REPOSITORY / "README.md").read_text()


@pytest.mark.parametrize("code", re.findall(r"```python\n(.*?)```", README, re.DOTALL))
def test_the_example_runs(code, capsys):
    exec(compile(code, "README.md", "exec"), {})
    assert set(eval(capsys.readouterr().out)) == {"unary", "pairwise", "loss"}


@pytest.mark.parametrize("page", ["README.md", "CONTRIBUTING.md", "bundle/docs/README.md"])
def test_named_files_exist(page):
    text = (REPOSITORY / page).read_text()
    local = [link for link in re.findall(r"\]\(([^)#]+)\)", text) if "://" not in link]
    for path in local:
        assert ((REPOSITORY / page).parent / path).is_file(), path
    for path in re.findall(r"bundle/configs/\w+\.yaml|tests/\w+/", text):
        assert (REPOSITORY / path).exists(), path


def test_the_table_of_arguments_holds_the_defaults():
    config = ConfigParser.load_config_file(REPOSITORY / "bundle" / "configs" / "train.yaml")
    rows = re.findall(r"^\| (`.*?) \| (.*?) \| .* \|$", README, re.MULTILINE)
    defaults = {}
    for row, default in rows:
        names, values = re.findall(r"`(\w+)`", row), re.split(r", (?![^\[]*\])", default)
        assert set(names) <= set(config)
        if len(names) == len(values):
            defaults |= zip(names, values)
    for name in ("label_values", "angles_deg", "alpha", "beta", "gamma", "pairwise_weight", "core", "roundness",
                 "flip_prob", "rotate_prob", "rotate_deg", "zoom", "max_epochs", "batch_size", "learning_rate",
                 "image_size"):  # fmt: skip
        assert eval(defaults[name].strip("`")) == config[name], name
