# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
"""Read one item of a data list by the transforms of training; what cannot be read becomes a finding."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from functools import cache
from typing import Any, NamedTuple

from monai.data import MetaTensor
from torch import Tensor

from monai_bbox_mil.annotations import BoxFault, BoxSurvey, survey_boxes
from monai_bbox_mil.boxes import unpack_boxes
from monai_bbox_mil.check_boxes.findings import Finding
from monai_bbox_mil.check_boxes.options import CheckOptions
from monai_bbox_mil.data.splits import check_files
from monai_bbox_mil.transforms import EnsureVolumed, LabelToChannels, LoadCheckedImaged, MaskToBoxTensor

__all__ = ["LoadedItem", "boxes_of_mask", "load_item"]


class LoadedItem(NamedTuple):
    """The parts of an item that could be read."""

    image: MetaTensor | None
    """``(C, H, W, Z)`` as in its file; a 2D image has one slice."""
    mask: Tensor | None
    """``(classes, H, W, Z)`` uint8, as large as the image."""
    survey: BoxSurvey | None
    """Boxes along three axes, in voxels of the image; ``None`` without an annotation or mask that could be read."""
    drawn: bool
    """Whether the boxes come from an annotation; if not, they were cut from the mask."""
    findings: list[Finding]
    """What could not be read, and why."""


def load_item(item: Mapping[str, Any], options: CheckOptions) -> LoadedItem:
    """Read image, mask and boxes; as in training, boxes of an annotation take precedence over those of the mask.

    Args:
        item: entry of a data list, with ``image`` and ``mask`` or ``box``.
        options: how to interpret masks and labels.

    Example:
        >>> load_item({"image": "nowhere.png"}, CheckOptions()).findings[0].detail
        'image: expected all files to exist, got 1 missing: nowhere.png.'
    """
    findings: list[Finding] = []
    drawn = "box" in item
    image = _load_image(item, options, findings)
    if image is None:
        return LoadedItem(None, None, None, drawn, findings)
    mask = _load_mask(item, image, options, findings) if "mask" in item else None
    survey = None
    if drawn:
        survey = _survey(item, image, options, findings)
    elif mask is not None:
        boxes, classes = boxes_of_mask(mask, options, options.margin)
        names = [f"object {i + 1}" for i in range(len(boxes))]
        survey = BoxSurvey(boxes, boxes, "index", classes, names, [], classes < 0)
    elif "mask" not in item:
        findings.append(Finding("no_annotation", "the data list has neither a box nor a label (file of a mask)"))
    return LoadedItem(image, mask, survey, drawn, findings)


def boxes_of_mask(mask: Tensor, options: CheckOptions, margin: float = 0) -> tuple[Tensor, Tensor]:
    """Cut boxes from a mask as training does, without those of objects of fewer than ``min_size`` voxels.

    Args:
        mask: ``(classes, H, W, Z)``.
        options: give ``slice_dim``, ``min_size`` and ``margin_seed``.
        margin: voxels to add on each side.

    Returns:
        boxes ``(N, 6)`` float64 and classes ``(N,)``.

    Example:
        >>> import torch
        >>> boxes_of_mask(torch.ones(1, 2, 3, 1), CheckOptions())[0].tolist()
        [[0.0, 0.0, 0.0, 2.0, 3.0, 1.0]]
    """
    cut = MaskToBoxTensor(
        margin=margin, min_size=options.min_size, slice_dim=options.slice_dim, margin_seed=options.margin_seed
    )
    boxes, classes, ignored = unpack_boxes(cut(mask))
    return boxes[~ignored].double(), classes[~ignored]


@cache
def _loader(key: str, num_channels: int | None = None) -> LoadCheckedImaged:
    """Make the loader of training, once for all images."""
    return LoadCheckedImaged(key, num_channels, label_map=key == "mask")


def _load_image(item: Mapping[str, Any], options: CheckOptions, findings: list[Finding]) -> MetaTensor | None:
    """Load the image, even if it has another number of channels than training expects."""
    unusable: list[Finding] = []
    image = _load_volume(item, "image", unusable, options.in_channels)
    if image is None:
        unread: list[Finding] = []
        image = _load_volume(item, "image", unread)
        if image is not None:
            unusable = [Finding("wrong_channels", finding.detail) for finding in unusable]
    findings += unusable
    return image


def _load_volume(
    item: Mapping[str, Any], key: str, findings: list[Finding], num_channels: int | None = None
) -> MetaTensor | None:
    try:
        check_files([{key: item[key]}], key)
        volume = EnsureVolumed(key)(_loader(key, num_channels)({key: item[key]}))[key]
    except (OSError, ValueError) as error:
        findings.append(Finding(f"unreadable_{key}", _one_line(error)))
        return None
    assert isinstance(volume, MetaTensor)
    return volume


def _load_mask(
    item: Mapping[str, Any], image: MetaTensor, options: CheckOptions, findings: list[Finding]
) -> Tensor | None:
    """Load the mask, unless it cannot be used with the image."""
    volume = _load_volume(item, "mask", findings)
    if volume is None:
        return None
    if volume.shape[1:] != image.shape[1:]:
        sizes = [" x ".join(map(str, v.shape[1:])) for v in (image, volume)]
        findings.append(Finding("size_mismatch", f"image of {sizes[0]}, mask of {sizes[1]} voxels"))
        return None
    try:
        EnsureVolumed(["image", "mask"])({"image": image, "mask": volume})
    except ValueError as error:
        findings.append(Finding("place_mismatch", _one_line(error)))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # about values without a class, which are a finding below
            mask = LabelToChannels(options.label_values)(volume)
    except ValueError as error:
        findings.append(Finding("unreadable_mask", _one_line(error)))
        return None
    values = {round(float(value), 3) for value in volume.unique()[:1000]}
    unnamed = sorted(values - {0.0, *map(float, options.label_values or values)})
    if unnamed:
        shown = ", ".join(f"{value:g}" for value in unnamed[:10]) + (", ..." if len(unnamed) > 10 else "")
        findings.append(Finding("unnamed_values", f"values {shown}, label_values {list(options.label_values or ())}"))
    return mask.as_subclass(Tensor)


def _survey(
    item: Mapping[str, Any], image: MetaTensor, options: CheckOptions, findings: list[Finding]
) -> BoxSurvey | None:
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            survey = survey_boxes(item["box"], image, classes=options.box_classes, min_size=options.min_size or 2)
    except (OSError, TypeError, ValueError) as error:
        findings.append(Finding("unreadable_boxes", _one_line(error)))
        return None
    findings += [Finding("left_out", _one_line(warning.message)) for warning in caught]
    survey = _without_unknown_channels(survey, len(options.class_names))
    findings += [Finding(fault.kind, fault.message, box=fault.place) for fault in survey.faults]
    return survey


def _without_unknown_channels(survey: BoxSurvey, channels: int) -> BoxSurvey:
    """Turn boxes of channels that the network does not have into faults."""
    known = survey.classes < channels
    kept = known.nonzero().flatten()
    faults = [
        BoxFault(survey.places[index], "unknown_class", f"expected a channel 0 to {channels - 1}, got {channel}.")
        for index, channel in enumerate(survey.classes.tolist())
        if not known[index]
    ]
    return survey._replace(
        boxes=survey.boxes[kept],
        given=survey.given[kept],
        classes=survey.classes[kept],
        ignored=survey.ignored[kept],
        places=[survey.places[index] for index in kept.tolist()],
        faults=survey.faults + faults,
    )


def _one_line(error: object) -> str:
    """Shorten a message to one line; an error without a message gives its type."""
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= 400 else f"{text[:400]} ..."
