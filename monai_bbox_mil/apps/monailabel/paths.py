# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
"""Keep the paths that a server builds from names in requests below the folders that they are meant for."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any, TypeVar

from fastapi import HTTPException
from monailabel.interfaces.exception import MONAILabelException

from monai_bbox_mil.apps.monailabel.requests import check_tag

__all__ = ["PlainNames", "PlainSessions", "is_upload", "with_checks"]

T = TypeVar("T")


def with_checks(kind: type, instance: T) -> T:
    """Let the methods of ``kind`` check the arguments before the instance's own class gets them.

    Args:
        kind: class whose methods end in ``super()``.
        instance: of a class that MONAI Label chose by the address of the studies.

    Example:
        >>> class Loud:
        ...     def append(self, item):
        ...         super().append(item.upper())
        >>> class Names(list):
        ...     pass
        >>> names = with_checks(Loud, Names())
        >>> names.append("a")
        >>> isinstance(names, Names), names
        (True, ['A'])
    """
    own: Any = type(instance)
    instance.__class__ = type(f"{kind.__name__}{own.__name__}", (kind, own), {})
    return instance


def is_upload(path: str, folders: Iterable[str]) -> bool:
    """Return whether MONAI Label stored a file there, uploaded with a request or for a session.

    Args:
        path: of a file or folder, which need not exist.
        folders: the only folders below which files may be read.

    Example:
        >>> is_upload("/etc/passwd", []), is_upload("/studies/../etc/passwd", ["/studies"])
        (False, False)
    """
    resolved, temporary = Path(path).resolve(), Path(tempfile.gettempdir()).resolve()
    if resolved.parent == temporary and resolved.name.startswith(tempfile.gettempprefix()):
        return True
    return any(resolved.is_relative_to(Path(folder).resolve()) for folder in folders)


def _check_id(name: str, value: object) -> None:
    parts = re.split(r"[/\\]", value) if isinstance(value, str) else [""]
    if not {"", ".", ".."}.isdisjoint(parts) or "\0" in str(value):
        raise HTTPException(400, f"{name}: expected an id of an image or a file name, got {value!r:.200}.")


def _check_tag(value: object) -> None:
    try:
        check_tag("tag", value)
    except MONAILabelException as error:
        raise HTTPException(400, error.msg) from error


class PlainNames:
    """A datastore whose images and labels stay in their folders: an id with ``..`` would write or read outside of them.

    Raises:
        HTTPException: 400, for an id or a tag that leads elsewhere.
    """

    def add_image(self, image_id: str, image_filename: str, image_info: dict[str, Any]) -> str:
        if image_id:
            _check_id("image", image_id)
        added: str = super().add_image(image_id, image_filename, image_info)  # type: ignore[misc]
        return added

    def remove_image(self, image_id: str) -> None:
        _check_id("id", image_id)
        super().remove_image(image_id)  # type: ignore[misc]

    def get_image_uri(self, image_id: str) -> str:
        _check_id("image", image_id)
        uri: str = super().get_image_uri(image_id)  # type: ignore[misc]
        return uri

    def save_label(self, image_id: str, label_filename: str, label_tag: str, *args: Any, **options: Any) -> str:
        _check_id("image", image_id)
        _check_tag(label_tag)
        saved: str = super().save_label(image_id, label_filename, label_tag, *args, **options)  # type: ignore[misc]
        return saved

    def get_label_uri(self, label_id: str, label_tag: str, *args: Any, **options: Any) -> str:
        _check_id("label", label_id)
        _check_tag(label_tag)
        uri: str = super().get_label_uri(label_id, label_tag, *args, **options)  # type: ignore[misc]
        return uri

    def remove_label(self, label_id: str, label_tag: str) -> None:
        _check_id("id", label_id)
        _check_tag(label_tag)
        super().remove_label(label_id, label_tag)  # type: ignore[misc]


class PlainSessions:
    """Sessions that are found only by their own ids, and archives that unpack only below their own folder.

    Raises:
        HTTPException: 400, for an archive that is not a zip, which could write anywhere.
    """

    def get_session(self, session_id: str, *args: Any, **options: Any) -> Any:
        if not re.fullmatch(r"[\w-]+", session_id):
            return None
        return super().get_session(session_id, *args, **options)  # type: ignore[misc]

    def add_session(self, data_file: str, expiry: int = 0, uncompress: bool = False, *args: Any, **options: Any) -> Any:
        if uncompress and not data_file.lower().endswith(".zip"):
            raise HTTPException(400, f"files: expected a .zip to uncompress, got {Path(data_file).name!r:.200}.")
        return super().add_session(data_file, expiry, uncompress, *args, **options)  # type: ignore[misc]
