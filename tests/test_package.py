# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import inspect
import pkgutil
import subprocess
import sys
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import monai.apps.detection.transforms.dictionary
import monai.inferers
import monai.losses  # noqa: F401
import pytest
import yaml

import monai_bbox_mil

ROOMS = [name for name in monai_bbox_mil.__all__ if name != "__version__"]


def public_names():
    return sorted(f"{room}.{name}" for room in ROOMS for name in getattr(monai_bbox_mil, room).__all__)


def test_public_names_are_those_of_the_list():
    listed = Path(__file__).with_name("public_names.txt").read_text().split()
    assert public_names() == listed


@pytest.mark.parametrize("name", public_names())
def test_public_names_exist_and_are_documented(name):
    room, _, attribute = name.partition(".")
    thing = getattr(getattr(monai_bbox_mil, room), attribute)
    if inspect.isclass(thing) or inspect.isfunction(thing):
        assert inspect.getdoc(thing)


def test_no_class_shares_its_name_with_one_of_monais():
    ours = {
        name
        for info in pkgutil.walk_packages(monai_bbox_mil.__path__, "monai_bbox_mil.")
        if find_spec("monailabel") or not info.name.startswith("monai_bbox_mil.apps.")
        for name, thing in vars(import_module(info.name)).items()
        if inspect.isclass(thing) and thing.__module__.startswith("monai_bbox_mil")
    }
    theirs = {
        name
        for module in list(sys.modules.values())
        if getattr(module, "__name__", "").startswith("monai.")
        for name, thing in vars(module).items()
        if inspect.isclass(thing) and thing.__module__.startswith("monai.")
    }
    assert {"SlidingWindowInferer", "DiceLoss", "FlipBoxd"} <= theirs
    assert ours & theirs == set()


def test_the_mathematics_does_not_load_monai():
    code = "import sys, monai_bbox_mil.losses; sys.exit('monai' in sys.modules)"
    environment = {"PYTHONPATH": str(Path(monai_bbox_mil.__file__).parents[1])}
    assert subprocess.run([sys.executable, "-c", code], env=environment).returncode == 0


def test_an_unknown_attribute_is_told():
    with pytest.raises(AttributeError, match="module 'monai_bbox_mil' has no attribute 'nothing'"):
        _ = monai_bbox_mil.nothing


def test_the_citation_names_this_version(repository):
    citation = yaml.safe_load((repository / "CITATION.cff").read_text())
    assert citation["version"] == monai_bbox_mil.__version__
