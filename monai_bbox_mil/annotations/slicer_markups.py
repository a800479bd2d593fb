# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
"""3D Slicer markups of type ROI, including rotated ones."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from monai_bbox_mil.annotations.geometry import LPS_TO_RAS, map_points
from monai_bbox_mil.annotations.interface import Annotation, AnnotationFormat
from monai_bbox_mil.annotations.parsing import parse_json
from monai_bbox_mil.annotations.placing import volume_corners
from monai_bbox_mil.annotations.records import FileBox
from monai_bbox_mil.annotations.values import items_of, numbers_of, shown, values_of

__all__ = ["FORMAT"]


def _read(content: Any, annotation: Annotation) -> tuple[str, list[FileBox]]:
    """Read ROIs of schema 1.0. Their axes are the columns of the row-major ``orientation``."""
    boxes = []
    for index, markup in enumerate(
        items_of(values_of(content, ["markups"], annotation.name)[0], f"{annotation.name}, markups")
    ):
        place = f"{annotation.name}, markups[{index}]"
        annotation.count_box(place)
        with annotation.one_box(place):
            kind = values_of(markup, ["type"], place)[0]
            if kind != "ROI":
                raise ValueError(f"{place}: expected a markup of type 'ROI', got {shown(kind)}.")
            points = items_of(markup.get("controlPoints", []), f"{place}, controlPoints")
            point = points[0] if points and isinstance(points[0], Mapping) else {}
            # Slicer itself uses the only control point as the centre where none is written.
            center = markup.get("center", point.get("position") if len(points) == 1 else None)
            size, center = values_of(
                {**markup, **({} if center is None else {"center": center})}, ["size", "center"], place
            )
            size, center = numbers_of(size, [3], f"{place}, size"), numbers_of(center, [3], f"{place}, center")
            turn = numbers_of(markup.get("orientation", np.eye(3).ravel()), [9], f"{place}, orientation")
            axes = torch.tensor(turn, dtype=torch.float64).reshape(3, 3)
            if not torch.allclose(axes.T @ axes, torch.eye(3, dtype=torch.float64), atol=1e-3):
                raise ValueError(f"{place}: expected an orientation of three unit vectors at right angles, got {turn}.")
            system, unit = markup.get("coordinateSystem", "LPS"), markup.get("coordinateUnits", "mm")
            unit = unit[0] if isinstance(unit, list) and unit else unit
            if system not in ("LPS", "RAS") or unit != "mm" or markup.get("insideOut", False):
                raise ValueError(
                    f"{place}: expected coordinateSystem 'LPS' or 'RAS', coordinateUnits 'mm' and insideOut false, "
                    f"got {shown(system)}, {shown(unit)} and {shown(markup.get('insideOut', False))}."
                )
            half = [value / 2 for value in size]
            corners = volume_corners([-value for value in half], half, "world", f"{place}, size", annotation.frame)
            matrix = torch.eye(4, dtype=torch.float64)
            matrix[:3, :3], matrix[:3, 3] = axes, torch.tensor(center, dtype=torch.float64)
            corners = map_points(corners, LPS_TO_RAS @ matrix if system == "LPS" else matrix)
            boxes.append(FileBox(corners, _roi_labels(markup, point, annotation.classes is None), place))
    return "world", boxes


def _roi_labels(markup: Mapping[str, Any], point: Mapping[str, Any], numbers_only: bool) -> tuple[Any, ...]:
    """Return what may name an ROI's class, best first.

    MONAI's detection bundles write ``label: {"value": ..}``. Slicer does not write the node's name into the file. Users
    see it in the first control point's label, as name and number ("prostate-1"), and can type a description beside it.
    """
    value = markup.get("label")
    value = value.get("value") if isinstance(value, Mapping) else value
    if numbers_only:
        return () if value is None else (value,)
    label = point.get("label")
    numbered = label.rpartition("-")[0] if isinstance(label, str) else None
    texts = (value, markup.get("name"), point.get("description"), label, numbered)
    return tuple(dict.fromkeys(text for text in texts if isinstance(text, (str, int, float)) and text != ""))


FORMAT = AnnotationFormat(
    name="slicer",
    suffixes=(".json",),
    parse=parse_json,
    read=_read,
    recognise=lambda content: isinstance(content, Mapping) and "markups" in content,
    expects="'markups' (3D Slicer)",
    inline=True,
)
