# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
"""Metrics that :mod:`monai.metrics` lacks: agreement of predictions with boxes, and thresholds calibrated by it."""

from monai_bbox_mil.metrics.box_iou import BoxIoUMetric, box_region_iou
from monai_bbox_mil.metrics.threshold import (
    DEFAULT_THRESHOLDS,
    best_threshold,
    load_threshold,
    save_fixed_threshold,
    save_threshold,
)

__all__ = [
    "DEFAULT_THRESHOLDS",
    "BoxIoUMetric",
    "best_threshold",
    "box_region_iou",
    "load_threshold",
    "save_fixed_threshold",
    "save_threshold",
]
