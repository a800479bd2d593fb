# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
"""Convert settings to and from text: as typed by a user, and protected from what MONAI would read into it."""

from __future__ import annotations

import ast
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from monai.bundle.reference_resolver import ReferenceResolver

__all__ = ["as_typed", "is_computed", "keep_as_it_is", "typed_words", "unquoted", "with_hash"]


def as_typed(name: str, value: Any) -> str:
    """Return a setting as a user types it on the command line.

    Example:
        >>> as_typed("image_size", [96, 96]), as_typed("resume", True), as_typed("box_classes", ["left lung"])
        ('--image_size "[96,96]"', '--resume True', '--box_classes "[\\'left lung\\']"')
    """
    if isinstance(value, (list, tuple)):
        return f'--{name} "[{",".join(map(repr, value))}]"'
    text = str(value)
    if text.startswith("-"):  # it would be read as the name of a setting
        return f"--{name}={text}"
    return f"--{name} {text!r}" if not text or set(text) & set(" \"'$#@()[]{}&;") else f"--{name} {text}"


def typed_words(arguments: Sequence[str] | None = None) -> dict[str, str]:
    """Return the text typed after each ``--NAME`` of ``python -m monai.bundle``, before it was parsed as Python.

    Parsing turns ``2024`` and ``1_2`` into numbers, and ``data#2`` into ``data``.

    Args:
        arguments: of the command; with ``None`` those of this process, if it is that command.

    Example:
        >>> typed_words(["run", "--dataset_dir", "data#2", "--max-epochs=3", "--resume"])
        {'dataset_dir': 'data#2', 'max_epochs': '3'}
    """
    if arguments is None:
        spec = getattr(sys.modules["__main__"], "__spec__", None)
        if spec is None or spec.name != "monai.bundle.__main__":
            return {}
        arguments = sys.argv[1:]
    words = {}
    for word, following in zip(arguments, [*arguments[1:], "--"]):
        name, assigned, value = word.removeprefix("--").partition("=")
        if word.startswith("--") and (assigned or not following.startswith("--")):
            words[name.replace("-", "_")] = value if assigned else following
    return words


def is_computed(value: Any) -> bool:
    """Return whether MONAI computes a value of a configuration instead of using it as it is.

    Example:
        >>> [is_computed(value) for value in ("$1 + 1", "@ckpt_dir", "me@home", 3, ["@one", 2])]
        [True, True, False, False, True]
    """
    if isinstance(value, dict):
        return True
    if isinstance(value, (list, tuple)):
        return any(map(is_computed, value))
    return isinstance(value, str) and (value.startswith("$") or bool(ReferenceResolver.match_refs_pattern(value)))


def keep_as_it_is(value: Any) -> Any:
    """Return a value that MONAI leaves unchanged: it would replace ``#``, and evaluate text that begins with ``$@%``.

    Example:
        >>> keep_as_it_is("data#2")
        "$'data\\\\x232'"
        >>> eval(keep_as_it_is("data#2")[1:])
        'data#2'
        >>> keep_as_it_is([2, "plain"])
        [2, 'plain']
    """
    if isinstance(value, list):
        return [keep_as_it_is(item) for item in value]
    if not isinstance(value, str) or not ("#" in value or value.startswith(("$", "@", "%"))):
        return value
    return "$" + repr(value).replace("#", "\\x23").replace("@", "\\x40")


def unquoted(word: str) -> str:
    """Return a typed word without the quotes of a Python string around it, if it has any.

    Example:
        >>> unquoted("'2024'"), unquoted("2024"), unquoted("data#2")
        ('2024', '2024', 'data#2')
    """
    try:
        value = ast.literal_eval(word)
    except (SyntaxError, ValueError):
        return word
    return value if isinstance(value, str) else word


def with_hash(value: Any, place: bool = False) -> Any:
    """Return a text, or a list of texts, with ``#`` where MONAI replaced it by ``::`` before it could be read.

    Args:
        value: of a setting; anything but text is unchanged.
        place: whether it is a path; a path with ``::`` that exists on the disk is unchanged.

    Example:
        >>> with_hash("data::2"), with_hash(["::1", "plain"]), with_hash(64)
        ('data#2', ['#1', 'plain'], 64)
    """
    if isinstance(value, list):
        return [with_hash(item, place) for item in value]
    if not isinstance(value, str) or "::" not in value:
        return value
    if place and any("::" in part.name and os.path.lexists(part) for part in (Path(value), *Path(value).parents)):
        return value
    return value.replace("::", "#")
