# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
"""Configurations that can be read: short expressions, and names where others would count positions."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from tests.bundle.conftest import CONFIGS

FILES = sorted(CONFIGS.rglob("*.yaml"))
LONGEST = 100
# "@train#handlers#13", "@label_transforms[1:]", "@label_transforms[-1]"; an entry of a mapping has a name.
POSITION = re.compile(r"@[\w#:]*[#:]\d+\b|@[\w#:]+\[\s*[-\d:]")


def strings(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        for key, item in value.items():
            yield str(key)
            yield from strings(item)
    elif isinstance(value, list):
        for item in value:
            yield from strings(item)
    elif isinstance(value, str):
        yield value


def read(path) -> list[str]:
    return list(strings(yaml.safe_load(path.read_text())))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_no_expression_is_long(path):
    assert [text for text in read(path) if text.startswith("$") and len(text) > LONGEST] == []


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_no_reference_counts_positions(path):
    assert [text for text in read(path) if POSITION.search(text) or re.search(r"#\d+(#|$)", text)] == []


@pytest.mark.parametrize(
    ("text", "counts"),
    [
        ("@train#handlers#13", True),
        ("$@load + @label_transforms[1:]", True),
        ("$@flip_prob[-1]", True),
        ("@train::handlers::0", True),
        ("$@image_settings['spacing_mm']", False),
        ("$[*@image_size, -1][:3]", False),
        ("$@train#dataset.case_names", False),
        ("$[0.5] * len(@label_values)", False),
    ],
)
def test_what_counts_positions(text, counts):
    assert bool(POSITION.search(text)) == counts


def test_the_training_has_one_augmentation_for_each_supervision():
    lines = (CONFIGS / "train.yaml").read_text().splitlines()
    assert len(lines) <= 340
    assert sum("augmentation:" in line for line in lines) == 2  # the list, and the pipeline that ends with it
