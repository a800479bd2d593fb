# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
"""Annotation files to text or JSON, refused with the file's name where they are neither."""

from __future__ import annotations

import codecs
import json
from pathlib import Path
from typing import Any

from monai_bbox_mil.annotations.values import shown

__all__ = ["parse_json", "parse_text"]

# The mark of UTF-32 begins with that of UTF-16.
_MARKS = (
    (codecs.BOM_UTF32_LE, "UTF-32"),
    (codecs.BOM_UTF32_BE, "UTF-32"),
    (codecs.BOM_UTF16_LE, "UTF-16"),
    (codecs.BOM_UTF16_BE, "UTF-16"),
)


def parse_text(path: Path) -> str:
    """Read a text file in UTF-8, or in another encoding of Unicode that its byte order mark names.

    Raises:
        ValueError: when it holds bytes that are none.
    """
    content = path.read_bytes()
    encoding = next((name for mark, name in _MARKS if content.startswith(mark)), "UTF-8")
    try:
        text = content.decode(encoding)
    except UnicodeDecodeError as error:
        raise ValueError(
            f"{path}: expected a text file, got bytes that are not {encoding}; save it as UTF-8."
        ) from error
    return text.removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n")


def parse_json(path: Path) -> Any:
    """Read a JSON file.

    Raises:
        ValueError: when it is empty or no JSON, or one of its objects has two values for one key.
    """
    text = parse_text(path)
    if not text.strip():
        raise ValueError(f"{path}: expected JSON, got an empty file.")
    try:
        return json.loads(text, object_pairs_hook=_object)
    except json.JSONDecodeError as error:
        raise ValueError(f"{path}: expected JSON, got an error in line {error.lineno}: {error.msg}.") from error
    except RecursionError as error:
        raise ValueError(f"{path}: expected JSON, got brackets within brackets that are too many to read.") from error
    # One of our own about a key, or Python's about a number of thousands of digits.
    except ValueError as error:
        raise ValueError(f"{path}: expected JSON, got {error}.") from error


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object of JSON, in which a key may only be there twice with one value: which of two counts is not known."""
    found = dict(pairs)
    if len(found) < len(pairs):
        for key, value in pairs:
            if found[key] != value:
                raise ValueError(f"the key {shown(key)} twice in one object, with different values")
    return found
