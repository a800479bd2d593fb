# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
"""Check all images of a data list one after the other, then compare them with each other."""

from __future__ import annotations

import hashlib
import os
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from monai.data.utils import affine_to_spacing
from torch import Tensor
from tqdm import tqdm

from monai_bbox_mil.check_boxes.box_rules import find_box_faults
from monai_bbox_mil.check_boxes.contrast import box_contrasts, find_contrast_elsewhere
from monai_bbox_mil.check_boxes.coordinates import find_misplaced, find_wrong_coordinates
from monai_bbox_mil.check_boxes.crops import count_crop, find_too_small_a_crop
from monai_bbox_mil.check_boxes.findings import Finding
from monai_bbox_mil.check_boxes.ignored_regions import find_ignored_regions, is_mostly_within
from monai_bbox_mil.check_boxes.options import CheckOptions
from monai_bbox_mil.check_boxes.reading import LoadedItem, load_item
from monai_bbox_mil.check_boxes.reports import CheckResult, ImageReport
from monai_bbox_mil.check_boxes.tightness import compare_with_mask
from monai_bbox_mil.data.splits import shared_patients
from monai_bbox_mil.runs.texts import first_few

__all__ = ["check_items"]


def check_items(
    parts: Mapping[str, Sequence[Mapping[str, Any]]], options: CheckOptions | None = None, progress: bool = False
) -> CheckResult:
    """Check all items of a data list, as :func:`~monai_bbox_mil.data.get_datalist` returns it.

    Items of a part ``"test"`` that have neither boxes nor mask are left out.

    Args:
        parts: ``{"training": [...], "validation": [...]}`` with items of ``image``, ``mask`` or ``box``, ``patient``.
        options: how to interpret boxes and masks; the defaults when ``None``.
        progress: whether to show a progress bar.

    Returns:
        one report per image, and the findings about the data set.

    Example:
        >>> check_items({"training": [{"image": "nowhere.png"}]}).images[0].findings[0].kind
        'unreadable_image'
    """
    options = options or CheckOptions()
    entries = [
        (part, item) for part, items in parts.items() for item in items if part != "test" or {"box", "mask"} & {*item}
    ]
    paths = [_path(item) for _, item in entries]
    folder = os.path.commonpath([os.path.dirname(path) for path in paths]) if paths else ""
    images, contrasts = [], []
    for number, ((part, item), path) in enumerate(zip(tqdm(entries, "Checking", disable=not progress), paths), 1):
        image = ImageReport(number, part, os.path.relpath(path, folder or "."), item)
        contrasts.append(_check_item(image, options))
        images.append(image)
    _compare_images(images)
    crops = [(image.name, image.crop) for image in images if image.crop is not None]
    found = [
        *_find_shared_patients(parts),
        *_find_empty_parts(images, options),
        find_too_small_a_crop(crops, options),
        find_contrast_elsewhere(contrasts),
    ]
    return CheckResult(images, [finding for finding in found if finding is not None], options)


def _path(item: Mapping[str, Any]) -> str:
    """Return the absolute path of the image's file, or of the first of several files."""
    path = item["image"]
    absolute: str = os.path.abspath(path[0] if isinstance(path, (list, tuple)) else path)
    return absolute


def _check_item(report: ImageReport, options: CheckOptions) -> dict[str, float]:
    """Fill in the report; return the contrasts of drawn boxes without a mask to compare them with."""
    loaded = load_item(report.item, options)
    report.drawn = loaded.drawn
    report.findings += loaded.findings
    if loaded.image is None:
        return {}
    report.shape = tuple(loaded.image.shape[1:])
    report.spacing_mm = tuple(affine_to_spacing(loaded.image.affine).tolist())
    voxels = loaded.image.as_subclass(Tensor).contiguous().numpy()
    report.digest = hashlib.sha1(str(voxels.shape).encode() + voxels.tobytes()).hexdigest()
    if loaded.survey is None:
        return {}
    objects = ~loaded.survey.ignored
    report.boxes, report.classes = loaded.survey.boxes[objects], loaded.survey.classes[objects]
    report.places = [place for place, kept in zip(loaded.survey.places, objects.tolist()) if kept]
    report.margins = torch.full((len(report.boxes), 6), torch.nan)
    if not len(report.boxes) and not loaded.survey.faults:
        report.findings.append(Finding("no_box", f"the {'annotation' if loaded.drawn else 'mask'} is empty"))
    _check_boxes(report, loaded, options)
    if len(report.boxes):
        report.crop = count_crop(report.boxes, report.shape, report.spacing_mm, options)
    if not loaded.drawn or loaded.mask is not None:  # a mask is better evidence than grey values
        return {}
    return box_contrasts(loaded.image, report.boxes, options.plane_axes(report.shape))


def _check_boxes(report: ImageReport, loaded: LoadedItem, options: CheckOptions) -> None:
    """Add the findings about the boxes, and fill in their margins."""
    assert loaded.image is not None and loaded.survey is not None and report.shape is not None
    named = (report.boxes, report.classes, report.places)
    cause = find_wrong_coordinates(loaded.survey, loaded.image.affine, report.shape) if loaded.drawn else None
    faults = find_box_faults(*named, report.shape, options)
    regions, notes = find_ignored_regions(loaded.survey, report.shape, options)
    faults += notes
    if loaded.drawn and loaded.mask is not None and cause is None:
        cause = find_misplaced(report.boxes, report.classes, loaded.mask)
        if cause is None:
            report.margins, found = compare_with_mask(*named, loaded.mask, options)
            outside = {fault.region for fault in faults if fault.kind == "outside"}
            faults += [
                f
                for f in found
                if (f.kind != "box_without_object" or f.region not in outside)
                and (f.kind != "object_without_box" or not is_mostly_within(f.region, regions))
            ]
    if cause is not None:
        # One cause, one finding: where these boxes ended up adds nothing.
        faults = [fault for fault in faults if fault.kind not in ("outside", "partly_outside", "thick", "covers_image")]
        report.findings.append(cause)
    report.findings += faults


def _find_shared_patients(parts: Mapping[str, Sequence[Mapping[str, Any]]]) -> list[Finding]:
    """Find patients that are in more than one part."""
    return [
        Finding("patient_in_two_parts", f"in both {first} and {second}: {first_few(names, 20)}")
        for (first, second), names in shared_patients(parts).items()
    ]


def _find_empty_parts(images: Sequence[ImageReport], options: CheckOptions) -> list[Finding]:
    """Find parts without objects, which training refuses; files that cannot be read are findings of their own."""
    found = []
    for part in ("training", "validation"):
        members = [image for image in images if image.part == part]
        if not members or any(finding.severity == "error" for image in members for finding in image.findings):
            continue
        counts = torch.cat([image.classes for image in members]).bincount(minlength=len(options.class_names)).tolist()
        if not all(counts) if part == "training" else not any(counts):
            listed = ", ".join(f"{name}: {count}" for name, count in zip(options.class_names, counts))
            found.append(Finding("no_object", f"{part}, {len(members)} image(s), objects: {listed}"))
    return found


def _compare_images(images: Sequence[ImageReport]) -> None:
    """Add a finding to every image that has the same file or voxels as an earlier one."""
    groups = defaultdict(list)
    for image in images:
        if image.digest:
            groups[image.digest].append(image)
    for group in groups.values():
        first = group[0]
        for image in group[1:]:
            same = "file" if Path(_path(image.item)).resolve() == Path(_path(first.item)).resolve() else "voxels"
            kind = "image_twice" if image.part == first.part else "image_in_two_parts"
            image.findings.append(Finding(kind, f"same {same} as {first.name} ({first.part})"))
