# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
"""Pixel labels that fit boxes: a teacher's logits, smoothed along edges and cut where each box says."""

from monai_bbox_mil.pseudo_labels.box_fitting import UNKNOWN, BoxHeights, PseudoLabelFitter
from monai_bbox_mil.pseudo_labels.edge_smoothing import joint_bilateral_filter, smooth_logits
from monai_bbox_mil.pseudo_labels.labelling import fit_pseudo_labels, whole_voxels

__all__ = [
    "UNKNOWN",
    "BoxHeights",
    "PseudoLabelFitter",
    "fit_pseudo_labels",
    "joint_bilateral_filter",
    "smooth_logits",
    "whole_voxels",
]
