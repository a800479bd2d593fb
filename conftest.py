# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
import random
from importlib.util import find_spec

import numpy as np
import pytest
import torch

from tests.processes import none_left_behind

# The examples in docstrings of the MONAI Label app need its environment: tests/monailabel/run
collect_ignore = [] if find_spec("monailabel") else ["monai_bbox_mil/apps"]


@pytest.fixture(scope="session", autouse=True)
def _no_process_left():
    """Tests end what they start: the session fails where one of their processes would outlive it."""
    with none_left_behind():
        yield


@pytest.fixture(autouse=True)
def _seeded():
    """The same draws in each test and each example of a docstring, in whatever order they run."""
    random.seed(0)
    np.random.seed(0)
    torch.manual_seed(0)
