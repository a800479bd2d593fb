# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
"""Print what stopped a run as its last lines, without the errors that others wrap around it."""

from __future__ import annotations

import re
import sys
from types import TracebackType

from monai_bbox_mil.runs.files import show_any_name

__all__ = ["end_with_the_cause", "last_word", "stopped_by"]

_WRAPPERS = ("Failed to evaluate ", "Failed to instantiate component ", "applying transform ")
_LINKS = re.compile(
    r"\n\n(?:The above exception was the direct cause of|During handling of the above exception,) [^\n]*\n\n"
)


def stopped_by(error: BaseException) -> str:
    """Return type and message of the error that stopped a run, without those that MONAI wraps around it.

    Args:
        error: as the run raised it. An error of a data loader process includes the others as text.

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
        return _type_and_message(error)
    messages = [_message(part) for part in _LINKS.split(text.rstrip())]
    return next((each for each in reversed(messages) if not each.partition(": ")[2].startswith(_WRAPPERS)), messages[0])


def last_word(error: BaseException) -> str:
    """Return what to print below the traceback of an error that ended a run; empty where its last line is enough.

    Example:
        >>> last_word(ValueError("too small"))
        ''
    """
    cause = stopped_by(error)
    return "" if cause == _type_and_message(error) else f"\nWhat stopped the run (see above for where):\n{cause}\n"


def end_with_the_cause() -> None:
    """Make a failing run from the command line print what stopped it below its traceback; call it in ``initialize``.

    MONAI wraps an error into others, one for each part of the configuration that it passes, and the last line of a
    traceback shows only the outermost. This does nothing where another program runs the bundle and handles its errors.
    """
    spec = getattr(sys.modules["__main__"], "__spec__", None)
    if spec is None or spec.name != "monai.bundle.__main__" or getattr(sys.excepthook, "ends_with_the_cause", False):
        return
    show_any_name()
    print_traceback = sys.excepthook

    def print_error(kind: type[BaseException], error: BaseException, traceback: TracebackType | None) -> None:
        print_traceback(kind, error, traceback)
        sys.stderr.write(last_word(error))

    print_error.ends_with_the_cause = True  # type: ignore[attr-defined]
    sys.excepthook = print_error


def _type_and_message(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}"


def _message(traceback: str) -> str:
    """Return the lines below the last frame of a traceback that is given as text."""
    lines = traceback.splitlines()
    frames = [number for number, line in enumerate(lines) if line.startswith("  ")]
    return "\n".join(lines[frames[-1] + 1 :] if frames else lines)
