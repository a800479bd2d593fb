# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
"""Make every error of an annotation name the annotation."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from textwrap import shorten

__all__ = ["UnforeseenContentError", "errors_with_name"]


class UnforeseenContentError(ValueError):
    """A reader raised an error that it does not check for; ``__cause__`` is that error.

    Libraries that decode a file lazily, such as pydicom, raise almost any exception for damaged bytes. For a text
    format it is a bug of the reader, which tests recognise by this class.

    Example:
        >>> issubclass(UnforeseenContentError, ValueError)
        True
    """


@contextmanager
def errors_with_name(name: str, image: str = "") -> Iterator[None]:
    """Wrap the reading of an annotation so that every error names the annotation or its image.

    Args:
        name: of the annotation, for messages.
        image: name of the image; empty where no image is involved.

    Raises:
        ImportError: unchanged, because a missing package is not the file's fault.
        OSError: unchanged, when the file cannot be opened.
        ValueError: for any other error; :class:`UnforeseenContentError` if its message lacked the name.

    Example:
        >>> with errors_with_name("a.dcm"):  # doctest: +ELLIPSIS
        ...     {}["ROINumber"]
        Traceback (most recent call last):
        monai_bbox_mil.annotations.guard.UnforeseenContentError: a.dcm: cannot be read (KeyError: 'ROINumber'); is ...
    """
    try:
        yield
    except ImportError:
        raise
    except Exception as error:
        if isinstance(error, OSError) and error.filename is not None:
            raise
        message = str(error)
        if isinstance(error, ValueError) and (name in message or (image and image in message)):
            raise
        reason = f"{type(error).__name__}: {shorten(message, 200)}"
        raise UnforeseenContentError(f"{name}: cannot be read ({reason}); is the file damaged?") from error
