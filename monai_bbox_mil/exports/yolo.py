# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
"""Export predictions to YOLO: boxes, or polygons for segmentation."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

import numpy as np
import yaml

from monai_bbox_mil.annotations.records import label_key
from monai_bbox_mil.exports.interface import FilePerImage
from monai_bbox_mil.exports.outlines import outline
from monai_bbox_mil.exports.pictures import object_of_picture, picture_size
from monai_bbox_mil.exports.prediction import PredictedObject, Prediction
from monai_bbox_mil.runs.files import replacing

__all__ = ["YoloExport", "YoloSegmentationExport"]


class YoloExport(FilePerImage):
    """YOLO labels of pictures, ``yolo/labels/NAME.txt``, with one line per box; ``yolo/data.yaml`` names the classes.

    Put the images into ``yolo/images`` to train from them. An image without objects has an empty file.

    Raises:
        ValueError: when a class has a number as its name that is not its position. Readers could not tell which of
            the two a line means.
    """

    name: ClassVar[str] = "yolo"
    suffix: ClassVar[str] = ".txt"
    folder: ClassVar[str] = "labels"
    holds_volumes: ClassVar[bool] = False

    def _prepare(self, class_names: Sequence[str]) -> None:
        super()._prepare(class_names)
        keys = [label_key(name) for name in self.class_names]
        if any(map(str.isdecimal, keys)) and keys != [*map(str, range(len(keys)))]:
            raise ValueError(
                f"export {self.name}: expected class_names that are words, as YOLO numbers the classes from 0, got "
                f"{list(self.class_names)}. Give for example class_names {[f'class {key}' for key in keys]}."
            )

    def _write(self, prediction: Prediction, path: Path) -> None:
        size = np.array(picture_size(prediction))
        lines = []
        for found in map(object_of_picture, prediction.objects):
            numbers = np.ravel(self._points(found) / size)
            # Ten digits place a corner to a thousandth of a pixel in any picture.
            lines.append(" ".join([str(found.channel), *(f"{number:.10g}" for number in numbers)]))
        path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")

    def _points(self, found: PredictedObject) -> np.ndarray:
        """Return what describes an object, ``(K, 2)`` in pixels: here its centre and its size."""
        low, high = np.array(found.low), np.array(found.high)
        return np.array([(low + high) / 2, high - low])

    def finish(self) -> None:
        """Write the names of the classes."""
        content = {"train": "images", "val": "images", "names": dict(enumerate(self.class_names))}
        with replacing(self.output_dir / self.name / "data.yaml") as unfinished:
            unfinished.write_text(yaml.safe_dump(content, allow_unicode=True, sort_keys=False), encoding="utf-8")


class YoloSegmentationExport(YoloExport):
    """YOLO labels of pictures, ``yolo_seg/labels/NAME.txt``, with one polygon along the edges of pixels per object."""

    name: ClassVar[str] = "yolo_seg"

    def _points(self, found: PredictedObject) -> np.ndarray:
        return outline(found.region) + found.low
