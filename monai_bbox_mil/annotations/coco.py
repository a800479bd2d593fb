# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
"""COCO: ``images``, ``annotations`` and ``categories`` of a whole data set."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from monai_bbox_mil.annotations.image_names import image_path, is_image
from monai_bbox_mil.annotations.interface import Annotation, AnnotationFormat
from monai_bbox_mil.annotations.parsing import parse_json
from monai_bbox_mil.annotations.placing import volume_corners
from monai_bbox_mil.annotations.records import BoxError, FileBox, label_key
from monai_bbox_mil.annotations.values import flag_of, items_of, numbers_of, values_of

__all__ = ["FORMAT"]


def _read(content: Any, annotation: Annotation) -> tuple[str, list[FileBox]]:
    """COCO; a crowd's box is not tight around one object, so it becomes an ignored region."""
    images, annotations = values_of(content, ["images", "annotations"], annotation.name)
    path = image_path(annotation)
    found = [
        image
        for index, image in enumerate(items_of(images, f"{annotation.name}, images"))
        if is_image(values_of(image, ["id", "file_name"], f"{annotation.name}, images[{index}]")[1], path)
    ]
    if len(found) != 1:
        raise ValueError(
            f"{annotation.name}: expected {path} once among the images, got {len(found)} of {len(images)}."
        )
    shape, given = annotation.frame.original_shape, (found[0].get("width"), found[0].get("height"))
    if shape is not None and None not in given and given != shape[:2]:
        raise ValueError(f"{annotation.name}: expected {path} to have width and height {shape[:2]}, got {given}.")
    names = {}
    for index, category in enumerate(items_of(content.get("categories", []), f"{annotation.name}, categories")):
        number, name = values_of(category, ["id", "name"], f"{annotation.name}, categories[{index}]")
        names[label_key(number)] = name
    # Category numbers mostly count from 1, and as channels each would be off by one without a sign of it.
    if annotation.classes is None and names and set(names) != set(map(str, range(len(names)))):
        raise ValueError(
            f"{annotation.name}: without classes the category ids must be 0, 1, .., got {names}; give classes."
        )
    boxes = []
    for index, entry in enumerate(items_of(annotations, f"{annotation.name}, annotations")):
        place = f"{annotation.name}, annotations[{index}]"
        if values_of(entry, ["image_id"], place)[0] != found[0]["id"]:
            continue
        annotation.count_box(place)
        with annotation.one_box(place):
            box, category = values_of(entry, ["bbox", "category_id"], place)
            key = label_key(category)
            if names and key not in names:
                message = f"{place}: expected a category_id among {list(names)}, got {category!r}."
                raise BoxError(message, "unknown_class")
            x, y, width, height = numbers_of(box, [4], place)
            corners = volume_corners([x, y], [x + width, y + height], "index", place, annotation.frame)
            ignored = any(flag_of(entry.get(name), name, place) for name in ("iscrowd", "ignore"))
            labels = (names[key], category) if annotation.classes and names else (category,)
            boxes.append(FileBox(corners, labels, place, ignored))
    return "index", boxes


FORMAT = AnnotationFormat(
    name="coco",
    suffixes=(".json",),
    parse=parse_json,
    read=_read,
    recognise=lambda content: isinstance(content, Mapping) and bool({"images", "annotations"} & {*content}),
    expects="'images' and 'annotations' (COCO)",
    inline=True,
)
