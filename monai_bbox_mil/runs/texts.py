# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
"""Helpers for the texts of messages."""

from __future__ import annotations

from collections.abc import Collection

__all__ = ["first_few"]


def first_few(names: Collection[object], limit: int = 5) -> str:
    """List the first few of many names.

    Example:
        >>> first_few(range(9))
        '0, 1, 2, 3, 4, ...'
    """
    return ", ".join(str(name) for name in list(names)[:limit]) + (", ..." if len(names) > limit else "")
