# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
"""Annotation files to text or JSON, refused with the file's name where they are neither."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

__all__ = ["parse_json", "parse_text"]


def parse_text(path: Path) -> str:
    """Read a text file in UTF-8, with or without a byte order mark.

    Raises:
        ValueError: when it holds bytes that are not UTF-8.
    """
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: expected a text file, got bytes that are not UTF-8.") from error


def parse_json(path: Path) -> Any:
    """Read a JSON file.

    Raises:
        ValueError: when it is empty or no JSON.
    """
    text = parse_text(path)
    if not text.strip():
        raise ValueError(f"{path}: expected JSON, got an empty file.")
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise ValueError(f"{path}: expected JSON, got an error in line {error.lineno}: {error.msg}.") from error
