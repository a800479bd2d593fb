# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
"""Define what all pictures share: colours of classes, the range of grey values, names drawn literally."""

from __future__ import annotations

import numpy as np
from matplotlib import rc_context

__all__ = ["COLORS", "class_color", "grey_range", "literal_texts"]

COLORS = ("#2ca02c", "#ff7f0e", "#1f77b4", "#d62728", "#9467bd", "#8c564b", "#e377c2", "#bcbd22")
"""Colours of the classes, in turn."""

literal_texts = rc_context({"text.parse_math": False})
"""Decorator for functions that draw names: a name with two dollar signs is no formula."""


def class_color(channel: int) -> str:
    """Return the colour of a class by its channel; after the last colour, the first one is used again.

    Example:
        >>> class_color(0), class_color(8)
        ('#2ca02c', '#2ca02c')
    """
    return COLORS[channel % len(COLORS)]


def grey_range(image: np.ndarray) -> tuple[float, float]:
    """Return the values to draw as black and as white: the image's 1st and 99.5th percentile.

    Example:
        >>> grey_range(np.arange(1001.0))
        (10.0, 995.0)
    """
    low, high = np.percentile(image, (1, 99.5))
    return float(low), float(max(high, low + 1e-6))
