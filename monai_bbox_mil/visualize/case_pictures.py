# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
"""Keep one slice per case as arrays in a small file until it is drawn."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from monai_bbox_mil.visualize.styles import grey_range

__all__ = ["CasePicture", "load_pictures", "save_pictures"]


class CasePicture(NamedTuple):
    """One slice of one case."""

    title: str
    image: np.ndarray
    """``(H, W)``, rescaled for display."""
    boxes: np.ndarray
    """``(N, 5)`` box tensor of the slice; ignored regions are drawn dotted."""
    mask: np.ndarray | None
    """``(C, H, W)`` ground truth; ``None`` for a case without a mask."""
    pred: np.ndarray
    """``(C, H, W)`` prediction."""
    aspect: float = 1.0
    """Height of a pixel divided by its width, as drawn (axis 0 runs to the right)."""
    upright: bool = True
    """Whether axis 1 runs downward."""


def save_pictures(path: str | os.PathLike[str], pictures: Mapping[str, CasePicture]) -> None:
    """Save pictures as arrays, with grey values from the 1st to the 99.5th percentile in eight bits.

    Args:
        path: ``.npz`` file to write.
        pictures: one per case, by the case's name.
    """
    arrays: dict[str, np.ndarray] = {"names": np.array(list(pictures))}
    for number, picture in enumerate(pictures.values()):
        low, high = grey_range(picture.image)
        arrays[f"image{number}"] = (np.clip((picture.image - low) / (high - low), 0, 1) * 255).round().astype(np.uint8)
        arrays[f"boxes{number}"] = picture.boxes
        arrays[f"pred{number}"] = picture.pred
        if picture.mask is not None:
            arrays[f"mask{number}"] = picture.mask
        arrays[f"drawn{number}"] = np.array([picture.aspect, picture.upright])
    np.savez_compressed(path, allow_pickle=False, **arrays)


def load_pictures(path: str | os.PathLike[str]) -> dict[str, CasePicture]:
    """Load the pictures that :func:`save_pictures` wrote, by name of the case."""
    with np.load(path) as arrays:
        return {
            str(name): CasePicture(
                title=str(name),
                image=arrays[f"image{number}"],
                boxes=arrays[f"boxes{number}"],
                mask=arrays.get(f"mask{number}"),
                pred=arrays[f"pred{number}"],
                aspect=float(arrays[f"drawn{number}"][0]),
                upright=bool(arrays[f"drawn{number}"][1]),
            )
            for number, name in enumerate(arrays["names"])
        }
