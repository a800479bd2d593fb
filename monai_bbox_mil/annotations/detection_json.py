# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
"""Boxes as MONAI's detection transforms take them: a mapping with ``box`` and ``label``, or a bare list of boxes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from monai.data.box_utils import convert_box_to_standard_mode, get_boxmode

from monai_bbox_mil.annotations.geometry import LPS_TO_RAS, map_points
from monai_bbox_mil.annotations.interface import Annotation, AnnotationFormat, ClassLabel
from monai_bbox_mil.annotations.parsing import parse_json
from monai_bbox_mil.annotations.placing import volume_corners
from monai_bbox_mil.annotations.records import FileBox, as_number, label_key
from monai_bbox_mil.annotations.values import flag_of, items_of, numbers_of, shown, values_of

__all__ = ["FORMAT"]


def _read(content: Any, annotation: Annotation) -> tuple[str, list[FileBox]]:
    """Read the keys of MONAI's detection transforms."""
    entry = content if isinstance(content, Mapping) else {"box": content}
    rows = items_of(values_of(entry, ["box"], annotation.name)[0], f"{annotation.name}, box")
    space, system = entry.get("space", "index"), entry.get("coordinate_system", "RAS")
    if space not in ("index", "world") or system not in ("RAS", "LPS") or (space == "index" and system != "RAS"):
        raise ValueError(
            f"{annotation.name}: expected space 'index', or 'world' with coordinate_system 'RAS' or 'LPS', "
            f"got {shown(space)} with {shown(system)}."
        )
    labels, flags = (_one_per_box(entry, key, len(rows), annotation.name) for key in ("label", "ignored"))
    name = entry.get("box_mode")
    try:
        mode = get_boxmode(name)
    except ValueError as error:
        raise ValueError(
            f"{annotation.name}: expected a box_mode of monai.data.box_utils, got {shown(name)}."
        ) from error
    counts = [2 * dims for dims in (2, 3) if name is None or mode.get_name(dims) == name]
    boxes = []
    for index, row in enumerate(rows):
        place = f"{annotation.name}, box[{index}]"
        annotation.count_box(place)
        with annotation.one_box(place):
            numbers = torch.tensor([numbers_of(row, counts, place)], dtype=torch.float64)
            low, high = torch.as_tensor(convert_box_to_standard_mode(numbers, mode)).reshape(2, -1).tolist()
            corners = volume_corners(low, high, space, place, annotation.frame)
            if system == "LPS":
                corners = map_points(corners, LPS_TO_RAS)
            ignored = flags is not None and flag_of(flags[index], "ignored", place)
            boxes.append(FileBox(corners, () if labels is None else (labels[index],), place, ignored))
    return space, boxes


def _one_per_box(entry: Mapping[str, Any], key: str, count: int, name: str) -> list[Any] | None:
    """Return a list with one value per box, or ``None`` where there is none."""
    values = entry.get(key)
    if values is None:
        return None
    found = items_of(values, f"{name}, {key}")
    if len(found) != count:
        raise ValueError(f"{name}: expected one {key} per box ({count}), got {len(found)}.")
    return found


def _labels(content: Any, name: str, image: str | None) -> list[ClassLabel]:
    """Return the labels of all boxes."""
    values = content.get("label") if isinstance(content, Mapping) else None
    found = {label_key(value): value for value in ([] if values is None else items_of(values, f"{name}, label"))}
    return [ClassLabel(key, as_number(key)) for key in found]


def _recognise(content: Any) -> bool:
    """Return whether content is a mapping with boxes, or a bare list of boxes and not of Label Studio's tasks."""
    if isinstance(content, Mapping):
        return "box" in content
    first = content[0] if isinstance(content, list) and content else None
    return not (isinstance(first, Mapping) and "data" in first)


FORMAT = AnnotationFormat(
    name="json",
    suffixes=(".json",),
    parse=parse_json,
    read=_read,
    recognise=_recognise,
    expects="the key 'box'",
    inline=True,
    labels=_labels,
)
