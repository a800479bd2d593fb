# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
"""The words that options of the losses take, each set declared once."""

from __future__ import annotations

from collections.abc import Iterable

__all__ = ["NEGATIVES", "PAIRWISE_REGIONS", "REDUCTIONS", "UNARIES", "check_core", "check_not_negative", "check_option"]

REDUCTIONS = ("mean", "sum", "none")
"""How the classes' losses are joined."""

UNARIES = ("focal", "bce")
"""Loss of a bag (Eq. 5, Eq. 2)."""

NEGATIVES = ("pixels", "lines")
"""What outside of the boxes is a negative bag: each pixel, or each full row and column."""

PAIRWISE_REGIONS = ("box", "image")
"""Where neighbours are to be alike."""


def check_option(name: str, value: str, options: Iterable[str] = REDUCTIONS) -> str:
    """Return a value that is one of the options.

    Raises:
        ValueError: when it is none, naming the options.

    Example:
        >>> check_option("unary", "bce", UNARIES)
        'bce'
    """
    if value not in tuple(options):
        raise ValueError(f"{name} must be one of {tuple(options)}, got {value!r}.")
    return value


def check_not_negative(**values: float) -> None:
    """Raise ``ValueError`` for a number that is below 0 or NaN.

    Example:
        >>> check_not_negative(weight=0.0)
        >>> check_not_negative(weight=-1.0)
        Traceback (most recent call last):
        ValueError: weight must be at least 0, got -1.0.
    """
    for name, value in values.items():
        if not value >= 0:
            raise ValueError(f"{name} must be at least 0, got {value}.")


def check_core(core: float) -> None:
    """Raise ``ValueError`` for a share of the lines that no box can have.

    Example:
        >>> check_core(2.0)
        Traceback (most recent call last):
        ValueError: core must be greater than 0 and at most 1, got 2.0.
    """
    if not 0 < core <= 1:
        raise ValueError(f"core must be greater than 0 and at most 1, got {core}.")
