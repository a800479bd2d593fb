# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
"""Predictions in the formats of other tools: COCO, YOLO, 3D Slicer, DICOM, CVAT, Label Studio, and a table."""

from monai_bbox_mil.exports.formats import EXPORTS, make_exports
from monai_bbox_mil.exports.interface import Export
from monai_bbox_mil.exports.prediction import PredictedObject, Prediction
from monai_bbox_mil.exports.records import load_records, save_records

__all__ = ["EXPORTS", "Export", "PredictedObject", "Prediction", "load_records", "make_exports", "save_records"]
