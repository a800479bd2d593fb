# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
"""What a run of the bundle asks of its configuration and folders, and what it tells where it fails."""

from monai_bbox_mil.bundle.checked_values import check_setting
from monai_bbox_mil.bundle.earlier_run import set_aside_earlier_run
from monai_bbox_mil.bundle.folders import check_scores_folder, find_bundle, training_folder
from monai_bbox_mil.bundle.last_word import end_with_the_cause
from monai_bbox_mil.bundle.setting_words import as_typed
from monai_bbox_mil.bundle.settings import check_settings, unknown_settings
from monai_bbox_mil.bundle.settings_record import (
    SettingsRecord,
    changed_settings,
    recorded_settings,
    refuse_changes,
)
from monai_bbox_mil.bundle.settings_table import settings_markdown
from monai_bbox_mil.bundle.workflow import add_bundle_to_path

__all__ = [
    "SettingsRecord",
    "add_bundle_to_path",
    "as_typed",
    "changed_settings",
    "check_scores_folder",
    "check_setting",
    "check_settings",
    "end_with_the_cause",
    "find_bundle",
    "recorded_settings",
    "refuse_changes",
    "set_aside_earlier_run",
    "settings_markdown",
    "training_folder",
    "unknown_settings",
]
