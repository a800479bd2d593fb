# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
"""Transforms between masks, box annotations, box tensors and files."""

from monai_bbox_mil.transforms import (
    array,
    augmentation,
    cropping,
    dense_crf,
    dictionary,
    intensity,
    loading,
    output,
    spacing,
    volume,
)
from monai_bbox_mil.transforms.array import *  # noqa: F403
from monai_bbox_mil.transforms.augmentation import *  # noqa: F403
from monai_bbox_mil.transforms.cropping import *  # noqa: F403
from monai_bbox_mil.transforms.dense_crf import *  # noqa: F403
from monai_bbox_mil.transforms.dictionary import *  # noqa: F403
from monai_bbox_mil.transforms.intensity import *  # noqa: F403
from monai_bbox_mil.transforms.loading import *  # noqa: F403
from monai_bbox_mil.transforms.mask_files import mask_path  # noqa: F401
from monai_bbox_mil.transforms.output import *  # noqa: F403
from monai_bbox_mil.transforms.spacing import *  # noqa: F403
from monai_bbox_mil.transforms.volume import *  # noqa: F403

__all__ = sorted(
    [
        *array.__all__,
        *augmentation.__all__,
        *cropping.__all__,
        *dense_crf.__all__,
        *dictionary.__all__,
        *intensity.__all__,
        *loading.__all__,
        "mask_path",
        *output.__all__,
        *spacing.__all__,
        *volume.__all__,
    ]
)
