# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
"""Settings as words: what a person typed, and what MONAI would read into a text that it should leave alone."""

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
    """A setting as one types it on the command line.

    Example:
        >>> as_typed("image_size", [96, 96]), as_typed("resume", True), as_typed("box_classes", ["left lung"])
        ('--image_size "[96,96]"', '--resume True', '--box_classes "[\\'left lung\\']"')
    """
    if isinstance(value, (list, tuple)):
        return f'--{name} "[{",".join(map(repr, value))}]"'
    text = str(value)
    if text.startswith("-"):  # it would be taken for a name
        return f"--{name}={text}"
    return f"--{name} {text!r}" if not text or set(text) & set(" \"'$#@()[]{}&;") else f"--{name} {text}"


def typed_words(arguments: Sequence[str] | None = None) -> dict[str, str]:
    """What was typed behind each ``--NAME`` of ``python -m monai.bundle``, before it was parsed as Python.

    That parsing makes a number of ``2024`` and of ``1_2``, and ``data`` of ``data#2``.

    Args:
        arguments: of the command; those of this process when ``None``, if it is that command.

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
    """Whether MONAI computes a value of a configuration instead of taking it as it is.

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
    """A value that MONAI leaves as it is: it would take ``#`` for ``::``, and run or look up what begins with ``$@%``.

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
    """A word that was typed, without the quotes of a Python string around it, if there are any.

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
    """A text, or a list of texts, with the ``#`` that MONAI has turned into ``::`` before anybody could look.

    Args:
        value: of a setting; what is no text stays.
        place: whether it is a path; one whose ``::`` is on the disk stays.

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
