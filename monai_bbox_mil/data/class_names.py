# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
"""The class names in the box files of a data list."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

from monai_bbox_mil.annotations.class_names import collect_class_names
from monai_bbox_mil.data.datalist_entries import first_image

__all__ = ["find_class_names"]


def find_class_names(parts: Mapping[str, Sequence[Mapping[str, Any]]]) -> list[str]:
    """Find the names of the classes in the boxes of a data list, so that they can become the classes of a network.

    Classes that a format numbers come first, in that order: the COCO categories that have boxes, by their ids, and the
    names in a YOLO folder's ``data.yaml`` or ``classes.txt``. Other names, such as those of Slicer ROIs, DICOM ROIs and
    the column ``label`` of a CSV table, are sorted. Where files have ids only, the ids are the names.

    Masks have values and no names, so they are not read.

    Args:
        parts: lists of items by name, as :func:`~monai_bbox_mil.data.get_datalist` returns them. All parts count.

    Returns:
        names in the order of the channels, for the setting ``box_classes``; an empty list where no box has a label, so
        that all boxes are of one class.

    Raises:
        ValueError, OSError: when a box file cannot be read.

    Example:
        >>> boxes = [{"box": [[1, 2, 5, 6]], "label": [name]} for name in ("spleen", "liver")]
        >>> find_class_names({"training": [{"image": "a.nii.gz", "box": box} for box in boxes]})
        ['liver', 'spleen']
    """
    items = (item for part in parts.values() for item in part if item.get("box") is not None)
    return collect_class_names((item["box"], os.fspath(first_image([dict(item)])) or None) for item in items)
