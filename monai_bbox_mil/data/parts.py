# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
"""One part of a data list, chosen by name."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

__all__ = ["images_of_part"]


def images_of_part(
    parts: Mapping[str, Sequence[Mapping[str, Any]]],
    part: str,
    source: str | os.PathLike[str],
    advice: str = "",
    required: bool = True,
) -> Sequence[Mapping[str, Any]]:
    """Return the items of one part of a data list.

    Args:
        parts: lists of items by name, as :func:`~monai_bbox_mil.data.get_datalist` returns them.
        part: ``"training"``, ``"validation"`` or ``"test"``.
        source: data list or folder, for the message.
        advice: what to do if there are no items, for the message.
        required: whether having no items is an error.

    Raises:
        ValueError: if there are no items and some are required.

    Example:
        >>> images_of_part({"training": [{"image": "a.nii"}]}, "validation", "datalist.json", required=False)
        []
        >>> images_of_part({"training": [{"image": "a.nii"}]}, "validation", "datalist.json")
        Traceback (most recent call last):
        ValueError: datalist.json: expected at least one image in the part 'validation', got none (training: 1).
    """
    items = parts.get(part) or []
    if required and not len(items):
        counts = ", ".join(f"{name}: {len(found)}" for name, found in parts.items()) or "no part at all"
        raise ValueError(
            f"{source}: expected at least one image in the part {part!r}, got none ({counts})."
            + (f" {advice}" if advice else "")
        )
    return items
