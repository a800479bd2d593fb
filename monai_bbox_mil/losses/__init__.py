# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
"""Losses that compare a network's output with a box tensor."""

from monai_bbox_mil.losses.box_or_pixel import BoxOrPixelLoss
from monai_bbox_mil.losses.deep_supervision import BoxDeepSupervisionLoss, scale_box_tensor
from monai_bbox_mil.losses.dice_cross_entropy import dice_cross_entropy
from monai_bbox_mil.losses.generalized_mil import GeneralizedMILLoss, MILTerms, generalized_mil_loss
from monai_bbox_mil.losses.global_constraint import ConstraintTerms, GlobalConstraintLoss, global_constraint_loss
from monai_bbox_mil.losses.pairwise import BoxPairwiseLoss, box_pairwise_loss
from monai_bbox_mil.losses.self_training import BoxSelfTrainingLoss, box_level_set, box_self_training_loss

__all__ = [
    "BoxDeepSupervisionLoss",
    "BoxOrPixelLoss",
    "BoxPairwiseLoss",
    "BoxSelfTrainingLoss",
    "ConstraintTerms",
    "GeneralizedMILLoss",
    "GlobalConstraintLoss",
    "MILTerms",
    "box_level_set",
    "box_pairwise_loss",
    "box_self_training_loss",
    "dice_cross_entropy",
    "generalized_mil_loss",
    "global_constraint_loss",
    "scale_box_tensor",
]
