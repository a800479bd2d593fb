# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
"""Data lists of folders without one, found from the files that lie there."""

from monai_bbox_mil.data.folder_layouts.annotated import annotated_datalist
from monai_bbox_mil.data.folder_layouts.tables import is_table
from monai_bbox_mil.data.folder_layouts.yolo import yolo_datalist

__all__ = ["annotated_datalist", "is_table", "yolo_datalist"]
