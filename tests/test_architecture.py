# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
"""The architecture page says what the import contract says, and names every room."""

from __future__ import annotations

import configparser
import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs/architecture.md").read_text()


def _contract() -> list[str]:
    setup = configparser.ConfigParser(interpolation=None)
    setup.read(ROOT / "setup.cfg")
    layers = setup["importlinter:contract:layers"]["layers"].strip().splitlines()
    return [line.replace("monai_bbox_mil.", "").strip() for line in layers]


def test_the_drawing_is_the_import_contract() -> None:
    drawing = re.search(r"```\n(benchmarks\n.*?)```", PAGE, re.DOTALL)
    assert drawing is not None and drawing[1].splitlines() == _contract()


def test_the_table_names_every_room_of_the_package() -> None:
    rows = re.findall(r"^\| (`[a-z_`, ]+`) \|", PAGE.split("## The rooms")[1].split("## Walks")[0], re.MULTILINE)
    described = set(re.findall(r"`([a-z_]+)`", " ".join(rows)))
    package = ROOT / "monai_bbox_mil"
    folders = {path.parent.name for path in package.glob("*/__init__.py")}
    assert described == folders | {path.stem for path in package.glob("*.py") if path.stem != "__init__"}


def test_the_files_that_the_walks_name_exist() -> None:
    for name in re.findall(r"`([a-z_/]+(?:\.py|\.yaml|/))`", PAGE.split("## Walks")[1]):
        found = [
            folder for folder in (ROOT, ROOT / "monai_bbox_mil", ROOT / "bundle/configs") if (folder / name).exists()
        ]
        assert found, name
