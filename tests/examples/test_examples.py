# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
"""Every example of one machine trains: its loss falls, and its network segments what an untrained one does not."""

from __future__ import annotations

import runpy
from pathlib import Path

import numpy as np
import pytest

# Those of several machines have tests of their own.
OTHERS = ("__init__", "conftest", "federated", "nvflare_client", "nvflare_job")
EXAMPLES = sorted(
    path for path in Path(__file__).parent.glob("*.py") if path.stem not in OTHERS and not path.stem.startswith("test_")
)
BAR = 0.6
NEEDS = {"lightning_module": "lightning"}


@pytest.mark.parametrize("path", EXAMPLES, ids=[path.stem for path in EXAMPLES])
def test_the_example_learns(path, capsys):
    if path.stem in NEEDS:
        package = NEEDS[path.stem]
        pytest.importorskip(package, reason=f"{package}, of the extra test, is not installed")
    found = runpy.run_path(str(path))
    losses, dice, untrained_dice = (found[name] for name in ("losses", "dice", "untrained_dice"))
    assert np.mean(losses[-3:]) < 0.5 * losses[0]
    assert untrained_dice < BAR < dice
    assert f"Dice {untrained_dice:.3f} to {dice:.3f}" in capsys.readouterr().out


def test_all_examples_are_there():
    assert [path.stem for path in EXAMPLES] == [
        "detection_datalist",
        "lightning_module",
        "plain_loop",
        "supervised_trainer",
    ]
