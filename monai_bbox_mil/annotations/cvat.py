# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
"""CVAT XML 1.1 "for images": boxes, also turned ones, polygons, ellipses and masks of a whole task."""

from __future__ import annotations

from typing import NamedTuple
from xml.etree.ElementTree import Element

import numpy as np
from torch import Tensor

from monai_bbox_mil.annotations.frame import ImageFrame
from monai_bbox_mil.annotations.image_names import ImageEntry, ImageNames, image_path
from monai_bbox_mil.annotations.interface import Annotation, AnnotationFormat, ClassLabel
from monai_bbox_mil.annotations.parsing import parse_xml
from monai_bbox_mil.annotations.placing import turned_corners, volume_corners
from monai_bbox_mil.annotations.records import FileBox
from monai_bbox_mil.annotations.values import numbers_of, shown, values_of

__all__ = ["FORMAT"]

# A tag is a label of the whole image.
_NO_SHAPE = ("tag",)


class _Task(NamedTuple):
    """The images of a file, found by their names."""

    names: ImageNames
    images: tuple[Element, ...]


def _index(root: Element, name: str) -> _Task:
    images = root.findall("image")
    if not images and root.find("track") is not None:
        raise ValueError(
            f"{name}: expected images, got the tracks of a video; export the task from CVAT as 'CVAT for images 1.1'."
        )
    entries: dict[str, None] = {}
    for index, image in enumerate(images):
        (text,) = values_of(image.attrib, ["name"], f"{name}, image[{index}]")
        if text in entries:
            raise ValueError(f"{name}, image[{index}]: expected a name for each image, got {shown(text)} twice.")
        entries[text] = None
    return _Task(ImageNames([ImageEntry(text) for text in entries]), tuple(images))


def _read(task: _Task, annotation: Annotation) -> tuple[str, list[FileBox]]:
    """Read the shapes of one image."""
    image = _image(task, annotation)
    boxes = []
    for number, shape in enumerate(image):
        if shape.tag in _NO_SHAPE:
            continue
        place = f"{annotation.name}, {image.get('name')}, {shape.tag}[{number}]"
        annotation.count_box(place)
        with annotation.one_box(place):
            corners = _corners(shape, place, annotation.frame)
            (label,) = values_of(shape.attrib, ["label"], place)
            boxes.append(FileBox(corners, (label,), place))
    return "index", boxes


def _image(task: _Task, annotation: Annotation) -> Element:
    path = image_path(annotation)
    found = task.names.find_one(annotation, "{} once among the images")
    image, shape = task.images[found], annotation.frame.original_shape
    size = [image.get("width"), image.get("height")]
    if shape is not None and None not in size:
        given = numbers_of(size, [2], f"{annotation.name}, width and height of {path}")
        if given != list(shape[:2]):
            raise ValueError(f"{annotation.name}: expected {path} to have width and height {shape[:2]}, got {given}.")
    return image


def _corners(shape: Element, place: str, frame: ImageFrame) -> Tensor:
    """Return the corners ``(8, 3)`` of a shape's box, in pixels."""
    degrees = numbers_of([shape.get("rotation", "0")], [1], f"{place}, rotation")[0]
    if shape.tag == "box":
        left, top, right, bottom = _numbers(shape, ("xtl", "ytl", "xbr", "ybr"), place)
        return turned_corners(left, top, right - left, bottom - top, degrees, place, frame)
    if shape.tag == "ellipse":
        x, y, across, down = _numbers(shape, ("cx", "cy", "rx", "ry"), place)
        angle = np.radians(degrees)
        half = (
            np.hypot(across * np.cos(angle), down * np.sin(angle)),
            np.hypot(across * np.sin(angle), down * np.cos(angle)),
        )
        return volume_corners([x - half[0], y - half[1]], [x + half[0], y + half[1]], "index", place, frame)
    if shape.tag == "polygon":
        (text,) = values_of(shape.attrib, ["points"], place)
        points = np.array([numbers_of(pair.split(","), [2], f"{place}, points") for pair in text.split(";")])
        return volume_corners(points.min(axis=0).tolist(), points.max(axis=0).tolist(), "index", place, frame)
    if shape.tag == "mask":
        return _corners_of_mask(shape, place, frame)
    raise ValueError(f"{place}: expected a box, polygon, ellipse or mask, got {shown(shape.tag)}.")


def _corners_of_mask(shape: Element, place: str, frame: ImageFrame) -> Tensor:
    """Return the corners around the pixels of a mask, whose runs begin with background and go along the rows."""
    left, top, width, height = _numbers(shape, ("left", "top", "width", "height"), place)
    (text,) = values_of(shape.attrib, ["rle"], place)
    runs = numbers_of(text.split(","), [text.count(",") + 1], f"{place}, rle")
    if sum(runs) != width * height or not all(run >= 0 and run.is_integer() for run in runs):
        raise ValueError(
            f"{place}, rle: expected runs of {width:g} x {height:g} pixels together, got {sum(runs):g} pixels in "
            f"{len(runs)} runs."
        )
    ends = np.cumsum(runs)
    # The first and the last pixel of each run of the object; a run over the end of a row reaches both sides.
    first, last = ends[:-1:2], ends[1::2] - 1
    filled = last >= first
    first, last = first[filled], last[filled]
    if not len(first):
        raise ValueError(f"{place}, rle: expected a mask with pixels, got an empty one.")
    wraps = bool((first // width != last // width).any())
    low = [left + (0 if wraps else (first % width).min()), top + (first // width).min()]
    high = [left + (width if wraps else (last % width).max() + 1), top + (last // width).max() + 1]
    return volume_corners([*map(float, low)], [*map(float, high)], "index", place, frame)


def _numbers(shape: Element, names: tuple[str, ...], place: str) -> list[float]:
    return numbers_of(values_of(shape.attrib, names, place), [len(names)], place)


def _labels(task: _Task, name: str, image: str | None) -> list[ClassLabel]:
    """Return the labels of all shapes."""
    shapes = [shape for each in task.images for shape in each if shape.tag not in _NO_SHAPE]
    return [ClassLabel(label) for label in dict.fromkeys(shape.get("label") for shape in shapes) if label is not None]


FORMAT = AnnotationFormat(
    name="cvat",
    suffixes=(".xml",),
    parse=parse_xml,
    read=_read,
    recognise=lambda content: isinstance(content, Element) and content.tag == "annotations",
    expects="the element 'annotations' (CVAT XML 1.1)",
    by_image=_index,
    image_names=lambda task: task.names,
    labels=_labels,
)
