# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
"""The values that the losses' options accept, each set declared once, and checks of options."""

from __future__ import annotations

from collections.abc import Iterable

__all__ = ["NEGATIVES", "PAIRWISE_REGIONS", "REDUCTIONS", "UNARIES", "check_core", "check_not_negative", "check_option"]

REDUCTIONS = ("mean", "sum", "none")
"""Ways to reduce the classes' losses."""

UNARIES = ("focal", "bce")
"""Losses of a bag (Eq. 5 and Eq. 2)."""

NEGATIVES = ("pixels", "lines")
"""Kinds of negative bags outside the boxes: each pixel, or each full row and column."""

PAIRWISE_REGIONS = ("box", "image")
"""Regions in which neighbouring pixels should be similar."""


def check_option(name: str, value: str, options: Iterable[str] = REDUCTIONS) -> str:
    """Return ``value`` if it is one of ``options``.

    Raises:
        ValueError: if it is not; the message lists the options.

    Example:
        >>> check_option("unary", "bce", UNARIES)
        'bce'
    """
    if value not in tuple(options):
        raise ValueError(f"{name} must be one of {tuple(options)}, got {value!r}.")
    return value


def check_not_negative(**values: float) -> None:
    """Raise ``ValueError`` if a number is below 0 or NaN.

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
    """Raise ``ValueError`` unless ``core``, a share of a box's lines, is in ``(0, 1]``.

    Example:
        >>> check_core(2.0)
        Traceback (most recent call last):
        ValueError: core must be greater than 0 and at most 1, got 2.0.
    """
    if not 0 < core <= 1:
        raise ValueError(f"core must be greater than 0 and at most 1, got {core}.")
