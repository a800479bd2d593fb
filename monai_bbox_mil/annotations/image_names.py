# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
"""Match the entries of an annotation file to images, for the formats that describe several images.

An entry is the image's path or the end of it, with or without the extension, written with slashes or backslashes. If
all entries of a table begin with the same folders, such as ``images/``, these may have changed since, unless they lead
to another file. Folders that differ within the table, such as one per patient, must be those of the image. If several
entries fit, the longest match wins.
"""

from __future__ import annotations

import os
import posixpath
import re
import unicodedata
import warnings
from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from monai_bbox_mil.annotations.interface import Annotation
from monai_bbox_mil.annotations.values import shown

__all__ = ["ImageEntry", "ImageNames", "image_path", "name_without_extension"]

# A number after a dot is part of the name, as in the folder 1.2.840.1 of a DICOM series.
_EXTENSION = re.compile(r"\.(?![0-9]+$)[A-Za-z0-9]{1,5}$")


class ImageEntry(NamedTuple):
    """The name of one image in a table."""

    text: str
    """Path or end of a path, as written."""
    case: str = ""
    """Patient or case as written, if the table has it beside the image; else empty."""

    @property
    def words(self) -> str:
        """Return the entry for messages."""
        return f"{shown(self.text)} of {shown(self.case)}" if self.case else shown(self.text)


class ImageNames:
    """The images that a table names, found by their paths.

    Each entry belongs to one image. If a second image fits the entry while the first one still exists, an error is
    raised where both lie below the table's folder, and a warning is given elsewhere. If two patients have images of the
    same name, the table must name folders, because otherwise the intended image is unknown.

    Args:
        entries: all entries, each once.

    Example:
        >>> names = ImageNames([ImageEntry("p1/frame.png"), ImageEntry("p2/frame.png")])
        >>> names.find("/data/p2/frame.png", "boxes.csv")
        [1]
    """

    def __init__(self, entries: Sequence[ImageEntry]) -> None:
        self.entries = tuple(entries)
        self._parts = [_split(entry.text) for entry in self.entries]
        self._cases = [_split(entry.case)[-1:] for entry in self.entries]
        self._by_path: dict[tuple[str, ...], list[int]] = defaultdict(list)
        self._by_name: dict[str, list[int]] = defaultdict(list)
        for index, parts in enumerate(self._parts):
            self._by_path[parts].append(index)
            self._by_name[parts[-1] if parts else ""].append(index)
        self._deepest = max(map(len, self._parts), default=0)
        self._shared = _count_shared([parts[:-1] for parts in self._parts if len(parts) > 1])
        self._taken: dict[int, str] = {}

    def find(self, path: str, table: str) -> list[int]:
        """Return the positions of the image's entries: one, or several that differ by the extension only.

        Args:
            path: of the image.
            table: name of the table, for messages.

        Raises:
            ValueError: when several entries fit the image equally well, or an entry fits two images equally well.
        """
        absolute = os.path.abspath(path)
        *folders, name = _split(absolute) or ("",)
        exact, others, stem = _names(name, os.path.isdir(absolute))
        words = dict.fromkeys((exact, *others, stem))
        best = self._with_right_folders(folders, words) or self._with_other_folders(folders, words, table)
        if any(self._parts[index][-1] == exact for index in best):
            # The same name with another extension belongs to another file.
            best = [index for index in best if self._parts[index][-1] not in others]
        best = self._of_case(best, folders)
        for index in best[1:]:
            if self._owner(index) != self._owner(best[0]):
                raise ValueError(
                    f"{table}: expected one entry for the image {path}, got {self.entries[best[0]].words} and "
                    f"{self.entries[index].words}, which fit equally well; name folders so that one fits better."
                )
        for index in best:
            self._take(index, absolute, table)
        return best

    def find_one(self, annotation: Annotation, expected: str) -> int:
        """Return the position of the only entry of an annotation's image.

        Args:
            annotation: the annotation, which knows the path of its image.
            expected: what was expected of the path, for the message, such as ``"a task for {}"``.

        Raises:
            ValueError: when there is no such entry or several, or as :meth:`find`.
        """
        path = image_path(annotation)
        found = self.find(path, annotation.name)
        if len(found) != 1:
            raise ValueError(
                f"{annotation.name}: expected {expected.format(path)}, got {len(found)} of {len(self.entries)}"
                f"{'' if found else self.nearest(path)}."
            )
        return found[0]

    def nearest(self, path: str) -> str:
        """Return the end of a "no entry" message: an entry of that name in another folder or in another letter case."""
        exact, others, stem = _names((_split(path) or ("",))[-1], os.path.isdir(path))
        spellings = {spelling.casefold() for spelling in (exact, *others, stem)}
        alike = (
            entry for parts, entry in zip(self._parts, self.entries) if parts and parts[-1].casefold() in spellings
        )
        return next((f"; the nearest is {entry.words}" for entry in alike), "")

    def _owner(self, index: int) -> tuple[tuple[str, ...], str]:
        """Return the folders and the case of an entry."""
        return self._parts[index][:-1], self.entries[index].case

    def _with_right_folders(self, folders: Sequence[str], words: Iterable[str]) -> list[int]:
        """Return the longest entries that match the end of the image's path."""
        for depth in range(min(self._deepest - 1, len(folders)), -1, -1):
            above = tuple(folders[len(folders) - depth :])
            found = [index for word in words for index in self._by_path.get((*above, word), ())]
            if found:
                return found
        return []

    def _with_other_folders(self, folders: Sequence[str], words: Iterable[str], table: str) -> list[int]:
        """Return entries whose only wrong folders are the ones that all entries share."""
        found: dict[int, list[int]] = defaultdict(list)
        for index in (index for word in words for index in self._by_name.get(word, ())):
            own = self._parts[index][:-1]
            pairs = zip(reversed(own), reversed(folders))
            tail = next((count for count, (a, b) in enumerate(pairs) if a != b), min(len(own), len(folders)))
            if tail >= len(own) - self._shared and not self._leads_elsewhere(index, folders, table):
                found[tail].append(index)
        return found[max(found)] if found else []

    def _of_case(self, best: list[int], folders: Sequence[str]) -> list[int]:
        """Select, among entries for several cases, those for the case that a folder of the image is named after."""
        cases = {case for index in best for case in self._cases[index]}
        if len(cases) < 2:
            return best
        case = next((folder for folder in reversed(folders) if folder in cases), None)
        return best if case is None else [index for index in best if self._cases[index] == (case,)]

    def _leads_elsewhere(self, index: int, folders: Sequence[str], table: str) -> bool:
        """Return whether an entry whose folders are not the image's is the path of an existing file."""
        above = ["/" + "/".join(folders[:count]) for count in range(len(folders) + 1)]
        path = os.path.join(*self._parts[index])
        return any(os.path.exists(os.path.join(root, path)) for root in (os.path.dirname(table), *above))

    def _take(self, index: int, path: str, table: str) -> None:
        other = self._taken.setdefault(index, path)
        if other == path:
            return
        if os.path.exists(path) and (not os.path.exists(other) or os.path.samefile(path, other)):
            self._taken[index] = path
            return
        message = (
            f"{table}: expected an entry for each image, got {self.entries[index].words} for both {other} and {path}; "
            "name the folders in which they differ."
        )
        # Images below the table's own folder are one data set; elsewhere, the second one may be a copy of the first.
        root = os.path.join(os.path.dirname(os.path.abspath(table)), "")
        if path.startswith(root) and other.startswith(root):
            raise ValueError(message)
        warnings.warn(message, stacklevel=2)
        self._taken[index] = path


