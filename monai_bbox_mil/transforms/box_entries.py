# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
"""What the readers of all annotation formats share: where they read, what they return, and checks of parsed values."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from monai_bbox_mil.transforms.box_geometry import ImageFrame

__all__ = ["LPS_TO_RAS", "FileBox", "Source", "items_of", "label_key", "numbers_of", "values_of"]

# LPS and RAS differ in the signs of the first two axes, so the same matrix goes both ways.
LPS_TO_RAS = torch.diag(torch.tensor([-1.0, -1.0, 1.0, 1.0], dtype=torch.float64))


class Source(NamedTuple):
    """What a reader needs to know besides the content: a name for messages, the image and the class names."""

    name: str
    frame: ImageFrame
    classes: tuple[Any, ...] | None

    def original_affine(self) -> Tensor:
        """``(4, 4)`` float64, voxel centres of the image's file to RAS mm.

        Raises:
            ValueError: when the image has lost it.
        """
        if self.frame.original_affine is None:
            raise ValueError(
                f"{self.name}: index boxes need image.meta['original_affine'], which {self.frame.name} lacks after "
                f"{', '.join(self.frame.operations)}; read the boxes earlier or give them in world coordinates."
            )
        return self.frame.original_affine


class FileBox(NamedTuple):
    """One box: its eight corners ``(8, 3)`` float64, the names its class may have (best first), where it stands."""

    corners: Tensor
    labels: tuple[Any, ...]
    place: str


def label_key(label: Any) -> str:
    """Spelling by which labels are compared: ``1``, ``1.0`` and ``" 1"`` are one class.

    Example:
        >>> label_key(1.0), label_key(" prostate")
        ('1', 'prostate')
    """
    text = str(label).strip()
    try:
        number = float(text)
    except ValueError:
        return text
    return str(int(number)) if number.is_integer() else text


def items_of(value: Any, place: str) -> list[Any]:
    """A list, be it a tensor or an array.

    Raises:
        ValueError: for anything else.

    Example:
        >>> items_of(torch.tensor([1, 2]), "box")
        [1, 2]
    """
    if isinstance(value, (np.ndarray, Tensor)):
        value = value.tolist()
    if not isinstance(value, Sequence) or isinstance(value, (str, bytes)):
        raise ValueError(f"{place}: expected a list, got {value!r}.")
    return list(value)


def values_of(mapping: Any, keys: Sequence[str], place: str) -> list[Any]:
    """Values of keys that must be there.

    Raises:
        ValueError: where one is not.

    Example:
        >>> values_of({"size": 3, "name": "a"}, ["size"], "markups[0]")
        [3]
    """
    if not isinstance(mapping, Mapping):
        raise ValueError(f"{place}: expected a mapping with the keys {list(keys)}, got {type(mapping).__name__}.")
    missing = [key for key in keys if key not in mapping]
    if missing:
        raise ValueError(f"{place}: expected the keys {list(keys)}, got {sorted(map(str, mapping))}.")
    return [mapping[key] for key in keys]


def numbers_of(values: Any, counts: Sequence[int], place: str) -> list[float]:
    """As many finite numbers as expected.

    Raises:
        ValueError: where there are more or fewer, or others.

    Example:
        >>> numbers_of(["1", 2], [2, 3], "box[0]")
        [1.0, 2.0]
    """
    items = items_of(values, place)
    expected = " or ".join(map(str, counts))
    if len(items) not in counts:
        raise ValueError(f"{place}: expected {expected} numbers, got {len(items)}: {items}.")
    try:
        numbers = [float(item) for item in items]
    except (TypeError, ValueError):
        numbers = [math.nan]
    if not all(map(math.isfinite, numbers)):
        raise ValueError(f"{place}: expected {expected} finite numbers, got {items}.")
    return numbers
