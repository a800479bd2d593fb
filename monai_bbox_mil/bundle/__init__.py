# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
"""What a run of the bundle asks of its configuration and folders, and what it tells where it fails."""

from monai_bbox_mil.bundle.earlier_run import set_aside_earlier_run
from monai_bbox_mil.bundle.folders import check_scores_folder, find_bundle, training_folder
from monai_bbox_mil.bundle.last_word import end_with_the_cause
from monai_bbox_mil.bundle.settings import check_settings, unknown_settings
from monai_bbox_mil.bundle.workflow import add_bundle_to_path

__all__ = [
    "add_bundle_to_path",
    "check_scores_folder",
    "check_settings",
    "end_with_the_cause",
    "find_bundle",
    "set_aside_earlier_run",
    "training_folder",
    "unknown_settings",
]
