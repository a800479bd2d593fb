# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
"""What a run of the bundle asks of its configuration."""

from monai_bbox_mil.bundle.settings import check_settings, unknown_settings

__all__ = ["check_settings", "unknown_settings"]
