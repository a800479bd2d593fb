# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
"""Check box annotations before a long training, and write a page that shows what is wrong with them.

    python -m monai_bbox_mil.check_boxes --datalist datalist.json
    python -m monai_bbox_mil.check_boxes --dataset_dir IMAGES --label_values "[1,2]" --output box_check

The check reads the images, box files and masks of a data list, or of a folder, by the transforms of training. Arguments
have the names and meanings of bundle/configs/train.yaml. It writes three files side by side:

    check_boxes.html             summary, findings, histograms, a table of all images, pictures; opens in any browser
    check_boxes_findings.csv     one row per finding
    check_boxes_boxes.csv        one row per box, in voxels of the image's file, not clipped

Where an item has boxes and a mask, the boxes are compared with the mask.

Exit status: 0; 1 if there is a finding of severity error; 2 if the command or the data list is wrong.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

_HOMES = {
    "CheckOptions": "options",
    "CheckResult": "reports",
    "Finding": "findings",
    "ImageReport": "reports",
    "KINDS": "findings",
    "check_items": "checking",
    "table_paths": "tables",
    "write_page": "page",
    "write_tables": "tables",
}

__all__ = sorted(_HOMES)


def __getattr__(name: str) -> Any:
    # Loaded when first used: --help does not wait for MONAI.
    if name in _HOMES:
        return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
