# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
"""Parse annotation files as text, JSON or XML; every error names the file."""

from __future__ import annotations

import codecs
import json
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from monai_bbox_mil.annotations.values import shown

__all__ = ["parse_json", "parse_text", "parse_xml"]

# The UTF-32 mark begins with the UTF-16 one, so it comes first.
_MARKS = (
    (codecs.BOM_UTF32_LE, "UTF-32"),
    (codecs.BOM_UTF32_BE, "UTF-32"),
    (codecs.BOM_UTF16_LE, "UTF-16"),
    (codecs.BOM_UTF16_BE, "UTF-16"),
)


def parse_text(path: Path) -> str:
    """Read a text file in UTF-8, or in the Unicode encoding that its byte order mark names.

    Raises:
        ValueError: when some bytes are not valid in that encoding.
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
        ValueError: when it is empty, is not JSON, or has an object with two values for one key.
    """
    text = parse_text(path)
    if not text.strip():
        raise ValueError(f"{path}: expected JSON, got an empty file.")
    try:
        return json.loads(text, object_pairs_hook=_object)
    except json.JSONDecodeError as error:
        raise ValueError(f"{path}: expected JSON, got an error in line {error.lineno}: {error.msg}.") from error
    except RecursionError as error:
        raise ValueError(f"{path}: expected JSON, got brackets that are nested too deeply to read.") from error
    # Either our own error about a key, or Python's about a number with thousands of digits.
    except ValueError as error:
        raise ValueError(f"{path}: expected JSON, got {error}.") from error


def parse_xml(path: Path) -> ElementTree.Element:
    """Read an XML file and return its root.

    Raises:
        ValueError: when it is empty or not XML; when it defines entities of its own, by which a short file can grow
            to fill the memory.
    """
    text = parse_text(path)
    if not text.strip():
        raise ValueError(f"{path}: expected XML, got an empty file.")
    if "<!DOCTYPE" in text or "<!ENTITY" in text:
        raise ValueError(f"{path}: expected XML without DOCTYPE and ENTITY, which annotation tools do not write.")
    try:
        return ElementTree.fromstring(text)
    except ElementTree.ParseError as error:
        raise ValueError(f"{path}: expected XML, got an error: {error}.") from error


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Build a JSON object, and raise if a key has two values: the intended one is unknown."""
    found = dict(pairs)
    if len(found) < len(pairs):
        for key, value in pairs:
            if found[key] != value:
                raise ValueError(f"the key {shown(key)} twice in one object, with different values")
    return found