def image_path(annotation: Annotation) -> str:
    """Return the path of the image, for the formats that describe several.

    Raises:
        ValueError: when the path is unknown.
    """
    if annotation.frame.path is None:
        raise ValueError(
            f"{annotation.name}: expected image.meta['filename_or_obj'], which selects the boxes, got none."
        )
    return annotation.frame.path


def _count_shared(folders: Sequence[tuple[str, ...]]) -> int:
    """Count the leading parts that all paths share."""
    first, last = min(folders, default=()), max(folders, default=())
    return next((count for count, (a, b) in enumerate(zip(first, last)) if a != b), min(len(first), len(last)))


def _split(text: str) -> tuple[str, ...]:
    """Split a path in any system's spelling, without parts that only mean "here" or "up"."""
    plain = posixpath.normpath(unicodedata.normalize("NFC", text.strip()).replace("\\", "/"))
    return tuple(part for part in plain.split("/") if part not in ("", ".", ".."))


def _names(name: str, is_folder: bool) -> tuple[str, tuple[str, ...], str]:
    """Return how a table may name an image: exactly, without or with a compression suffix, without extension."""
    if is_folder:
        return name, (), name
    plain = name[:-3] if name.lower().endswith(".gz") else name
    others = (plain,) if plain != name else (f"{name}.gz",) if name.lower().endswith(".nii") else ()
    return name, others, _EXTENSION.sub("", plain)


def name_without_extension(path: str | os.PathLike[str]) -> str:
    """Return the name of an image without its extension; that of a folder is kept whole.

    Example:
        >>> name_without_extension("images/case.1.nii.gz")
        'case.1'
    """
    return _names(os.path.basename(path), os.path.isdir(path))[2]
