# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
"""Check before the first epoch that the images of a data set contain objects to learn from."""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor

from monai_bbox_mil.boxes import unpack_boxes
from monai_bbox_mil.transforms.cropping import CropCount, crop_count
from monai_bbox_mil.transforms.loading import LoadCheckedImage

if TYPE_CHECKING:  # slices.py imports this module
    from monai_bbox_mil.data.slices import SliceDataset

__all__ = ["ObjectCount", "check_objects", "count_objects"]

_READ_AGAIN = 5  # masks, to say in an error which values they hold


class ObjectCount(NamedTuple):
    """Objects in the label of one image."""

    channels: frozenset[int]
    """Classes that have an object."""
    boxes: int
    """Boxes, without ignored ones; 0 where the label is a mask."""
    ignored: int
    """Ignored regions, such as components below ``min_size``."""
    crop: CropCount | None
    """Boxes that a crop cut or lost, where ``CropWithCountd`` counted them."""


def count_objects(item: Mapping[str, Any], image_key: str = "image", label_key: str = "label") -> ObjectCount:
    """Count the objects in an item's label, a box tensor ``(N, 2*D + 1)`` or a mask ``(C, *spatial)``.

    Example:
        >>> item = {"image": torch.zeros(1, 8, 8), "label": torch.tensor([[1.0, 1, 3, 3, 0], [4, 4, 5, 5, -2]])}
        >>> count_objects(item)
        ObjectCount(channels=frozenset({0}), boxes=1, ignored=1, crop=None)
    """
    crop = crop_count(item.get(image_key))
    label = item.get(label_key)
    if not isinstance(label, Tensor):
        return ObjectCount(frozenset(), 0, 0, crop)
    label = label.as_subclass(Tensor)
    if label.ndim == 2:
        _, classes, ignored = unpack_boxes(label)
        counted = classes[~ignored]
        return ObjectCount(frozenset(counted.tolist()), len(counted), int(ignored.sum()), crop)
    held = (channel for channel, voxels in enumerate(label) if bool(torch.count_nonzero(voxels)))
    return ObjectCount(frozenset(held), 0, 0, crop)


def check_objects(
    training: SliceDataset,
    validation: SliceDataset | None,
    class_names: Sequence[str],
    source: str | os.PathLike[str] = "data",
    label_values: Sequence[int] | None = None,
    image_size: Sequence[int] = (),
    min_size: int = 0,
    require_objects: bool = True,
    whole_boxes: bool = True,
    size_multiple: int = 16,
    square: bool = False,
    report: bool = True,
) -> None:
    """Refuse images in which there is nothing to learn, and warn of what is missing or cut.

    The counts were made when the data sets read their images, so this takes no time. A class that no training image
    holds cannot be learned, and a validation part without an object can choose neither a model nor a threshold.

    Args:
        training: data set of the training part.
        validation: data set of the validation part; ``None`` for no validation.
        class_names: one per channel.
        source: data list or folder, for messages.
        label_values: values of the classes in masks, for messages; ``None`` if every value above 0 is the only class.
        image_size: number of pixels after cropping along the first axes, for messages.
        min_size: number of pixels below which a component is ignored, for messages.
        require_objects: whether it is an error if a class is missing in the training part, or the validation part has
            no object. If not, it is a warning, for example for a site of a federation that has only some of the
            classes. A training part without any object is always an error.
        whole_boxes: whether each box of a label is a whole object, so that boxes can be counted.
        size_multiple: number by which the image sizes of the network are divisible, for the advice on ``image_size``.
        square: whether the network needs square images, for the same advice.
        report: whether to warn. With several processes, let only one of them warn.

    Raises:
        ValueError: with the counts, and with what to look at.

    Example:
        >>> from monai_bbox_mil.data import SliceDataset
        >>> empty = SliceDataset([{"image": torch.zeros(1, 8, 8), "label": torch.zeros(0, 5)}])
        >>> check_objects(empty, None, ["lesion"])
        Traceback (most recent call last):
        ValueError: data, training: expected an object to learn from, got none in 1 image (lesion: 0).
    """
    parts = {"training": _Part("training", training, class_names)}
    if validation is not None:
        parts["validation"] = _Part("validation", validation, class_names)
    faults: list[str] = []
    notes: list[str] = []
    for name, part in parts.items():
        advice = _advice(part, label_values, image_size, min_size)
        if not part.with_object:
            always = name == "training"
            aim = "an object to learn from" if always else "an object to choose model and threshold by"
            text = f"{source}, {name}: expected {aim}, got none in {part.counts()}.{advice}"
            (faults if always or require_objects else notes).append(text)
        elif part.missing:
            classes = ", ".join(part.missing)
            if name == "training":
                text = f"{source}, {name}: expected an object of each class, got none of {classes} in {part.counts()}."
                text += advice
                if require_objects:
                    text += (
                        " Leave the class out of label_values, class_names and box_classes, or give --require_objects "
                        "False where the network has learned it elsewhere."
                    )
                (faults if require_objects else notes).append(text)
            else:
                notes.append(
                    f"{source}, {name}: no object of {classes} in {part.counts()}, so its threshold stays 0.5."
                )
    if faults:
        raise ValueError(" ".join(faults))
    if validation is None:
        notes.append(
            f"{source}: no validation part, as in a data list of one patient. So model.pt will be the network of the "
            "last epoch, not of the best one, and its threshold 0.5, not calibrated. Give a list 'validation', or "
            "images of more patients."
        )
    cropped = _describe_crops(source, list(parts.values()), image_size, whole_boxes, size_multiple, square)
    if report:
        for text in [*notes, *cropped]:
            warnings.warn(text, stacklevel=2)


