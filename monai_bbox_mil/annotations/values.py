# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
"""Checks of parsed values, shared by the readers of all annotation formats."""

from __future__ import annotations

import math
import re
import reprlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from torch import Tensor

from monai_bbox_mil.annotations.records import BoxError

__all__ = ["flag_of", "items_of", "numbers_of", "shown", "values_of"]


class _Short(reprlib.Repr):
    """A ``repr`` that is cut where it is long or deep, so that messages stay readable."""

    def __init__(self) -> None:
        super().__init__()
        self.maxlist = self.maxtuple = self.maxdict = 12
        self.maxstring = self.maxother = 200
        self.maxlevel = 4

    def repr_int(self, x: int, level: int) -> str:
        return f"a number of {x.bit_length()} bits" if x.bit_length() > 1000 else super().repr_int(x, level)


_SHORT = _Short()


def shown(value: Any) -> str:
    """Return a value as messages show it: in Python's spelling, but never long.

    Example:
        >>> shown(["a", None]), len(shown("a" * 1_000_000)), shown(10**5000)
        ("['a', None]", 200, 'a number of 16610 bits')
    """
    return _SHORT.repr(value)


def _number(value: Any) -> float:
    """Parse a number as files write it; Python would also accept booleans and ``1_000``."""
    if isinstance(value, bool) or (isinstance(value, str) and "_" in value):
        return math.nan
    return float(value)


def _hint(items: Sequence[Any]) -> str:
    commas = any(isinstance(item, str) and re.fullmatch(r"\s*-?[0-9]+,[0-9]+\s*", item) for item in items)
    return "; write a decimal point instead of a comma" if commas else ""


def items_of(value: Any, place: str) -> list[Any]:
    """Return a list, also from a tensor or an array.

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
        raise ValueError(f"{place}: expected a list, got {shown(value)}.")
    return list(value)


def values_of(mapping: Any, keys: Sequence[str], place: str) -> list[Any]:
    """Return the values of keys that must exist.

    Raises:
        ValueError: when one is missing.

    Example:
        >>> values_of({"size": 3, "name": "a"}, ["size"], "markups[0]")
        [3]
    """
    if not isinstance(mapping, Mapping):
        raise ValueError(f"{place}: expected a mapping with the keys {list(keys)}, got {type(mapping).__name__}.")
    missing = [key for key in keys if key not in mapping]
    if missing:
        raise ValueError(f"{place}: expected the keys {list(keys)}, got {shown(sorted(map(str, mapping)))}.")
    return [mapping[key] for key in keys]


def numbers_of(values: Any, counts: Sequence[int], place: str) -> list[float]:
    """Return as many finite numbers as expected.

    Raises:
        ValueError: when there are more or fewer, or one is not a finite number.

    Example:
        >>> numbers_of(["1", 2], [2, 3], "box[0]")
        [1.0, 2.0]
    """
    items = items_of(values, place)
    expected = " or ".join(map(str, counts))
    if len(items) not in counts:
        raise ValueError(f"{place}: expected {expected} numbers, got {len(items)}: {shown(items)}.")
    try:
        numbers = [_number(item) for item in items]
    except (TypeError, ValueError, OverflowError):
        numbers = [math.nan]
    if not all(map(math.isfinite, numbers)):
        raise BoxError(f"{place}: expected {expected} finite numbers, got {shown(items)}{_hint(items)}.", "not_finite")
    return numbers


_FLAGS = {"": False, "0": False, "0.0": False, "false": False, "no": False, "none": False}
_FLAGS |= {"1": True, "1.0": True, "true": True, "yes": True}


def flag_of(value: Any, name: str, place: str) -> bool:
    """Parse a flag, written as a boolean, 0 or 1, or a word; ``None`` and empty text are false.

    Raises:
        ValueError: for anything else.

    Example:
        >>> flag_of("0", "iscrowd", "annotations[0]"), flag_of(None, "iscrowd", "annotations[0]")
        (False, False)
    """
    text = value.strip().lower() if isinstance(value, str) else shown(value).lower()
    known = _FLAGS.get(text)
    if known is None:
        raise ValueError(f"{place}: expected {name} to be 0 or 1, got {shown(value)}.")
    return known
