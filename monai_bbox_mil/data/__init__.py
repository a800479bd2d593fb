# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
"""Data lists of common folder layouts, a phantom, slices of volumes, collation, and files that describe a model."""

from monai_bbox_mil.data.atlas import ATLAS_VALIDATION, atlas_datalist
from monai_bbox_mil.data.class_names import find_class_names
from monai_bbox_mil.data.collate import pad_box_collate
from monai_bbox_mil.data.datalists import decathlon_datalist, get_datalist, load_datalist
from monai_bbox_mil.data.default_images import phantom_or_datalist
from monai_bbox_mil.data.folder_layouts import annotated_datalist, yolo_datalist
from monai_bbox_mil.data.image_files import find_images
from monai_bbox_mil.data.image_settings import ReadImageSettings, load_image_settings, save_image_settings
from monai_bbox_mil.data.mask_plan import plan_masks
from monai_bbox_mil.data.model_card import (
    announce_model,
    describe_model,
    finish_training,
    recorded_classes,
    save_model_card,
)
from monai_bbox_mil.data.object_counts import check_objects
from monai_bbox_mil.data.parts import images_of_part
from monai_bbox_mil.data.phantom import make_phantom
from monai_bbox_mil.data.promise12 import PROMISE12_VALIDATION, promise12_datalist
from monai_bbox_mil.data.shared_labels import SharedLabels
from monai_bbox_mil.data.slices import SliceDataset

__all__ = [
    "ATLAS_VALIDATION",
    "PROMISE12_VALIDATION",
    "ReadImageSettings",
    "SharedLabels",
    "SliceDataset",
    "annotated_datalist",
    "announce_model",
    "atlas_datalist",
    "check_objects",
    "decathlon_datalist",
    "describe_model",
    "find_class_names",
    "find_images",
    "finish_training",
    "get_datalist",
    "images_of_part",
    "load_datalist",
    "load_image_settings",
    "make_phantom",
    "pad_box_collate",
    "phantom_or_datalist",
    "plan_masks",
    "promise12_datalist",
    "save_image_settings",
    "recorded_classes",
    "save_model_card",
    "yolo_datalist",
]
