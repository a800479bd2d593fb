# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
"""Inferers that ``monai.inferers`` lacks: augmentation that leaves the boxes where they are."""

from monai_bbox_mil.inferers.rand_affine import RandAffineInferer
from monai_bbox_mil.inferers.symmetry import SymmetryInferer

__all__ = ["RandAffineInferer", "SymmetryInferer"]
