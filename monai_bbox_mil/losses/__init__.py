# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
"""Losses that take a network's output and a box tensor."""

from monai_bbox_mil.losses.generalized_mil import GeneralizedMILLoss, MILTerms, generalized_mil_loss
from monai_bbox_mil.losses.pairwise import BoxPairwiseLoss, box_pairwise_loss

__all__ = ["BoxPairwiseLoss", "GeneralizedMILLoss", "MILTerms", "box_pairwise_loss", "generalized_mil_loss"]
