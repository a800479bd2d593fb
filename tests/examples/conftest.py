# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from pathlib import Path

# The examples train where they are imported, and the search for doctests would import them.
collect_ignore = [path.name for path in Path(__file__).parent.glob("*.py") if not path.name.startswith("test_")]
