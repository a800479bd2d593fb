# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
"""Bags of pixels, and sums of pixel values over them.

Source: Wang & Xia, "Bounding Box Tightness Prior for Weakly Supervised Image Segmentation", MICCAI 2021, sections 2.2
and 2.3.
"""

from monai_bbox_mil.bags.bands import BoxBands
from monai_bbox_mil.bags.box_pixels import BoxPixels
from monai_bbox_mil.bags.crossing_lines import CrossingLines, resolve_angles
from monai_bbox_mil.bags.empty_lines import EmptyLines
from monai_bbox_mil.bags.patches import BoxPatches
from monai_bbox_mil.bags.protocol import Bags

__all__ = ["Bags", "BoxBands", "BoxPatches", "BoxPixels", "CrossingLines", "EmptyLines", "resolve_angles"]
