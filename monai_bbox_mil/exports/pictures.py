# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
"""Pictures, and volumes of one slice as if they were pictures."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from monai_bbox_mil.exports.prediction import PredictedObject, Prediction

__all__ = ["mask_of_object", "object_of_picture", "picture_size", "rounded_score"]


def picture_size(prediction: Prediction) -> tuple[int, int]:
    """Return width and height in pixels, which are the first two axes of an image."""
    width, height = prediction.labels.shape[:2]
    return int(width), int(height)


def object_of_picture(found: PredictedObject) -> PredictedObject:
    """Return an object with two axes."""
    if len(found.low) == 2:
        return found
    return replace(found, low=found.low[:2], high=found.high[:2], region=found.region[..., 0])


def mask_of_object(found: PredictedObject, size: tuple[int, int]) -> NDArray[np.bool_]:
    """Return the mask of one object with two axes in the whole picture, ``size`` bool."""
    mask = np.zeros(size, dtype=bool)
    mask[tuple(slice(first, last) for first, last in zip(found.low, found.high, strict=True))] = found.region
    return mask


def rounded_score(score: float) -> float:
    """Round a score, so that files do not depend on the last bits of a sum.

    Example:
        >>> rounded_score(2 / 3)
        0.666667
    """
    return round(score, 6)
