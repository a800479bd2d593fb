# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
"""Predictions in the formats of other tools, from an engine's output."""

from __future__ import annotations

import json

import pandas as pd
import pytest
import torch
from ignite.engine import Engine
from monai.data import MetaTensor

from monai_bbox_mil.handlers import PredictionExport


def predictions(folder):
    """Two pictures with one object each, of probability 0.75 and 0.5."""
    for number, probability in enumerate((0.75, 0.5)):
        label_map = torch.zeros(1, 8, 9, 1, dtype=torch.uint8)
        label_map[0, 2 : 4 + number, 3:6] = 7
        meta = {"filename_or_obj": str(folder / f"{number}.png"), "spatial_shape": (8, 9)}
        yield {"pred": MetaTensor(label_map, meta=meta), "probability": probability * (label_map > 0).float()}


def test_all_predictions_are_in_one_file_at_the_end(tmp_path):
    evaluator = Engine(lambda engine, item: [item])
    PredictionExport("coco,csv", tmp_path / "out", [7], ["cell"], tmp_path).attach(evaluator)
    evaluator.run(list(predictions(tmp_path)))
    (found,) = (tmp_path / "out").glob("**/*.json")
    content = json.loads(found.read_text())
    names = {image["id"]: image["file_name"] for image in content["images"]}
    boxes = {names[each["image_id"]]: each["bbox"] for each in content["annotations"]}
    assert boxes == {"0.png": [2, 3, 2, 3], "1.png": [2, 3, 3, 3]}
    table = pd.read_csv(tmp_path / "out" / "predictions.csv")
    assert len(table) == 2 and {*table["class"]} == {"cell"}


def test_a_resumed_run_is_refused(tmp_path):
    with pytest.raises(ValueError, match="export: expected a run that predicts all images, got resume True"):
        PredictionExport("coco", tmp_path, [1], ["cell"], resumed=True)
