# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
"""What a reader raises, so that every error of an annotation names it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from textwrap import shorten

__all__ = ["UnforeseenContentError", "errors_with_name"]


class UnforeseenContentError(ValueError):
    """A reader met what it does not check for; the cause is what it raised.

    Libraries that decode a file while it is read, such as pydicom, raise nearly anything at damaged bytes. From a
    reader of text it is a fault of the reader, which tests can tell by this class.

    Example:
        >>> issubclass(UnforeseenContentError, ValueError)
        True
    """


@contextmanager
def errors_with_name(name: str, image: str = "") -> Iterator[None]:
    """Around the reading of an annotation: only errors that name it, or its image, come out.

    Args:
        name: of the annotation, for messages.
        image: name of the image, empty where none is looked at.

    Raises:
        ImportError: as it comes, since a package that is missing is nothing of the file's.
        OSError: when the file cannot be opened.
        ValueError: for any other error, :class:`UnforeseenContentError` where its message lacked the name.

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
        told = str(error)
        if isinstance(error, ValueError) and (name in told or (image and image in told)):
            raise
        told = f"{type(error).__name__}: {shorten(told, 200)}"
        raise UnforeseenContentError(f"{name}: cannot be read ({told}); is the file damaged?") from error
