# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
"""Kinds of values that a setting may have. Each kind reads a value and says what it expected instead."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from dataclasses import dataclass
from numbers import Integral
from typing import Any

import numpy as np
import torch

__all__ = ["AXES", "CLASSES", "Device", "Flag", "Number", "Place", "Text", "Values", "Word"]

AXES, CLASSES = "axes", "classes"
"""What the length of a list may depend on: axes that the network sees, classes of ``label_values``."""


class Values:
    """A kind of values."""

    def read(self, value: Any, lengths: Mapping[str, int] | None = None) -> Any:
        """Return the value as the run needs it: ``value`` itself or another form of it.

        Args:
            value: as it came from a file, the command line or another program.
            lengths: number of :data:`AXES` and :data:`CLASSES`, if known.

        Raises:
            ValueError: when the value is not of this kind; the message is a reason, or empty.
        """
        raise NotImplementedError

    def expected(self, lengths: Mapping[str, int] | None = None) -> str:
        """Describe the expected value, for a message and for a table."""
        raise NotImplementedError

    def example(self, value: Any, lengths: Mapping[str, int] | None = None) -> Any:
        """Return a valid value that is as near to ``value`` as can be guessed, or ``None``."""
        return None


class Flag(Values):
    """``True`` or ``False``, as Python and YAML write them."""

    def read(self, value: Any, lengths: Mapping[str, int] | None = None) -> bool:
        if isinstance(value, (bool, np.bool_)):
            return bool(value)
        if isinstance(value, str) and value.lower() in ("true", "false"):
            return value.lower() == "true"
        raise ValueError

    def expected(self, lengths: Mapping[str, int] | None = None) -> str:
        return "True or False"

    def example(self, value: Any, lengths: Mapping[str, int] | None = None) -> bool:
        return str(value).lower() in ("1", "yes", "y", "on", "t")


@dataclass(frozen=True)
class Number(Values):
    """A finite number in a range.

    Args:
        low, high: ends of the range, which are included unless ``open_low`` or ``open_high``.
        whole: whether it must be a whole number; ``60.0`` is then read as 60.
    """

    low: float = -math.inf
    high: float = math.inf
    open_low: bool = False
    open_high: bool = False
    whole: bool = False

    def read(self, value: Any, lengths: Mapping[str, int] | None = None) -> float | int:
        if isinstance(value, str) and "_" not in value:
            try:
                value = float(value)
            except ValueError:
                raise ValueError("") from None
        if isinstance(value, (np.ndarray, torch.Tensor)) and value.ndim == 0:
            value = value.item()
        if isinstance(value, bool) or not isinstance(value, (int, float, np.integer, np.floating)):
            raise ValueError
        if not math.isfinite(value):
            raise ValueError
        if self.whole and value != int(value):
            raise ValueError
        if value < self.low or value > self.high:
            raise ValueError
        if (self.open_low and value == self.low) or (self.open_high and value == self.high):
            raise ValueError
        if self.whole or isinstance(value, Integral):
            return int(value)
        return float(value)

    def expected(self, lengths: Mapping[str, int] | None = None) -> str:
        ends = []
        if self.low > -math.inf:
            ends.append(f"{'above' if self.open_low else 'at least'} {_short(self.low)}")
        if self.high < math.inf:
            ends.append(f"{'below' if self.open_high else 'at most'} {_short(self.high)}")
        return f"a {'whole ' if self.whole else ''}number{' ' if ends else ''}{' and '.join(ends)}"

    def example(self, value: Any, lengths: Mapping[str, int] | None = None) -> float | int | None:
        if isinstance(value, (bool, str)) or not isinstance(value, (int, float)) or not math.isfinite(value):
            return None
        if self.low <= value <= self.high and value not in (self.low, self.high):
            return round(value)
        end = self.low if value <= self.low else self.high
        return None if (self.open_low and end == self.low) or (self.open_high and end == self.high) else int(end)


@dataclass(frozen=True)
class Word(Values):
    """One of several words."""

    words: tuple[str, ...]

    def read(self, value: Any, lengths: Mapping[str, int] | None = None) -> str:
        if not isinstance(value, str) or value not in self.words:
            raise ValueError
        return value

    def expected(self, lengths: Mapping[str, int] | None = None) -> str:
        return f"{', '.join(self.words[:-1])} or {self.words[-1]}"


@dataclass(frozen=True)
class Text(Values):
    """Any text.

    Args:
        start: prefix that the text must have, if not empty.
        numbers: whether whole numbers are accepted, too.
    """

    start: str = ""
    numbers: bool = False

    def read(self, value: Any, lengths: Mapping[str, int] | None = None) -> Any:
        if self.numbers and isinstance(value, Integral) and not isinstance(value, bool):
            return int(value)
        if not isinstance(value, str) or not value.startswith(self.start):
            raise ValueError
        return value

    def expected(self, lengths: Mapping[str, int] | None = None) -> str:
        what = "a text or whole number" if self.numbers else "a text"
        return f"{what} that begins with {self.start!r}" if self.start else what

    def example(self, value: Any, lengths: Mapping[str, int] | None = None) -> Any:
        return f"{self.start}{value}" if isinstance(value, (str, int, float)) else None


@dataclass(frozen=True)
class Place(Values):
    """The path of a folder or file, which need not exist."""

    what: str = "folder"

    def read(self, value: Any, lengths: Mapping[str, int] | None = None) -> str:
        if isinstance(value, os.PathLike):
            value = os.fspath(value)
        if not isinstance(value, str) or not value.strip() or "\0" in value:
            raise ValueError
        return value

    def expected(self, lengths: Mapping[str, int] | None = None) -> str:
        return f"the path of a {self.what}"

    def example(self, value: Any, lengths: Mapping[str, int] | None = None) -> str | None:
        return f"./{value}" if isinstance(value, (int, float)) and not isinstance(value, bool) else None


class Device(Values):
    """A device name that ``torch.device`` accepts, if this machine has the device."""

    def read(self, value: Any, lengths: Mapping[str, int] | None = None) -> Any:
        if isinstance(value, bool) or not isinstance(value, (str, int, torch.device)):
            raise ValueError
        try:
            device = torch.device(value)
        except RuntimeError:
            raise ValueError from None
        if device.type == "cuda":
            there = torch.cuda.device_count() if torch.cuda.is_available() else 0
            if (device.index or 0) >= there:
                raise ValueError(f"torch sees {there} GPUs here")
        elif device.type == "meta":
            raise ValueError("'meta' computes nothing")
        elif device.type != "cpu":
            try:
                torch.empty(0, device=device)
            except (RuntimeError, NotImplementedError, AssertionError) as error:
                raise ValueError(str(error).splitlines()[0]) from None
        return value

    def expected(self, lengths: Mapping[str, int] | None = None) -> str:
        return "a device of this machine, such as cpu or cuda:0"

    def example(self, value: Any, lengths: Mapping[str, int] | None = None) -> str:
        return "cuda:0" if torch.cuda.is_available() else "cpu"


def _short(number: float) -> str:
    return str(int(number)) if number == int(number) else f"{number:g}"
