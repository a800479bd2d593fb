# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
"""3D Slicer markups of type ROI, including rotated ones."""

from __future__ import annotations

import os
import re
import unicodedata
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from monai_bbox_mil.annotations.geometry import LPS_TO_RAS, map_points
from monai_bbox_mil.annotations.image_names import name_without_extension
from monai_bbox_mil.annotations.interface import Annotation, AnnotationFormat, ClassLabel
from monai_bbox_mil.annotations.parsing import parse_json
from monai_bbox_mil.annotations.placing import volume_corners
from monai_bbox_mil.annotations.records import FileBox, as_number, label_key
from monai_bbox_mil.annotations.values import items_of, numbers_of, shown, values_of

__all__ = ["FORMAT"]


def _read(content: Any, annotation: Annotation) -> tuple[str, list[FileBox]]:
    """Read ROIs of schema 1.0. Their axes are the columns of the row-major ``orientation``."""
    boxes = []
    from_file = _words_of_file(annotation.name, annotation.frame.path)
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
            labels = _roi_labels(markup, point, annotation.classes is None, from_file)
            boxes.append(FileBox(corners, labels, place))
    return "world", boxes


# What Slicer calls an ROI, and so its control points, unless the user renames it before placing it.
_UNNAMED = re.compile(r"(?P<kind>MarkupsROI|ROI|R)?(?:[-_ ]?[0-9]+)*", re.IGNORECASE)
# What a file's name says that is no class.
_NO_CLASS = re.compile(r"(?:rois?|markups?|bbox(?:es)?|box(?:es)?|annotations?|labels?)?", re.IGNORECASE)


def _roi_labels(
    markup: Mapping[str, Any], point: Mapping[str, Any], numbers_only: bool, from_file: Sequence[str] = ()
) -> tuple[Any, ...]:
    """Return what may name an ROI's class, best first.

    MONAI's detection bundles write ``label: {"value": ..}``. Slicer does not write the node's name into the file. Users
    see it in the first control point's label, as name and number ("prostate-1"), and can type a description beside it.
    Where the ROI was renamed after it was placed, that label is still "R-1", and the file is named after the node.
    """
    value = markup.get("label")
    value = value.get("value") if isinstance(value, Mapping) else value
    if numbers_only:
        return () if value is None else (value,)
    label = point.get("label")
    numbered = label.rpartition("-")[0] if isinstance(label, str) else None
    unnamed = _UNNAMED.fullmatch(label.strip() if isinstance(label, str) else "")
    words = (label, numbered, *from_file) if unnamed is None else (*from_file, label, numbered, unnamed["kind"])
    texts = (value, markup.get("name"), point.get("description"), *words)
    return tuple(dict.fromkeys(text for text in texts if isinstance(text, (str, int, float)) and text != ""))


def _words_of_file(name: str, image: str | None) -> tuple[str, ...]:
    """Return what a file's name adds to the image's, without a number at the end first.

    Example:
        >>> _words_of_file("/data/case1_liver_2.mrk.json", "/data/case1.nii.gz")
        ('liver', 'liver_2')
        >>> _words_of_file("/data/p1.mrk.json", "/data/case1.nii.gz")  # may be the name of a patient
        ()
    """
    # Programs on macOS write accents apart, others do not.
    file, stem = (unicodedata.normalize("NFC", text) for text in (name, name_without_extension(image or "")))
    found = re.fullmatch(r"(.+?)(?:\.mrk)?\.json", os.path.basename(file), re.IGNORECASE)
    if found is None or not stem or not found[1].startswith(stem):
        return ()
    word = found[1].removeprefix(stem).strip("-_. ")
    short = re.sub(r"[-_. ]*[0-9]+$", "", word)
    return () if _NO_CLASS.fullmatch(short) else tuple(dict.fromkeys((short, word)))


def _labels(content: Any, name: str, image: str | None) -> list[ClassLabel]:
    """Return the best name of each ROI, without the numbers that Slicer puts behind names."""
    found = []
    for markup in items_of(values_of(content, ["markups"], name)[0], f"{name}, markups"):
        if not isinstance(markup, Mapping) or markup.get("type") != "ROI":
            continue
        points = markup.get("controlPoints")
        point = points[0] if isinstance(points, list) and points and isinstance(points[0], Mapping) else {}
        words = _roi_labels(markup, point, False, _words_of_file(name, image))
        if words and words[0] == point.get("label"):
            # All ROIs that nobody has named are of one class: R-1, R_1-1.
            text = str(words[0]).strip()
            unnamed, numbered = _UNNAMED.fullmatch(text), re.fullmatch(r"(.+)-[0-9]+", text)
            found.append((unnamed["kind"] if unnamed else None) or (numbered[1] if numbered else text))
        elif words:
            found.append(label_key(words[0]))
    return [ClassLabel(label, as_number(label)) for label in dict.fromkeys(found)]


def holds_rois(content: Any) -> bool:
    """Return whether a markups file has an ROI; one of points or lines has not."""
    markups = content.get("markups") if isinstance(content, Mapping) else None
    return isinstance(markups, list) and any(isinstance(m, Mapping) and m.get("type") == "ROI" for m in markups)


FORMAT = AnnotationFormat(
    name="slicer",
    suffixes=(".json",),
    parse=parse_json,
    read=_read,
    recognise=lambda content: isinstance(content, Mapping) and "markups" in content,
    expects="'markups' (3D Slicer)",
    inline=True,
    resembles=holds_rois,
    labels=_labels,
)
