# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
"""Kinds of values that are composed of other kinds."""

from __future__ import annotations

import ast
import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from monai_bbox_mil.runs.settings.single_values import AXES, CLASSES, Number, Place, Text, Values

__all__ = ["Either", "ListOf", "OrNone"]


@dataclass(frozen=True)
class OrNone(Values):
    """``None`` or a value of another kind."""

    of: Values

    def read(self, value: Any, lengths: Mapping[str, int] | None = None) -> Any:
        if value is None or (value in ("null", "None") and not isinstance(self.of, (Text, Place))):
            return None
        return self.of.read(value, lengths)

    def expected(self, lengths: Mapping[str, int] | None = None) -> str:
        return f"None or {self.of.expected(lengths)}"

    def example(self, value: Any, lengths: Mapping[str, int] | None = None) -> Any:
        return self.of.example(value, lengths)


@dataclass(frozen=True)
class ListOf(Values):
    """A list of values of one kind.

    Args:
        of: kind of each item.
        count: number of items: a number, :data:`AXES` or :data:`CLASSES`; any number but 0 when ``None``.
        distinct: whether all items must differ.
        also: another valid length.
    """

    of: Values
    count: int | str | None = None
    distinct: bool = False
    also: int | None = None

    def read(self, value: Any, lengths: Mapping[str, int] | None = None) -> list[Any]:
        if isinstance(value, (np.ndarray, torch.Tensor)):
            value = value.tolist()
        if not isinstance(value, Sequence) or isinstance(value, (str, bytes)) or not value:
            raise ValueError
        count = self._count(lengths)
        if self.count == AXES and count is None:
            if len(value) not in (2, 3):
                raise ValueError
        elif count is not None and len(value) not in (count, self.also):
            raise ValueError
        items = [self.of.read(item, lengths) for item in value]
        if self.distinct and len(set(map(str, items))) < len(items):
            raise ValueError("one of them is there twice")
        return items

    def expected(self, lengths: Mapping[str, int] | None = None) -> str:
        count, each = self._count(lengths), self.of.expected(lengths).removeprefix("a ")
        noun = each.replace("number", "numbers").replace("text", "texts").replace("begins", "begin")
        if isinstance(self.of, Number):
            noun = re.sub(" (at|above|below) ", r", each \1 ", noun, count=1)
        why = {AXES: " (one per axis)", CLASSES: " (one per class)"}.get(str(self.count), "")
        many = "" if count is None else f"{count}{'' if self.also in (None, count) else f' or {self.also}'} "
        if count == 1:
            noun = each
        return f"a list of {many}{'different ' if self.distinct and count != 1 else ''}{noun}{why}"

    def example(self, value: Any, lengths: Mapping[str, int] | None = None) -> Any:
        if isinstance(value, str):
            with suppress(SyntaxError, ValueError):
                value = ast.literal_eval(value)
        items = list(value) if isinstance(value, (list, tuple)) else [value]
        good = []
        for item in items:
            with suppress(ValueError):
                good.append(self.of.read(item, lengths))
        if not good or (len(good) < len(items) and self.count is None):
            return None
        count = self._count(lengths) or (2 if self.count == AXES else len(items))
        made = (good + good[-1:] * count)[:count]
        return list(dict.fromkeys(made)) if self.distinct else made

    def _count(self, lengths: Mapping[str, int] | None) -> int | None:
        return (lengths or {}).get(self.count) if isinstance(self.count, str) else self.count


@dataclass(frozen=True)
class Either(Values):
    """A value of one of two kinds."""

    one: Values
    other: Values

    def read(self, value: Any, lengths: Mapping[str, int] | None = None) -> Any:
        try:
            return self.one.read(value, lengths)
        except ValueError:
            return self.other.read(value, lengths)

    def expected(self, lengths: Mapping[str, int] | None = None) -> str:
        return f"{self.one.expected(lengths)}, or {self.other.expected(lengths)}"

    def example(self, value: Any, lengths: Mapping[str, int] | None = None) -> Any:
        return (self.other if isinstance(value, (list, tuple)) else self.one).example(value, lengths)
