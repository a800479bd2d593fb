# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
from importlib.util import find_spec

# The examples in docstrings of the MONAI Label app need its environment: tests/monailabel/run
collect_ignore = [] if find_spec("monailabel") else ["monai_bbox_mil/apps"]
