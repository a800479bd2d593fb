# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
"""Write files that are complete or absent, wherever a process is stopped."""

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
"""Prefix of files that are being written. Any file that begins with it can be deleted once no process writes it."""


@contextmanager
def replacing(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Write a file under another name in the same folder, and move it to its place once it is complete and on the disk.

    If a process is killed or the power fails, the old file or the new one remains, never a part. After an error while
    writing, the old file remains. Only one process at a time may write the same file.

    Args:
        path: of the file; its folder is created if needed.

    Yields:
        the path to write to: in the same folder, with the same extension, hidden, not existing yet.

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
    if os.name == "posix":  # other systems cannot open a folder
        _to_disk(target.parent)


@contextmanager
def replacing_group(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Write a group of files, such as an image's header and its data, like :func:`replacing`.

    All files written beside the yielded path are moved to their place, and the file itself last: if it exists, all do.

    Args:
        path: of the main file of the group; its folder is created if needed.

    Yields:
        the path to write to: with the same name, in a hidden folder of its own.

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
    """Delete incomplete files that killed processes left in a folder; no process may be writing there now.

    Args:
        folder: where :func:`replacing` and :func:`replacing_group` wrote. Folders below it are left alone, because
            other processes may be writing there.
    """
    for path in Path(folder).glob(f"{UNFINISHED}*"):
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()


def find_files(folder: str | os.PathLike[str], patterns: Sequence[str]) -> list[Path]:
    """List the files of a folder that match any of the patterns, each once, sorted; none if there is no such folder.

    Example:
        >>> find_files("/no/such/folder", ["*.csv", "scores.*"])
        []
    """
    return sorted({path for pattern in patterns for path in Path(folder).glob(pattern) if path.is_file()})


def free_bytes(folder: str | os.PathLike[str]) -> str:
    """Say how much space the disk of a folder has, for a message about a file that could not be written.

    Example:
        >>> free_bytes("/no/such/folder")
        'no such folder'
    """
    return f"{shutil.disk_usage(folder).free} bytes free there" if os.path.isdir(folder) else "no such folder"


def printable(text: str) -> str:
    r"""Make a text printable: bytes of a file name that are not UTF-8 become ``\xNN``.

    Example:
        >>> print(printable(os.fsdecode(b"va\xff.nii.gz")))
        va\xff.nii.gz
    """
    return re.sub("[\ud800-\udfff]", lambda found: f"\\x{ord(found[0]) & 0xFF:02x}", text)


def show_any_name() -> None:
    """Let a program print any file name: characters that the terminal's encoding lacks are shown with backslashes.

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
    """Return a path that is equal for two names of one place. Links are followed in all parts but the last.

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
