# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
"""Hash the content of data sets, in seconds the first time and in milliseconds after that."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from benchmarks.accuracy.mistakes import ExperimentError
from monai_bbox_mil.runs.files import UNFINISHED

__all__ = ["DataHashes"]


class DataHashes:
    """Hashes of data sets by the names and contents of their files, independent of their location.

    Args:
        cache: JSON file of known contents by path, size and modification time; a file that keeps all three is not read
            again. With ``None``, every file is read once per object.

    Example:
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     _ = Path(folder, "image.nii").write_bytes(b"1")
        ...     first = DataHashes(None).of_folder(folder)
        ...     _ = Path(folder, "image.nii").write_bytes(b"2")
        ...     first == DataHashes(None).of_folder(folder)
        False
    """

    def __init__(self, cache: str | os.PathLike[str] | None) -> None:
        self._cache = None if cache is None else Path(cache)
        self._known: dict[str, list[Any]] = {}
        if self._cache is not None and self._cache.is_file():
            self._known = json.loads(self._cache.read_text(encoding="utf-8"))
        self._changed = False

    def of_folder(self, folder: str | os.PathLike[str], extra_files: Iterable[str] = ()) -> str:
        """Return the hash of all files in a folder, without hidden ones.

        Args:
            folder: of the data set.
            extra_files: files elsewhere, such as a data list, which are hashed by content.

        Raises:
            ExperimentError: when there is no such folder or it has no file.
        """
        folder = Path(os.path.abspath(folder))
        paths = sorted(path for path in folder.rglob("*") if path.is_file() and not path.name.startswith("."))
        if not paths:
            came = "an empty one" if folder.is_dir() else "nothing"
            raise ExperimentError(
                f"data set {folder}: expected a folder of images, got {came}; data=ROOT names the folder that "
                "holds the data sets."
            )
        named = [(path.relative_to(folder).as_posix(), self._of_file(path)) for path in paths]
        extra = [self._of_file(Path(os.path.abspath(path))) for path in extra_files]
        return hashlib.sha256(json.dumps([named, extra]).encode()).hexdigest()

    def save(self) -> None:
        """Write the cache completely or not at all; if several processes do so at once, the last one wins."""
        if self._cache is None or not self._changed:
            return
        self._cache.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=UNFINISHED, dir=self._cache.parent) as folder:
            unfinished = Path(folder, self._cache.name)
            unfinished.write_text(json.dumps(self._known), encoding="utf-8")
            os.replace(unfinished, self._cache)
        self._changed = False

    def _of_file(self, path: Path) -> str:
        facts = path.stat()
        stamp = [facts.st_size, facts.st_mtime_ns]
        known = self._known.get(str(path))
        if known is None or known[:2] != stamp:
            known = [*stamp, hashlib.sha256(path.read_bytes()).hexdigest()]
            self._known[str(path)] = known
            self._changed = True
        return str(known[2])
