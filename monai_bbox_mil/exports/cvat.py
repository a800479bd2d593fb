# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
"""Export predictions to CVAT, as annotations of a task's images."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar
from xml.etree.ElementTree import Element, ElementTree, SubElement, indent

import numpy as np

from monai_bbox_mil.exports.interface import OneFile
from monai_bbox_mil.exports.pictures import object_of_picture, picture_size, rounded_score
from monai_bbox_mil.exports.prediction import PredictedObject, Prediction
from monai_bbox_mil.exports.run_lengths import counts
from monai_bbox_mil.visualize import class_color

__all__ = ["CvatExport", "CvatMaskExport"]

# What XML 1.0 cannot hold, not even escaped: control characters, and the bytes of a name that are not UTF-8.
_UNFIT = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


class CvatExport(OneFile):
    """CVAT XML 1.1 "for images", ``cvat.xml``, of pictures: a box per object, with its mean confidence as attribute.

    Images are named by their paths, as CVAT names those of a task. To see confidences in CVAT, give the labels of the
    task an attribute ``score``.

    Raises:
        ValueError: for a class or an image with a character in its name that XML cannot hold.
    """

    name: ClassVar[str] = "cvat"
    file_name: ClassVar[str] = "cvat.xml"
    holds_volumes: ClassVar[bool] = False
    kind: ClassVar[str] = "rectangle"
    """What CVAT calls the shape of its labels."""

    def _prepare(self, class_names: Sequence[str]) -> None:
        super()._prepare(class_names)
        for name in self.class_names:
            self._check_text(name, "class_names")

    def _check_text(self, text: str, what: str) -> None:
        if _UNFIT.search(text):
            raise ValueError(
                f"export {self.name}: expected {what} without control characters and in UTF-8, as XML holds no others, "
                f"got {text!r}. Rename it."
            )

    def _record(self, prediction: Prediction) -> dict[str, Any]:
        self._check_text(prediction.image, "images with names")
        width, height = picture_size(prediction)
        shapes = []
        for found in map(object_of_picture, prediction.objects):
            score = None if found.confidence is None else rounded_score(found.confidence)
            shapes.append({"channel": found.channel, "score": score, **self._shape(found)})
        return {"width": width, "height": height, "shapes": shapes}

    def _shape(self, found: PredictedObject) -> dict[str, Any]:
        (x, y), (right, below) = found.low, found.high
        return {"tag": "box", "place": {"xtl": str(x), "ytl": str(y), "xbr": str(right), "ybr": str(below)}}

    def _write(self, listed: Sequence[tuple[str, Any]], path: Path) -> None:
        root = Element("annotations")
        SubElement(root, "version").text = "1.1"
        self._add_labels(SubElement(SubElement(SubElement(root, "meta"), "task"), "labels"))
        for number, (name, record) in enumerate(listed):
            size = {"width": str(record["width"]), "height": str(record["height"])}
            image = SubElement(root, "image", {"id": str(number), "name": name, **size})
            for each in record["shapes"]:
                common = {"label": self.class_names[each["channel"]], "source": "auto", "occluded": "0", "z_order": "0"}
                shape = SubElement(image, each["tag"], common | each["place"])
                if each["score"] is not None:
                    SubElement(shape, "attribute", {"name": "score"}).text = str(each["score"])
        indent(root)
        ElementTree(root).write(path, encoding="utf-8", xml_declaration=True)

    def _add_labels(self, labels: Element) -> None:
        for channel, name in enumerate(self.class_names):
            label = SubElement(labels, "label")
            score = {"name": "score", "mutable": "False", "input_type": "text", "default_value": "", "values": ""}
            for key, text in (("name", name), ("color", class_color(channel)), ("type", self.kind)):
                SubElement(label, key).text = text
            attribute = SubElement(SubElement(label, "attributes"), "attribute")
            for key, text in score.items():
                SubElement(attribute, key).text = text


class CvatMaskExport(CvatExport):
    """CVAT XML 1.1 "for images", ``cvat_masks.xml``, of pictures: a mask per object."""

    name: ClassVar[str] = "cvat_masks"
    file_name: ClassVar[str] = "cvat_masks.xml"
    kind: ClassVar[str] = "mask"

    def _shape(self, found: PredictedObject) -> dict[str, Any]:
        width, height = found.region.shape
        runs = counts(np.ascontiguousarray(found.region.T))  # row by row
        place = {"left": found.low[0], "top": found.low[1], "width": width, "height": height}
        return {
            "tag": "mask",
            "place": {"rle": ", ".join(map(str, runs)), **{key: str(value) for key, value in place.items()}},
        }
