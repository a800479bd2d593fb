# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
"""The MONAI Label app: boxes in, masks out, better each round. It needs an environment with MONAI Label."""

from monai_bbox_mil.apps.monailabel.app import BoxLabelApp

__all__ = ["BoxLabelApp"]
