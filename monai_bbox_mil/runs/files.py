# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
"""Files that are there as a whole or not at all, wherever a process is stopped."""

from __future__ import annotations

import codecs
import io
import os
import re
import shutil
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

__all__ = [
    "UNFINISHED",
    "clear_unfinished",
    "find_files",
    "free_bytes",
    "printable",
    "replacing",
    "replacing_group",
    "same_place",
    "show_any_name",
]

UNFINISHED = ".unfinished_"
"""Begins the name of what is still being written. Whatever is called so and not at work can be deleted."""


@contextmanager
def replacing(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Write a file under another name beside its place, and move it there once it is complete and on the disk.

    A process that is killed, or a machine that loses its power, leaves the former file or the new one, never a part.
    An error while writing leaves the former file. Only one process may write the same file at a time.

    Args:
        path: of the file; its folder is made if it is not there.

    Yields:
        the path to write to: same folder and extension, hidden, absent.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     with replacing(Path(folder, "scores.csv")) as unfinished:
        ...         _ = unfinished.write_text("case,dice")
        ...     [path.name for path in Path(folder).iterdir()]
        ['scores.csv']
    """
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    unfinished = target.with_name(UNFINISHED + target.name)
    unfinished.unlink(missing_ok=True)
    try:
        yield unfinished
        _to_disk(unfinished)
        unfinished.replace(target)
    except BaseException:
        unfinished.unlink(missing_ok=True)
        raise
    if os.name == "posix":  # elsewhere a folder cannot be opened
        _to_disk(target.parent)


@contextmanager
def replacing_group(path: str | os.PathLike[str]) -> Iterator[Path]:
    """As :func:`replacing`, for a file that others belong to, such as an image's header and its data.

    All that is written beside the yielded path is moved to its place, the file itself last: where it is, all are.

    Args:
        path: of the file by which the others are found; its folder is made if it is not there.

    Yields:
        the path to write to: same name, in a hidden folder of its own.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     with replacing_group(Path(folder, "mask.mhd")) as unfinished:
        ...         for each in (unfinished, unfinished.with_suffix(".raw")):
        ...             _ = each.write_text("")
        ...     sorted(path.name for path in Path(folder).iterdir())
        ['mask.mhd', 'mask.raw']
    """
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(prefix=UNFINISHED, dir=target.parent) as folder:
        yield Path(folder, target.name)
        written = sorted(Path(folder).iterdir(), key=lambda each: (each.name == target.name, each.name))
        for each in written:
            _to_disk(each)
        for each in written:
            each.replace(target.parent / each.name)
    if os.name == "posix":
        _to_disk(target.parent)


def clear_unfinished(folder: str | os.PathLike[str]) -> None:
    """Delete what processes left half-written in a folder when they were killed; none may be writing there now.

    Args:
        folder: where :func:`replacing` and :func:`replacing_group` wrote. Folders below are not looked at: others may
            be at work there.
    """
    for path in Path(folder).glob(f"{UNFINISHED}*"):
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()


def find_files(folder: str | os.PathLike[str], patterns: Sequence[str]) -> list[Path]:
    """Files of a folder whose names match any of some patterns, each once, sorted; none where there is no folder.

    Example:
        >>> find_files("/no/such/folder", ["*.csv", "scores.*"])
        []
    """
    return sorted({path for pattern in patterns for path in Path(folder).glob(pattern) if path.is_file()})


def free_bytes(folder: str | os.PathLike[str]) -> str:
    """How much room the disk of a folder has, in words for a message about a file that could not be written.

    Example:
        >>> free_bytes("/no/such/folder")
        'no such folder'
    """
    return f"{shutil.disk_usage(folder).free} bytes free there" if os.path.isdir(folder) else "no such folder"


def printable(text: str) -> str:
    r"""A text that can be printed and encoded: bytes of a file name that are no UTF-8 become ``\xNN``.

    Example:
        >>> print(printable(os.fsdecode(b"va\xff.nii.gz")))
        va\xff.nii.gz
    """
    return re.sub("[\ud800-\udfff]", lambda found: f"\\x{ord(found[0]) & 0xFF:02x}", text)


def show_any_name() -> None:
    """Let a program print names of files that are not in the terminal's encoding, with backslashes for what is not.

    Example:
        >>> show_any_name()
    """
    codecs.register_error("any_name", _escape)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="any_name")


def _escape(error: UnicodeError) -> tuple[str | bytes, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    text = printable(error.object[error.start : error.end])
    return text.encode("ascii", "backslashreplace").decode("ascii"), error.end


def same_place(path: str | os.PathLike[str]) -> Path:
    """A path that is equal for two names of one place: links of folders are followed, a link in the place is not.

    Example:
        >>> same_place("images/../masks/a.png") == same_place("masks/a.png")
        True
    """
    folder, name = os.path.split(os.path.abspath(path))
    return Path(os.path.realpath(folder), name)


def _to_disk(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
