# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
"""Ignite handlers that :mod:`monai.handlers` lacks: they learn or score while an engine runs."""

from monai_bbox_mil.handlers.barrier_schedule import BarrierSchedule
from monai_bbox_mil.handlers.case_report import CaseReport
from monai_bbox_mil.handlers.deepcut import DeepCut
from monai_bbox_mil.handlers.loss_parts import LossParts
from monai_bbox_mil.handlers.mean_teacher import MeanTeacher
from monai_bbox_mil.handlers.prediction_export import PredictionExport
from monai_bbox_mil.handlers.pseudo_label_rounds import PseudoLabelRounds
from monai_bbox_mil.handlers.threshold_calibrator import ThresholdCalibrator
from monai_bbox_mil.handlers.volume_dice import VolumeDice

__all__ = [
    "BarrierSchedule",
    "CaseReport",
    "DeepCut",
    "LossParts",
    "MeanTeacher",
    "PredictionExport",
    "PseudoLabelRounds",
    "ThresholdCalibrator",
    "VolumeDice",
]
