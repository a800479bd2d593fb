# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
"""Draw pictures for people: grids of cases, in colours that all pictures share."""

from monai_bbox_mil.visualize.case_pictures import CasePicture, load_pictures, save_pictures
from monai_bbox_mil.visualize.picture_grid import save_comparison_grid, save_picture_grid
from monai_bbox_mil.visualize.styles import COLORS, class_color, grey_range, literal_texts

__all__ = [
    "COLORS",
    "CasePicture",
    "class_color",
    "grey_range",
    "literal_texts",
    "load_pictures",
    "save_comparison_grid",
    "save_picture_grid",
    "save_pictures",
]
