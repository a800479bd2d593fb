# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
"""Checks of parsed values, which the readers of all annotation formats share."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from torch import Tensor

from monai_bbox_mil.annotations.records import BoxError

__all__ = ["flag_of", "items_of", "numbers_of", "values_of"]


def items_of(value: Any, place: str) -> list[Any]:
    """A list, be it a tensor or an array.

    Raises:
        ValueError: for anything else.

    Example:
        >>> import torch
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
    except (TypeError, ValueError, OverflowError):
        numbers = [math.nan]
    if not all(map(math.isfinite, numbers)):
        raise BoxError(f"{place}: expected {expected} finite numbers, got {items}.", "not_finite")
    return numbers


_FLAGS = {"": False, "0": False, "0.0": False, "false": False, "no": False, "none": False}
_FLAGS |= {"1": True, "1.0": True, "true": True, "yes": True}


def flag_of(value: Any, name: str, place: str) -> bool:
    """A flag, written as a truth value, 0 or 1, or a word; nothing is false.

    Raises:
        ValueError: for anything else.

    Example:
        >>> flag_of("0", "iscrowd", "annotations[0]"), flag_of(None, "iscrowd", "annotations[0]")
        (False, False)
    """
    known = _FLAGS.get(value.strip().lower() if isinstance(value, str) else str(value).lower())
    if known is None:
        raise ValueError(f"{place}: expected {name} to be 0 or 1, got {value!r}.")
    return known
