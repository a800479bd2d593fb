# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
"""Name the header tags that distinguish slices at one position."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from monai_bbox_mil.annotations.dicom_headers import DISTINGUISHING_TAGS
from monai_bbox_mil.annotations.dicom_slices import DicomSlice

__all__ = ["how_they_differ", "name_groups"]

_MOST_GROUPS = 5


def how_they_differ(slices: Sequence[DicomSlice], together: Sequence[DicomSlice]) -> str:
    """Return a sentence on how slices at one position differ and one on what to do, both after a space.

    Args:
        slices: all slices of the image.
        together: those at one position.

    Example:
        >>> from pathlib import Path
        >>> make = lambda name, echo: DicomSlice(Path(name), None, None, None, None, None, {"EchoTime": echo})
        >>> pair = [make("a.dcm", "5"), make("b.dcm", "80")]
        >>> how_they_differ(pair, pair)  # doctest: +NORMALIZE_WHITESPACE
        ' They differ in EchoTime: 5 (1 slice: a.dcm); 80 (1 slice: b.dcm). Give the slices of each value a folder of
        their own.'
    """
    frames = together[0].frame is not None
    copies = {each.tags.get("SOPInstanceUID") for each in together}
    if not frames and len(copies) == 1 and None not in copies:
        return " They are copies of one slice, with one SOPInstanceUID: delete one of them."
    differing = [name for name in DISTINGUISHING_TAGS if len({each.tags.get(name) for each in together}) > 1]
    do = "Convert each to a file of its own, for example with dcm2niix." if frames else ""
    if not differing:
        return f" No tag distinguishes them. {do or 'Leave the slices of one image only in the folder.'}"
    groups: dict[str, list[str]] = {}
    for each in slices:
        groups.setdefault(each.tags.get(differing[0], "none"), []).append(each.name)
    do = do or f"Give the slices of each {'value' if len(groups) <= _MOST_GROUPS else 'image'} a folder of their own."
    return f" They differ in {differing[0]}: {name_groups(groups)}. {do}"


def name_groups(groups: Mapping[str, Sequence[str]]) -> str:
    """List the values of a few groups of slices, with the number of slices and the first names of each.

    Example:
        >>> name_groups({"axial": ["1.dcm", "2.dcm", "3.dcm", "4.dcm"], "sagittal": ["5.dcm"]})
        'axial (4 slices: 1.dcm, 2.dcm, 3.dcm, ...); sagittal (1 slice: 5.dcm)'
    """
    described = [
        f"{value} ({len(names)} slice{'s' if len(names) > 1 else ''}: {', '.join(names[:3])}"
        f"{', ...' if len(names) > 3 else ''})"
        for value, names in list(groups.items())[:_MOST_GROUPS]
    ]
    return "; ".join(described) + (f"; and {len(groups) - _MOST_GROUPS} more" if len(groups) > _MOST_GROUPS else "")
