# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
"""Label Studio: tasks as JSON, with the annotations of people or the predictions of a model."""

from __future__ import annotations

import re
import warnings
from collections.abc import Mapping
from typing import Any, NamedTuple
from urllib.parse import parse_qs, unquote, urlsplit

from monai_bbox_mil.annotations.image_names import ImageEntry, ImageNames
from monai_bbox_mil.annotations.interface import Annotation, AnnotationFormat, ClassLabel
from monai_bbox_mil.annotations.label_studio_regions import region_corners, region_labels
from monai_bbox_mil.annotations.parsing import parse_json
from monai_bbox_mil.annotations.records import FileBox
from monai_bbox_mil.annotations.values import items_of, shown, values_of

__all__ = ["FORMAT"]

_RESULTS = ("annotations", "predictions")
# Label Studio puts eight digits in front of the name of an uploaded file, and files of a project in one folder.
_UPLOADED = re.compile("/data/upload/(.*/)?([0-9a-f]{8}-)?")


class _Tasks(NamedTuple):
    """The tasks of a file, found by their images, with their positions in the file."""

    names: ImageNames
    tasks: tuple[tuple[str, Mapping[str, Any]], ...]


def _is_task(item: Any) -> bool:
    return isinstance(item, Mapping) and isinstance(item.get("data"), Mapping) and bool({*_RESULTS} & {*item})


def _recognise(content: Any) -> bool:
    if isinstance(content, Mapping):
        return _is_task(content) and "images" not in content  # of COCO
    return isinstance(content, list) and bool(content) and _is_task(content[0])


def _index(content: Any, name: str) -> _Tasks:
    found: dict[str, tuple[str, Mapping[str, Any]]] = {}
    for index, task in enumerate([content] if isinstance(content, Mapping) else items_of(content, name)):
        place = f"{name}, tasks[{index}]"
        (data,) = values_of(task, ["data"], place)
        text = _image_of(data, place)
        if found.setdefault(text, (place, task)) != (place, task):
            raise ValueError(f"{place}: expected one task per image, got {shown(text)}, which {found[text][0]} has.")
    return _Tasks(ImageNames([ImageEntry(text) for text in found]), tuple(found.values()))


def _image_of(data: Any, place: str) -> str:
    """Return the path of a task's image. The key is the one that the project's settings name, usually ``image``."""
    texts = {key: value for key, value in data.items() if isinstance(value, str)} if isinstance(data, Mapping) else {}
    if "image" not in texts and len(texts) != 1:
        raise ValueError(f"{place}, data: expected the image under 'image', got {shown(data)}.")
    text = texts.get("image") or next(iter(texts.values()))
    if "://" not in text and not text.startswith("/data/"):
        return text
    try:
        address = urlsplit(text)
    except ValueError as error:
        raise ValueError(f"{place}, data: expected the address of an image, got {shown(text)}: {error}.") from error
    local = parse_qs(address.query, errors="surrogateescape").get("d")
    path = local[0] if local else unquote(address.path, errors="surrogateescape")
    return _UPLOADED.sub("", path, count=1) if path.startswith("/data/upload/") else path


def _read(tasks: _Tasks, annotation: Annotation) -> tuple[str, list[FileBox]]:
    """Read the regions of one image."""
    found = tasks.names.find_one(annotation, "a task for {}")
    if annotation.frame.original_shape is None:
        raise ValueError(
            f"{annotation.name}: Label Studio's percentages need the size of the image's file, which "
            f"{annotation.frame.name} lacks."
        )
    place, task = tasks.tasks[found]
    results = _results(task, place)
    named = _naming(results, place)
    boxes = []
    for number, item in enumerate(results):
        where = f"{place}, result[{number}]"
        if item["type"] in ("labels", "relation"):
            continue
        with annotation.one_box(where):
            corners = region_corners(item, where, annotation.frame)
            if corners is None:
                continue  # a choice or a text, about the whole image
            annotation.count_box(where)
            boxes.append(FileBox(corners, region_labels(item, named.get(shown(item.get("id"))), where), where))
    return "index", boxes


def _labels(tasks: _Tasks, name: str, image: str | None) -> list[ClassLabel]:
    """Return the labels of all regions."""
    found: dict[str, None] = {}
    for place, task in tasks.tasks:
        results = _results(task, place)
        named = _naming(results, place)
        for number, item in enumerate(results):
            naming = named.get(shown(item.get("id")))
            # A choice or a text about the whole image is no label.
            if item["type"] != "labels" and (naming or str(item["type"]).endswith("labels")):
                found |= dict.fromkeys(map(str, region_labels(item, naming, f"{place}, result[{number}]")))
    return [ClassLabel(label) for label in found]


def _naming(results: list[Any], place: str) -> dict[str, Any]:
    """Return by id the results that name the classes of shapes, which have none of their own."""
    return {shown(item.get("id")): item for item in results if _kind(item, place) == "labels"}


def _kind(item: Any, place: str) -> Any:
    return values_of(item, ["type"], f"{place}, result")[0]


def _results(task: Mapping[str, Any], place: str) -> list[Any]:
    """Return the regions of the one annotation that counts, or of the prediction where nobody annotated the image."""
    submitted = [each for each in _listed(task, "annotations", place) if not each.get("was_cancelled")]
    chosen = [each for each in submitted if each.get("ground_truth")] or submitted
    if len(chosen) > 1:
        raise ValueError(
            f"{place}: expected one annotation, got {len(chosen)} of the same image. Mark one as ground truth in Label "
            "Studio, or delete the others."
        )
    if not chosen:
        chosen = _listed(task, "predictions", place)
        if len(chosen) != 1:
            raise ValueError(
                f"{place}: expected an annotation that was submitted, or one prediction, got no annotation and "
                f"{len(chosen)} predictions. Submit an annotation without regions where the image has no object."
            )
        warnings.warn(f"{place}: nobody annotated this image, so the prediction of a model is read.", stacklevel=4)
    return items_of(values_of(chosen[0], ["result"], place)[0], f"{place}, result")


def _listed(task: Mapping[str, Any], key: str, place: str) -> list[Mapping[str, Any]]:
    entries = items_of(task.get(key) or [], f"{place}, {key}")
    for index, entry in enumerate(entries):
        values_of(entry, ["result"], f"{place}, {key}[{index}]")
    return entries


FORMAT = AnnotationFormat(
    name="label_studio",
    suffixes=(".json",),
    parse=parse_json,
    read=_read,
    recognise=_recognise,
    expects="tasks with 'data' and 'annotations' (Label Studio)",
    by_image=_index,
    inline=True,
    image_names=lambda tasks: tasks.names,
    labels=_labels,
)
