# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
"""The settings of the bundle's workflows: declared in one table, checked before a run, recorded for a resume."""

from monai_bbox_mil.runs.settings.checked_values import check_setting
from monai_bbox_mil.runs.settings.checking import check_settings, unknown_settings
from monai_bbox_mil.runs.settings.record import SettingsRecord, changed_settings, recorded_settings, refuse_changes
from monai_bbox_mil.runs.settings.table import settings_markdown
from monai_bbox_mil.runs.settings.words import as_typed

__all__ = [
    "SettingsRecord",
    "as_typed",
    "changed_settings",
    "check_setting",
    "check_settings",
    "recorded_settings",
    "refuse_changes",
    "settings_markdown",
    "unknown_settings",
]
