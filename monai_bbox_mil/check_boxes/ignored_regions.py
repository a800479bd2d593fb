# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
"""Note regions that an annotation marks as neither positive nor negative; they are not checked like boxes."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from monai_bbox_mil.annotations import BoxSurvey
from monai_bbox_mil.check_boxes.box_rules import box_finding, find_box_faults
from monai_bbox_mil.check_boxes.findings import Finding
from monai_bbox_mil.check_boxes.options import CheckOptions

__all__ = ["find_ignored_regions", "is_mostly_within"]

_MOSTLY = 0.5


def find_ignored_regions(
    survey: BoxSurvey, shape: tuple[int, ...], options: CheckOptions
) -> tuple[Tensor, list[Finding]]:
    """Return the regions of an annotation that training ignores, with one note for each.

    Args:
        survey: boxes of three axes in voxels of the image.
        shape: size of the image along three axes, in voxels.
        options: give the names of the classes.

    Returns:
        regions ``(N, 6)`` in voxels, and the findings; a region outside of the image is a finding, as for any box.

    Example:
        >>> box = torch.tensor([[1.0, 1, 0, 5, 6, 1]])
        >>> survey = BoxSurvey(box, box, "index", torch.tensor([0]), ["box[0]"], [], torch.tensor([True]))
        >>> [finding.kind for finding in find_ignored_regions(survey, (9, 9, 1), CheckOptions())[1]]
        ['ignored_region']
    """
    rows = survey.ignored.nonzero().flatten().tolist()
    regions, classes = survey.boxes[rows], survey.classes[rows]
    places = [survey.places[row] for row in rows]
    faults = find_box_faults(regions, classes, places, shape, options)
    notes = [
        box_finding("ignored_region", f"of {options.class_names[channel]}", regions, places, index)
        for index, channel in enumerate(classes.tolist())
    ]
    return regions, notes + [fault for fault in faults if fault.kind in ("outside", "partly_outside")]


def is_mostly_within(region: Sequence[float] | None, others: Tensor) -> bool:
    """Return whether at least half of a region ``(6,)`` lies in one of the others ``(N, 6)``.

    Example:
        >>> is_mostly_within((0, 0, 0, 4, 4, 1), torch.tensor([[2.0, 0, 0, 9, 9, 1]]))
        True
    """
    if region is None:
        return False
    box = torch.as_tensor(region, dtype=others.dtype)
    sides = torch.minimum(box[3:], others[:, 3:]) - torch.maximum(box[:3], others[:, :3])
    return bool((sides.clamp(min=0).prod(dim=1) >= _MOSTLY * (box[3:] - box[:3]).prod()).any())
