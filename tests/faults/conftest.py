# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import os
import time
from pathlib import Path
from typing import NamedTuple

import pytest

from monai_bbox_mil.data import make_phantom
from tests.faults import runs


class Reference(NamedTuple):
    folder: Path
    seconds: float
    """that the run took, from the start of its process to its end."""


@pytest.fixture(scope="session", autouse=True)
def _found_by_the_server():
    """The server that forks the runs is a new interpreter; it must find the same modules, and use one thread."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", os.pathsep.join([str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH", "")]))
        patch.setenv("OMP_NUM_THREADS", "1")
        yield


@pytest.fixture(scope="session")
def phantom(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("phantom")
    make_phantom(folder, num_patients=6, seed=1, image_size=(48, 56), num_slices=(6, 6), progress=False)
    return folder


@pytest.fixture(scope="session")
def reference(phantom, tmp_path_factory) -> Reference:
    """Return the folder of an uninterrupted run."""
    folder = tmp_path_factory.mktemp("reference")
    process = runs.start(runs.train, folder / "warm_up", phantom, max_epochs=1)  # waits for the server's imports
    assert runs.finish(process) == 0, (folder / "warm_up" / "log.txt").read_text()[-3000:]
    began = time.monotonic()
    process = runs.start(runs.train, folder / "run", phantom)
    assert runs.finish(process) == 0, (folder / "run" / "log.txt").read_text()[-3000:]
    return Reference(folder / "run", time.monotonic() - began)
