# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
"""Export predictions to COCO, with polygons or run lengths as masks."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

from monai_bbox_mil.exports.interface import OneFile
from monai_bbox_mil.exports.outlines import outline
from monai_bbox_mil.exports.pictures import mask_of_object, object_of_picture, picture_size, rounded_score
from monai_bbox_mil.exports.prediction import PredictedObject, Prediction
from monai_bbox_mil.exports.run_lengths import counts

__all__ = ["CocoExport", "CocoRunLengthExport"]


class CocoExport(OneFile):
    """COCO file ``coco.json`` of pictures: per object a box, a polygon, and its mean confidence as ``score``.

    Polygons run along the outer edges of pixels. Holes are cut in along a line, as COCO would fill a second polygon.
    """

    name: ClassVar[str] = "coco"
    file_name: ClassVar[str] = "coco.json"
    holds_volumes: ClassVar[bool] = False

    def _record(self, prediction: Prediction) -> dict[str, Any]:
        width, height = picture_size(prediction)
        objects = []
        for found in map(object_of_picture, prediction.objects):
            (x, y), (right, below) = found.low, found.high
            entry = {
                "category_id": found.channel + 1,
                "bbox": [x, y, right - x, below - y],
                "area": found.voxels,
                "iscrowd": 0,
                "segmentation": self._segmentation(found, (width, height)),
            }
            if found.confidence is not None:
                entry["score"] = rounded_score(found.confidence)
            objects.append(entry)
        return {"width": width, "height": height, "objects": objects}

    def _segmentation(self, found: PredictedObject, size: tuple[int, int]) -> Any:
        return [(outline(found.region) + found.low).ravel().tolist()]

    def _write(self, listed: Sequence[tuple[str, Any]], path: Path) -> None:
        images = [
            {"id": number, "file_name": name, "width": record["width"], "height": record["height"]}
            for number, (name, record) in enumerate(listed, start=1)
        ]
        objects = [(number, each) for number, (_, record) in enumerate(listed, start=1) for each in record["objects"]]
        content = {
            "images": images,
            "annotations": [
                {"id": number, "image_id": image, **each} for number, (image, each) in enumerate(objects, start=1)
            ],
            "categories": [{"id": number, "name": name} for number, name in enumerate(self.class_names, start=1)],
        }
        path.write_text(json.dumps(content) + "\n", encoding="utf-8")


class CocoRunLengthExport(CocoExport):
    """COCO file ``coco_rle.json`` of pictures, with each mask as the lengths of its runs of pixels."""

    name: ClassVar[str] = "coco_rle"
    file_name: ClassVar[str] = "coco_rle.json"

    def _segmentation(self, found: PredictedObject, size: tuple[int, int]) -> Any:
        return {"size": [size[1], size[0]], "counts": counts(mask_of_object(found, size))}
