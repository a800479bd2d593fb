# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
"""Describe one predicted image: its label map, its objects with their boxes, and how sure the network is."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.config.type_definitions import NdarrayOrTensor
from monai.data import MetaTensor
from monai.utils import ImageMetaKey
from numpy.typing import NDArray
from scipy import ndimage

from monai_bbox_mil.annotations.frame import WORLD_IS_AMBIGUOUS
from monai_bbox_mil.annotations.records import label_key
from monai_bbox_mil.annotations.values import shown
from monai_bbox_mil.transforms.mask_files import check_label_values
from monai_bbox_mil.transforms.picture_reader import PICTURES_AND_TIFF

__all__ = ["PredictedObject", "Prediction"]

# Interpolation may leave the range of probabilities by rounding errors.
_ROUNDING = 1e-3


@dataclass(frozen=True, eq=False)
class PredictedObject:
    """One connected component of one class.

    Attributes:
        channel: 0-based class.
        low: first voxel along each axis.
        high: one after the last voxel along each axis.
        region: bool, the object's voxels in its box, ``(high - low)``.
        confidence: mean probability of the class inside; ``None`` where probabilities are unknown.
        peak: largest probability inside; ``None`` where probabilities are unknown.
    """

    channel: int
    low: tuple[int, ...]
    high: tuple[int, ...]
    region: NDArray[np.bool_]
    confidence: float | None
    peak: float | None

    @cached_property
    def voxels(self) -> int:
        """Return the number of voxels."""
        return int(np.count_nonzero(self.region))


class Prediction:
    """The predicted label map of one image, in the grid of the image's file.

    Args:
        label_map: ``(1, H, W)`` or ``(1, H, W, Z)`` whole numbers, 0 for background. A ``MetaTensor`` brings its
            affine and the path of its image.
        label_values: value of each class in the label map.
        class_names: name of each class.
        image: path of the image; by default that of ``label_map``.
        probabilities: ``(C, H, W)`` or ``(C, H, W, Z)`` of each class, from 0 to 1; ``None`` where they are unknown.
        affine: ``(D+1, D+1)``, from voxel centres to RAS mm; by default that of ``label_map``. An array without one,
            and a picture such as a PNG, has no place in millimetres.

    Raises:
        ValueError: for a wrong shape; for values that are neither 0 nor a class; for names or values that are not one
            per class and different; for numbers that are no probabilities; for an affine that cannot be inverted.

    Example:
        >>> label_map = np.zeros((1, 8, 9), dtype=np.uint8)
        >>> label_map[0, 2:4, 3:6] = 7
        >>> prediction = Prediction(label_map, [7], ["lesion"], "a.png")
        >>> [(found.low, found.high, found.voxels) for found in prediction.objects]
        [((2, 3), (4, 6), 6)]
    """

    def __init__(
        self,
        label_map: NdarrayOrTensor,
        label_values: Sequence[float],
        class_names: Sequence[str],
        image: str | os.PathLike[str] | None = None,
        probabilities: NdarrayOrTensor | None = None,
        affine: NdarrayOrTensor | None = None,
    ) -> None:
        meta = label_map.meta if isinstance(label_map, MetaTensor) else {}
        name = meta.get(ImageMetaKey.FILENAME_OR_OBJ) if image is None else image
        if not name or not isinstance(name, (str, os.PathLike)):
            raise ValueError(f"image: expected the path of the predicted image, got {shown(name)}.")
        self.image = os.fspath(name)
        self.label_values = check_label_values(label_values)
        self.class_names = check_class_names(class_names, self.label_values)
        self.labels = _whole_numbers(_array(label_map), self.image)
        self.probabilities = None if probabilities is None else _array(probabilities)
        if self.labels.shape[2:] == (1,) and (_is_picture(self.image) or np.size(meta.get("spatial_shape", ())) == 2):
            self.labels = self.labels[..., 0]  # of a picture that EnsureVolume made a volume of one slice
        if self.probabilities is not None and self.probabilities.shape[1:] == (*self.labels.shape, 1):
            self.probabilities = self.probabilities[..., 0]
        self.affine, self.unplaced = self._place(label_map, affine, str(meta.get(WORLD_IS_AMBIGUOUS, "")))
        self._check_probabilities()

    @property
    def dims(self) -> int:
        """Return the number of spatial axes, 2 or 3."""
        return self.labels.ndim

    @property
    def is_flat(self) -> bool:
        """Return whether it is a picture, or a volume of one slice."""
        return self.dims == 2 or self.labels.shape[2] == 1

    @property
    def volume_mm3(self) -> float | None:
        """Return the volume of one voxel in mm^3; ``None`` where millimetres are unknown."""
        return None if self.affine is None else float(abs(np.linalg.det(self.affine[:3, :3])))

    def peak(self, channel: int) -> float | None:
        """Return the largest probability of a class in the whole image; ``None`` where probabilities are unknown."""
        return None if self.probabilities is None else float(self.probabilities[channel].max())

    @cached_property
    def objects(self) -> tuple[PredictedObject, ...]:
        """Return the connected components of each class. Voxels that touch only at an edge or corner are separate."""
        found, inside = [], 0
        for channel, value in enumerate(self.label_values):
            of_class = [*self._objects(channel, value)]
            inside += sum(each.voxels for each in of_class)
            found += of_class
        if inside != np.count_nonzero(self.labels):
            others = np.setdiff1d(np.unique(self.labels), [0, *self.label_values]).tolist()
            raise ValueError(
                f"label_values {list(self.label_values)}: expected no other values but 0 in the label map of "
                f"{self.image}, got {shown(others)}."
            )
        return tuple(found)

    def _objects(self, channel: int, value: int) -> Any:
        mask = self.labels == value
        whole = _box_of(mask)
        if whole is None:
            return
        components, _ = ndimage.label(mask[whole])  # a large volume's numbers take four times the mask's memory
        del mask
        start = [each.start for each in whole]
        for number, box in enumerate(ndimage.find_objects(components), start=1):
            region = components[box] == number
            low = tuple(int(first + side.start) for first, side in zip(start, box, strict=True))
            high = tuple(int(first + side.stop) for first, side in zip(start, box, strict=True))
            confidence = peak = None
            if self.probabilities is not None:
                place = tuple(slice(a, b) for a, b in zip(low, high, strict=True))
                values = self.probabilities[channel][place][region]
                confidence, peak = float(values.mean(dtype=np.float64)), float(values.max())
            yield PredictedObject(channel, low, high, region, confidence, peak)

    def _place(
        self, label_map: NdarrayOrTensor, affine: NdarrayOrTensor | None, ambiguity: str
    ) -> tuple[NDArray[np.float64] | None, str]:
        """Return the affine ``(4, 4)``, or ``None``; and why the image has no place in mm, else empty text."""
        if affine is None and isinstance(label_map, MetaTensor):
            if _is_picture(self.image):
                return None, "a picture has pixels and no millimetres."
            affine = label_map.affine
        if affine is None:
            return None, "its affine is unknown."
        matrix = np.asarray(torch.as_tensor(affine).cpu(), dtype=np.float64)
        if matrix.shape == (3, 3):
            return None, "its affine has two axes, so its place across the slice is unknown."
        if matrix.shape != (4, 4) or not np.isfinite(matrix).all() or np.linalg.det(matrix) == 0:
            raise ValueError(
                f"affine: expected one invertible matrix (4, 4) for {self.image}, got {shown(matrix.tolist())}."
            )
        return matrix, ambiguity

    def _check_probabilities(self) -> None:
        if self.probabilities is None:
            return
        expected = (len(self.class_names), *self.labels.shape)
        if self.probabilities.shape != expected:
            raise ValueError(
                f"probabilities: expected the shape {expected} for {self.image}, got {self.probabilities.shape}."
            )
        low, high = float(self.probabilities.min()), float(self.probabilities.max())
        if not (low >= -_ROUNDING and high <= 1 + _ROUNDING):
            raise ValueError(
                f"probabilities: expected numbers from 0 to 1 for {self.image}, got {low:g} to {high:g}. Apply the "
                "sigmoid to logits first."
            )


def check_class_names(class_names: Sequence[str], label_values: Sequence[int]) -> tuple[str, ...]:
    """Check that classes have different names, and different values in a label map.

    Raises:
        ValueError: when a name or value is missing, given twice, or the value of the background.

    Example:
        >>> check_class_names(["liver", "spleen"], [1, 2])
        ('liver', 'spleen')
    """
    if isinstance(class_names, str) or len(class_names) != len(label_values):
        raise ValueError(
            f"class_names: expected one name for each of the {len(label_values)} label_values {list(label_values)}, "
            f"got {shown(class_names)}."
        )
    names = tuple(str(name) for name in class_names)
    if not all(map(str.strip, names)) or len(set(map(label_key, names))) < len(names):
        raise ValueError(f"class_names: expected names that are not empty and differ, got {list(names)}.")
    if 0 in label_values or len(set(label_values)) < len(label_values):
        raise ValueError(
            f"label_values: expected different values above 0, which is the background's, got {list(label_values)}."
        )
    return names


def _is_picture(image: str) -> bool:
    return Path(image).suffix.lower() in PICTURES_AND_TIFF


def _array(values: NdarrayOrTensor) -> NDArray[Any]:
    if isinstance(values, MetaTensor):
        values = values.as_tensor()
    return np.asarray(values.detach().cpu().numpy() if torch.is_tensor(values) else values)


def _whole_numbers(array: NDArray[Any], image: str) -> NDArray[Any]:
    """Return the label map without its channel."""
    if array.ndim not in (3, 4) or array.shape[0] != 1 or 0 in array.shape:
        raise ValueError(
            f"label_map: expected the shape (1, H, W) or (1, H, W, Z) for {image}, got {array.shape}. Merge the "
            "channels of several classes with ThresholdClasses(label_values=...)."
        )
    if array.dtype.kind == "f" and not np.array_equal(array, np.rint(array)):
        raise ValueError(f"label_map: expected whole numbers for {image}, got fractions.")
    labels: NDArray[Any] = array.view(np.uint8)[0] if array.dtype == np.bool_ else array[0]
    return labels


def _box_of(mask: NDArray[np.bool_]) -> tuple[slice, ...] | None:
    """Return the part of an array that holds all that is true; ``None`` where nothing is."""
    sides = []
    for axis in range(mask.ndim):
        found = np.flatnonzero(mask.any(axis=tuple(other for other in range(mask.ndim) if other != axis)))
        if not len(found):
            return None
        sides.append(slice(int(found[0]), int(found[-1]) + 1))
    return tuple(sides)
