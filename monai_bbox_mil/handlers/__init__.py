# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
"""Ignite handlers that :mod:`monai.handlers` lacks."""

from monai_bbox_mil.handlers.atomic_checkpoint_saver import AtomicCheckpointSaver
from monai_bbox_mil.handlers.barrier_schedule import BarrierSchedule
from monai_bbox_mil.handlers.buffer_broadcaster import BufferBroadcaster
from monai_bbox_mil.handlers.case_report import CaseReport
from monai_bbox_mil.handlers.checked_checkpoint import CheckedCheckpointLoader
from monai_bbox_mil.handlers.checkpoints import latest_checkpoint
from monai_bbox_mil.handlers.deepcut import DeepCut
from monai_bbox_mil.handlers.engine_extras import EngineExtras
from monai_bbox_mil.handlers.fault_advice import AdvisedError, FaultAdvice, fault_advice
from monai_bbox_mil.handlers.log_rewinder import LogRewinder
from monai_bbox_mil.handlers.loss_parts import LossParts
from monai_bbox_mil.handlers.mean_teacher import MeanTeacher
from monai_bbox_mil.handlers.resume import check_resume
from monai_bbox_mil.handlers.resumed_schedule import ResumedSchedule
from monai_bbox_mil.handlers.step_seeder import StepSeeder
from monai_bbox_mil.handlers.stop_on_nan import StopOnNaN
from monai_bbox_mil.handlers.stop_on_signal import StopOnSignal
from monai_bbox_mil.handlers.threshold_calibrator import ThresholdCalibrator
from monai_bbox_mil.handlers.volume_dice import VolumeDice

__all__ = [
    "AdvisedError",
    "AtomicCheckpointSaver",
    "BarrierSchedule",
    "BufferBroadcaster",
    "CaseReport",
    "CheckedCheckpointLoader",
    "DeepCut",
    "EngineExtras",
    "FaultAdvice",
    "LogRewinder",
    "LossParts",
    "MeanTeacher",
    "ResumedSchedule",
    "StepSeeder",
    "StopOnNaN",
    "StopOnSignal",
    "ThresholdCalibrator",
    "VolumeDice",
    "check_resume",
    "fault_advice",
    "latest_checkpoint",
]
