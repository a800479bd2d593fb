# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
"""COCO: ``images``, ``annotations`` and ``categories`` of a whole data set."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from monai_bbox_mil.annotations.coco_corners import corners_of, needs_outline
from monai_bbox_mil.annotations.image_names import ImageEntry, ImageNames, image_path
from monai_bbox_mil.annotations.interface import Annotation, AnnotationFormat, ClassLabel
from monai_bbox_mil.annotations.parsing import parse_json
from monai_bbox_mil.annotations.records import BoxError, FileBox, as_number, label_key
from monai_bbox_mil.annotations.values import flag_of, items_of, numbers_of, shown, values_of

__all__ = ["FORMAT"]


class _Image(NamedTuple):
    """One image of the file: its size as written, and its annotations with their positions."""

    size: tuple[Any, Any]
    annotations: list[tuple[int, dict[str, Any]]]


class _Index(NamedTuple):
    """The parts of a file that reading needs. Outlines take most of its memory, so only the needed ones stay."""

    names: ImageNames
    images: tuple[_Image, ...]
    categories: dict[str, Any]
    unmatched: str
    """What is wrong with the annotations if none of them belongs to an image, else empty."""


def _index(content: Any, name: str) -> _Index:
    """Index a file: its images by file name, with the annotations of each. Ids are compared as text."""
    images, annotations = values_of(content, ["images", "annotations"], name)
    found: dict[str, tuple[ImageEntry, _Image]] = {}
    for index, image in enumerate(items_of(images, f"{name}, images")):
        place = f"{name}, images[{index}]"
        number, file_name = values_of(image, ["id", "file_name"], place)
        entry = ImageEntry(str(file_name))
        known = found.setdefault(label_key(number), (entry, _Image((image.get("width"), image.get("height")), [])))
        if known[0] != entry:
            raise ValueError(f"{place}: expected a unique id, got {shown(number)}, which {known[0].words} already has.")
    unmatched = []
    for index, entry in enumerate(items_of(annotations, f"{name}, annotations")):
        (number,) = values_of(entry, ["image_id"], f"{name}, annotations[{index}]")
        owner = found.get(label_key(number))
        if owner is None:
            unmatched.append(number)
        else:
            owner[1].annotations.append((index, _needed(entry)))
    names = ImageNames([entry for entry, _ in found.values()])
    unknown = _describe_unmatched(unmatched, len(annotations)) if unmatched else ""
    if unknown and len(unmatched) < len(annotations):
        # A file may list the images of one part of a data set and the annotations of all.
        warnings.warn(f"{name}: {unknown}; these annotations are left out.", stacklevel=2)
        unknown = ""
    return _Index(names, tuple(image for _, image in found.values()), _categories(content, name), unknown)


def _needed(entry: Mapping[str, Any]) -> dict[str, Any]:
    """Return an annotation without its outlines, unless only they say what its box is."""
    return {key: value for key, value in entry.items() if key != "segmentation" or needs_outline(entry)}


def _describe_unmatched(ids: Sequence[Any], count: int) -> str:
    some = ", ".join(dict.fromkeys(map(shown, ids[:5])))
    return (
        f"expected the image_id of each annotation among the ids of the images, got {len(ids)} of {count} annotations "
        f"with another image_id, such as {some}"
    )


def _categories(content: Mapping[str, Any], name: str) -> dict[str, Any]:
    names: dict[str, Any] = {}
    for index, category in enumerate(items_of(content.get("categories") or [], f"{name}, categories")):
        place = f"{name}, categories[{index}]"
        number, word = values_of(category, ["id", "name"], place)
        if names.setdefault(label_key(number), word) != word:
            raise ValueError(f"{place}: expected a unique id, got {shown(number)}, which another one already has.")
    return names


def _read(index: _Index, annotation: Annotation) -> tuple[str, list[FileBox]]:
    """Read the boxes of one image. A crowd's box is not tight around one object, so it becomes an ignored region."""
    image, names = _image(index, annotation), index.categories
    # Category ids usually start at 1. Used as channels, each would be off by one, and nobody would notice.
    if annotation.classes is None and names and set(names) != set(map(str, range(len(names)))):
        raise ValueError(
            f"{annotation.name}: without classes the category ids must be 0, 1, .., got {shown(names)}; give classes."
        )
    boxes = []
    for number, entry in image.annotations:
        place = f"{annotation.name}, annotations[{number}]"
        annotation.count_box(place)
        with annotation.one_box(place):
            _, category = values_of(entry, ["bbox", "category_id"], place)
            key = label_key(category)
            if names and key not in names:
                message = f"{place}: expected a category_id among {shown(list(names))}, got {shown(category)}."
                raise BoxError(message, "unknown_class")
            corners = corners_of(entry, place, annotation.frame)
            ignored = any(flag_of(entry.get(flag), flag, place) for flag in ("iscrowd", "ignore"))
            labels = (names[key], category) if annotation.classes and names else (category,)
            boxes.append(FileBox(corners, labels, place, ignored))
    return "index", boxes


def _image(index: _Index, annotation: Annotation) -> _Image:
    path = image_path(annotation)
    found = index.names.find_one(annotation, "{} once among the images")
    if index.unmatched:
        raise ValueError(f"{annotation.name}: {index.unmatched}.")
    image, shape = index.images[found], annotation.frame.original_shape
    if shape is not None and None not in image.size:
        given = numbers_of(list(image.size), [2], f"{annotation.name}, width and height of {path}")
        if given != list(shape[:2]):
            raise ValueError(
                f"{annotation.name}: expected {path} to have width and height {shape[:2]}, got {image.size}."
            )
    return image


def _labels(index: _Index, name: str, image: str | None) -> list[ClassLabel]:
    """Return the categories that have boxes, in the order of their ids."""
    used = (entry.get("category_id") for image in index.images for _, entry in image.annotations)
    ids = {label_key(category): category for category in used if category is not None}
    return [ClassLabel(str(index.categories.get(key, category)), as_number(key)) for key, category in ids.items()]


FORMAT = AnnotationFormat(
    name="coco",
    suffixes=(".json",),
    parse=parse_json,
    read=_read,
    recognise=lambda content: isinstance(content, Mapping) and bool({"images", "annotations"} & {*content}),
    expects="'images' and 'annotations' (COCO)",
    by_image=_index,
    inline=True,
    image_names=lambda index: index.names,
    labels=_labels,
)
