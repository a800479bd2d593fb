# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
from hypothesis import settings

# The same examples on every machine, however busy it is.
settings.register_profile("repeatable", derandomize=True, deadline=None, database=None, max_examples=40)
settings.load_profile("repeatable")

# One thread a process: test processes side by side would otherwise fight for the cores.
torch.set_num_threads(1)

# Without the extra dicom they cannot be imported; tests that need them skip themselves.
collect_ignore = ["dicom_files.py", "dicom_scene.py"]

REPOSITORY = Path(__file__).parents[1]
REAL_DATA = REPOSITORY.parent / "shared" / "data"


# Where there is no GPU the summary counts what was not run on one.
_NO_CUDA = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")


@pytest.fixture(params=["cpu", pytest.param("cuda", marks=_NO_CUDA)])
def device(request) -> torch.device:
    """Each device that tensors may be on."""
    return torch.device(request.param)


@pytest.fixture
def repository() -> Path:
    return REPOSITORY


@pytest.fixture
def real_data() -> Path:
    if not REAL_DATA.is_dir():
        pytest.skip(f"the real images are not here: {REAL_DATA}")
    return REAL_DATA


def pytest_collection_modifyitems(items):
    """Doctests of DICOM readers need the extra."""
    if find_spec("highdicom") is None:
        for item in items:
            if isinstance(item, pytest.DoctestItem) and "dicom" in item.name:
                item.add_marker(pytest.mark.skip(reason="the extra dicom (highdicom) is not installed"))
