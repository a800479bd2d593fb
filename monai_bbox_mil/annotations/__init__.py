# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
"""Box annotations as people have them, in files or in memory, placed in an image."""

from monai_bbox_mil.annotations.box_frame import (
    box_frame,
    check_box_frame,
    check_same_place,
    spatial_shape,
    with_box_frame,
)
from monai_bbox_mil.annotations.formats import FORMATS
from monai_bbox_mil.annotations.frame import ImageFrame, image_frame
from monai_bbox_mil.annotations.geometry import boxes_from_world, boxes_to_world
from monai_bbox_mil.annotations.reading import read_boxes, survey_boxes
from monai_bbox_mil.annotations.records import BoxError, BoxFault, BoxSurvey

__all__ = [
    "FORMATS",
    "BoxError",
    "BoxFault",
    "BoxSurvey",
    "ImageFrame",
    "box_frame",
    "boxes_from_world",
    "boxes_to_world",
    "check_box_frame",
    "check_same_place",
    "image_frame",
    "read_boxes",
    "spatial_shape",
    "survey_boxes",
    "with_box_frame",
]
