# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
"""What the check knows of each image, and of the whole data list."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from monai_bbox_mil.check_boxes.findings import SEVERITIES, Finding
from monai_bbox_mil.check_boxes.options import CheckOptions
from monai_bbox_mil.transforms import CropCount

__all__ = ["CheckResult", "ImageReport"]


@dataclass
class ImageReport:
    """What the check found out about one image, without its voxels.

    Attributes:
        number: position in the data list, counted from 1.
        part: ``"training"``, ``"validation"`` or ``"test"``.
        name: path of the file, relative to the folder that all images share.
        item: its entry in the data list.
        drawn: whether the boxes come from an annotation; if not, they were cut from the mask.
        findings: what is wrong with it.
        shape: size along three axes in voxels; ``None`` when the image could not be read.
        spacing_mm: size of a voxel along the three axes.
        boxes: ``(N, 6)`` voxels, half-open, not clipped, without ignored regions.
        classes: ``(N,)`` channels.
        places: ``N`` positions of the boxes in the annotation, such as ``"row 2"``.
        margins: ``(N, 6)`` voxels around the mask's objects, see :func:`.box_margins`; NaN where unknown.
        digest: hash of the voxels.
        crop: how many boxes the crop of training cuts; ``None`` for an image without boxes.
    """

    number: int
    part: str
    name: str
    item: Mapping[str, Any]
    drawn: bool = False
    findings: list[Finding] = field(default_factory=list)
    shape: tuple[int, ...] | None = None
    spacing_mm: tuple[float, ...] = ()
    boxes: Tensor = field(default_factory=lambda: torch.zeros(0, 6))
    classes: Tensor = field(default_factory=lambda: torch.zeros(0, dtype=torch.int64))
    places: list[str] = field(default_factory=list)
    margins: Tensor = field(default_factory=lambda: torch.zeros(0, 6))
    digest: str = ""
    crop: CropCount | None = None

    @property
    def patient(self) -> str:
        """Name of the patient, empty where the data list has none."""
        return str(self.item.get("patient", ""))

    @property
    def severity(self) -> str:
        """Return the severity of the most severe finding, empty when there is none."""
        found = {finding.severity for finding in self.findings}
        return next((severity for severity in SEVERITIES if severity in found), "")


@dataclass
class CheckResult:
    """All that the check found.

    Attributes:
        images: one report per image, in the order of the data list.
        findings: about the data set as a whole.
        options: those of the check.
    """

    images: list[ImageReport]
    findings: list[Finding]
    options: CheckOptions

    @property
    def all_findings(self) -> list[tuple[ImageReport | None, Finding]]:
        """Return every finding with its image, or with ``None`` when it is about the data set."""
        whole: list[tuple[ImageReport | None, Finding]] = [(None, finding) for finding in self.findings]
        return whole + [(image, finding) for image in self.images for finding in image.findings]

    def count(self, severity: str) -> int:
        """Count the findings of one severity."""
        return sum(finding.severity == severity for _, finding in self.all_findings)
