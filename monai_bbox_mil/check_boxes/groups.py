# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
"""Group the findings of all images by kind, as the page lists them."""

from __future__ import annotations

import os
from collections import defaultdict
from dataclasses import dataclass, field

from monai_bbox_mil.check_boxes.findings import KINDS, SEVERITIES, Finding
from monai_bbox_mil.check_boxes.reports import CheckResult, ImageReport

__all__ = ["Entry", "Group", "group_findings", "spell_finding"]


@dataclass
class Entry:
    """One sentence and the images it applies to; no image where it is about the data set."""

    sentence: str
    images: list[ImageReport] = field(default_factory=list)


@dataclass
class Group:
    """All findings of one kind."""

    kind: str
    count: int
    images: int
    entries: list[Entry]

    @property
    def severity(self) -> str:
        """Return how severe they are."""
        return KINDS[self.kind].severity

    @property
    def title(self) -> str:
        """Return the heading for all of them."""
        return KINDS[self.kind].title

    @property
    def advice(self) -> str:
        """Return what to do about them."""
        return KINDS[self.kind].advice


def group_findings(result: CheckResult) -> list[Group]:
    """Group findings by kind, the most severe and most frequent first; images with the same fault share an entry.

    Example:
        >>> from monai_bbox_mil.check_boxes.checking import check_items
        >>> (group,) = group_findings(check_items({"training": [{"image": "nowhere.png"}]}))
        >>> group.kind, group.count, group.images
        ('unreadable_image', 1, 1)
    """
    found: dict[str, list[tuple[ImageReport | None, Finding]]] = defaultdict(list)
    for image, finding in result.all_findings:
        found[finding.kind].append((image, finding))
    groups = []
    for kind, pairs in found.items():
        entries: dict[str, Entry] = {}
        for image, finding in pairs:
            sentence = spell_finding(image, finding)
            entry = entries.setdefault(sentence, Entry(sentence))
            if image is not None and (not entry.images or entry.images[-1] is not image):
                entry.images.append(image)
        numbers = {image.number for image, _ in pairs if image is not None}
        groups.append(Group(kind, len(pairs), len(numbers), list(entries.values())))
    return sorted(groups, key=lambda group: (SEVERITIES.index(group.severity), -group.count))


def spell_finding(image: ImageReport | None, finding: Finding) -> str:
    """Say what is wrong, without the image's path, because the page names the image beside it."""
    detail = finding.detail
    if image is not None and isinstance(path := image.item.get("image"), (str, os.PathLike)):
        detail = detail.removeprefix(f"{os.fspath(path)}: ")
    return f"{finding.box}: {detail}" if finding.box else detail
