# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
"""What stopped a run, in the last lines that it prints."""

from __future__ import annotations

import sys
from types import TracebackType

from monai_bbox_mil.errors import last_word
from monai_bbox_mil.files import show_any_name

__all__ = ["end_with_the_cause"]


def end_with_the_cause() -> None:
    """Let a run from the command line that fails print below its traceback what stopped it; call it in ``initialize``.

    MONAI wraps an error into others, one for each part of the configuration that it comes through, and the last line of
    a traceback tells of the outermost. Does nothing where another program runs the bundle: its errors are its own.
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
