# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
"""What went wrong, without what others wrap around it."""

from __future__ import annotations

import re

__all__ = ["last_word", "stopped_by"]

_WRAPPERS = ("Failed to evaluate ", "Failed to instantiate component ", "applying transform ")
_LINKS = re.compile(
    r"\n\n(?:The above exception was the direct cause of|During handling of the above exception,) [^\n]*\n\n"
)


def stopped_by(error: BaseException) -> str:
    """Type and message of the error that stopped a run, without those that MONAI wraps around it.

    Args:
        error: as it came out of the run; one of a process of the data loader carries the others as text.

    Example:
        >>> from monai.transforms import Lambda, apply_transform
        >>> try:
        ...     apply_transform(Lambda(func=float), "one")
        ... except RuntimeError as error:
        ...     print(stopped_by(error))
        ValueError: could not convert string to float: 'one'
    """
    while str(error).startswith(_WRAPPERS) and (inner := error.__cause__ or error.__context__):
        error = inner
    _, traceback, text = str(error).partition("Original Traceback (most recent call last):\n")
    if not traceback:
        return _told(error)
    messages = [_message(part) for part in _LINKS.split(text.rstrip())]
    return next((each for each in reversed(messages) if not each.partition(": ")[2].startswith(_WRAPPERS)), messages[0])


def last_word(error: BaseException) -> str:
    """What to print below the traceback of an error that ended a run; empty where its last line says all.

    Example:
        >>> last_word(ValueError("too small"))
        ''
    """
    cause = stopped_by(error)
    return "" if cause == _told(error) else f"\nWhat stopped the run (where it happened: above):\n{cause}\n"


def _told(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}"


def _message(traceback: str) -> str:
    """The lines below the last frame of a traceback as text."""
    lines = traceback.splitlines()
    frames = [number for number, line in enumerate(lines) if line.startswith("  ")]
    return "\n".join(lines[frames[-1] + 1 :] if frames else lines)
