# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
"""The words that options of the losses take, each set declared once."""

from __future__ import annotations

from collections.abc import Iterable

__all__ = ["NEGATIVES", "PAIRWISE_REGIONS", "REDUCTIONS", "UNARIES", "check_option"]

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
