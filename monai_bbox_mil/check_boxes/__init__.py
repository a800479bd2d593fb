# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
"""Look through box annotations before a night of training, and write a page that shows what is wrong with them.

    python -m monai_bbox_mil.check_boxes --datalist datalist.json
    python -m monai_bbox_mil.check_boxes --dataset_dir IMAGES --label_values "[1,2]" --output box_check

Read are the images, box files and masks of a data list, or of a folder that training reads, by the same transforms.
Arguments have the names and meanings of bundle/configs/train.yaml. Written are, beside each other:

    check_boxes.html             summary, findings, histograms, a table of all images, pictures; opens from disk
    check_boxes_findings.csv     one row a finding
    check_boxes_boxes.csv        one row a box, in voxels of the image's file, before anything is clipped

Where an item has boxes and a mask, the mask is taken for the truth that the boxes are measured against.

Exit status: 0, 1 where there is a finding of severity error, 2 where the command or the data list is wrong.
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
