# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
"""Export predictions to Label Studio, as tasks with predictions for people to correct."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import quote

import numpy as np

from monai_bbox_mil.exports.interface import OneFile
from monai_bbox_mil.exports.pictures import mask_of_object, object_of_picture, picture_size, rounded_score
from monai_bbox_mil.exports.prediction import PredictedObject, Prediction
from monai_bbox_mil.exports.run_lengths import brush_runs

__all__ = ["LabelStudioBrushExport", "LabelStudioExport"]


class LabelStudioExport(OneFile):
    """Label Studio tasks ``label_studio.json`` of pictures: a rectangle per object, with its mean confidence as score.

    Images are named as Label Studio's local storage has them, ``/data/local-files/?d=`` and the path below its root.
    The labelling interface needs ``<Image name="image" value="$image"/>`` and a ``RectangleLabels`` named ``label``.
    """

    name: ClassVar[str] = "label_studio"
    file_name: ClassVar[str] = "label_studio.json"
    holds_volumes: ClassVar[bool] = False
    kind: ClassVar[str] = "rectanglelabels"
    """Type of its regions."""

    def _record(self, prediction: Prediction) -> dict[str, Any]:
        width, height = picture_size(prediction)
        regions = []
        for number, found in enumerate(map(object_of_picture, prediction.objects), start=1):
            region: dict[str, Any] = {
                "id": f"object-{number}",
                "type": self.kind,
                "from_name": "label",
                "to_name": "image",
                "original_width": width,
                "original_height": height,
                "image_rotation": 0,
                "value": {
                    **self._shape(found, (width, height)),
                    self.kind: [self.class_names[found.channel]],
                },
            }
            if found.confidence is not None:
                region["score"] = rounded_score(found.confidence)
            regions.append(region)
        return {"regions": regions}

    def _shape(self, found: PredictedObject, size: tuple[int, int]) -> dict[str, Any]:
        (x, y), (right, below) = found.low, found.high
        width, height = size
        return {
            "x": 100 * x / width,
            "y": 100 * y / height,
            "width": 100 * (right - x) / width,
            "height": 100 * (below - y) / height,
            "rotation": 0,
        }

    def _write(self, listed: Sequence[tuple[str, Any]], path: Path) -> None:
        tasks = []
        for name, record in listed:
            prediction: dict[str, Any] = {"model_version": "monai_bbox_mil", "result": record["regions"]}
            scores = [region["score"] for region in record["regions"] if "score" in region]
            if scores:
                prediction["score"] = rounded_score(float(np.mean(scores)))
            image = f"/data/local-files/?d={quote(os.fsencode(name))}"
            tasks.append({"data": {"image": image}, "predictions": [prediction]})
        path.write_text(json.dumps(tasks) + "\n", encoding="utf-8")


class LabelStudioBrushExport(LabelStudioExport):
    """Label Studio tasks ``label_studio_brush.json`` of pictures: the mask of each object as a brush.

    The labelling interface needs ``<Image name="image" value="$image"/>`` and ``BrushLabels`` named ``label``.
    """

    name: ClassVar[str] = "label_studio_brush"
    file_name: ClassVar[str] = "label_studio_brush.json"
    kind: ClassVar[str] = "brushlabels"

    def _shape(self, found: PredictedObject, size: tuple[int, int]) -> dict[str, Any]:
        return {"format": "rle", "rle": brush_runs(mask_of_object(found, size))}
