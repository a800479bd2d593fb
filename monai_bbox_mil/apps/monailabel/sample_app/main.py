# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
from monai_bbox_mil.apps.monailabel import BoxLabelApp

__all__ = ["BoxLabelApp"]