class _Part:
    """The counts of one part, added up."""

    def __init__(self, name: str, dataset: SliceDataset, class_names: Sequence[str]) -> None:
        self.name, self.items, self.objects = name, dataset.items, dataset.objects
        self.images = [sum(channel in o.channels for o in self.objects) for channel in range(len(class_names))]
        self.class_names = [str(each) for each in class_names]
        self.missing = [name for name, images in zip(self.class_names, self.images) if not images]
        self.with_object = sum(bool(o.channels) for o in self.objects)
        self.ignored = sum(o.ignored for o in self.objects)
        self.crops = [o.crop for o in self.objects if o.crop is not None and o.crop.cut + o.crop.lost]
        self.cut, self.lost = (sum(getattr(crop, what) for crop in self.crops) for what in ("cut", "lost"))

    def counts(self) -> str:
        """Describe the counts: ``"3 images, 2 of them with an object (a: 2, b: 0)"``."""
        number = f"{len(self.objects)} image{'' if len(self.objects) == 1 else 's'}"
        some = f", {self.with_object} of them with an object" if self.with_object else ""
        return f"{number}{some} ({', '.join(f'{n}: {i}' for n, i in zip(self.class_names, self.images))})"


def _advice(part: _Part, label_values: Sequence[int] | None, image_size: Sequence[int], min_size: int) -> str:
    """List possible reasons why objects are missing, each with the setting to look at."""
    if not part.missing:
        return ""
    found = []
    masks = [item["mask"] for item in part.items if isinstance(item, Mapping) and _is_files(item.get("mask"))]
    if masks and label_values is not None:
        found.append(_advice_on_values(masks, label_values))
    if part.ignored:
        found.append(f"Ignored are objects of fewer than min_size={min_size} pixels: {part.ignored}.")
    if part.lost:
        found.append(f"Boxes outside of the part that image_size={list(image_size)} leaves: {part.lost}.")
    if any(isinstance(item, Mapping) and item.get("box") is not None for item in part.items):
        found.append("Look at the box files: python -m monai_bbox_mil.check_boxes shows what is read of them.")
    return "".join(f" {text}" for text in found if text)


def _advice_on_values(masks: Sequence[Any], label_values: Sequence[int]) -> str:
    """List the values that a few of the masks hold; reading them again costs little beside the error that follows."""
    some = masks[:: max(1, len(masks) // _READ_AGAIN)][:_READ_AGAIN]
    values = sorted({value for mask in some for value in LoadCheckedImage()(mask).unique().tolist()})
    shown = ", ".join(f"{value:g}" for value in values[:10]) + (", ..." if len(values) > 10 else "")
    text = f"label_values is {list(label_values)}, and masks hold the values {shown}"
    others = [value for value in values if value not in (0, *label_values)]
    if not others or any(value % 1 for value in others):
        return f"{text}."
    if len(others) == len(label_values) or len(label_values) == 1:
        own = ",".join(f"{value:g}" for value in others[: len(label_values)])
        return f'{text}: give --label_values "[{own}]", if that is the object.'
    return f"{text}: give label_values those of the classes, in their order."


def _is_files(mask: Any) -> bool:
    paths = mask if isinstance(mask, (list, tuple)) else [mask]
    return bool(paths) and all(isinstance(path, (str, os.PathLike)) for path in paths)


def _describe_crops(
    source: str | os.PathLike[str],
    parts: Sequence[_Part],
    image_size: Sequence[int],
    whole_boxes: bool,
    size_multiple: int,
    square: bool,
) -> list[str]:
    """Describe in one line all boxes that are cut or lost, with the size that would hold them; nothing if none is."""
    lines, needed = [], [int(size) for size in image_size]
    for part in parts:
        if not part.crops:
            continue
        total = sum(o.boxes if o.crop is None else o.crop.total for o in part.objects)
        boxes = f"of {total} boxes {part.cut} are cut" if whole_boxes else f"boxes cut: {part.cut}"
        lost = f" and {part.lost} lost" if whole_boxes else f", lost: {part.lost}"
        lines.append(f"{part.name}: {boxes}{lost}, in {len(part.crops)} of {len(part.objects)} images")
        for axis, size in enumerate(needed):
            most = max(crop.size[axis] for crop in part.crops)
            if size > 0 and most > size:
                needed[axis] = max(needed[axis], -(-most // size_multiple) * size_multiple)
    if not lines:
        return []
    if square:
        needed = [max(needed)] * len(needed)
    typed = ",".join(map(str, needed))
    return [
        f"{source}: image_size={list(image_size)} is smaller than some images. {'; '.join(lines)}. A cut box is "
        "learned from as if it ended where the image does, a lost one not at all. "
        f'--image_size "[{typed}]" would hold them all.'
    ]
