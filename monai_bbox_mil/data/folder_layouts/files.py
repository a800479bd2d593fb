# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
"""The files below a folder: which may be images, masks or annotations, and which belong together by their places."""

from __future__ import annotations

import os
import re
import unicodedata
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from monai_bbox_mil.annotations.formats import FORMATS
from monai_bbox_mil.data.image_files import IMAGE_EXTENSIONS, image_stem

__all__ = ["FolderFile", "FolderFiles", "folder_file", "list_folder", "plain_name", "walk"]

PICTURES = tuple(ending for ending in IMAGE_EXTENSIONS if ending != ".dcm")
_BOXES = tuple(dict.fromkeys(end for format in FORMATS.values() for end in format.suffixes if end != ".dcm"))
# imagesTr belongs to labelsTr, images_val to masks_val. Other endings may be names, as in "segovia".
_ENDING = r"(?P<ending>|Tr|Ts|[-_.]?(?:train|val|test)[a-z0-9]*|[-_.]?[0-9]+)"
_IMAGES = re.compile(r"(?:images?|imgs?)" + _ENDING, re.IGNORECASE)
_LABELS = re.compile(
    r"(?:masks?|labels?|segmentations?|segs?|bbox(?:es)?|box(?:es)?|annotations?|rois?|markups?)" + _ENDING,
    re.IGNORECASE,
)


class FolderFile(NamedTuple):
    """A file, and what decides to which other files it belongs."""

    path: Path
    place: tuple[str, ...]
    """Its folder, which is the same for files in ``images/``, in ``masks/`` beside it, and in the folder of both."""
    stem: str
    """Its name without extension."""
    beside_images: bool
    """Whether it lies in a folder for labels, such as ``masks/``, so that it is no image."""


class FolderFiles(NamedTuple):
    """All files of a folder, sorted."""

    root: Path
    pictures: list[FolderFile]
    """Images and masks."""
    boxes: list[FolderFile]
    """Files with the extensions of box files; what they contain is unknown."""
    others: list[Path]


def list_folder(root: Path) -> FolderFiles:
    """List the files in a folder and in all folders below it, without hidden ones.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     for name in ("images/a.png", "labels/a.txt"):
        ...         Path(folder, name).parent.mkdir()
        ...         Path(folder, name).touch()
        ...     found = list_folder(Path(folder))
        >>> found.pictures[0].place == found.boxes[0].place, found.pictures[0].stem, found.boxes[0].stem
        (True, 'a', 'a')
    """
    pictures, boxes, others = [], [], []
    for path in walk(root):
        name = path.name.lower()
        if name.endswith(PICTURES):
            pictures.append(folder_file(root, path))
        elif name.endswith(_BOXES):
            ending = max((end for end in (".mrk.json", *_BOXES) if name.endswith(end)), key=len)
            boxes.append(folder_file(root, path)._replace(stem=plain_name(path.name[: -len(ending)])))
        else:
            others.append(path)
    if all(file.beside_images for file in pictures):
        # Without images elsewhere, these are the images, whatever their folder is called.
        pictures = [file._replace(beside_images=False) for file in pictures]
    return FolderFiles(root, pictures, boxes, others)


def folder_file(root: Path, path: Path) -> FolderFile:
    """Describe an image below a folder, a file or the folder of a DICOM series."""
    folders = path.parent.relative_to(root).parts if path != root else ()
    place = tuple(filter(None, (_ending(plain_name(folder)) for folder in folders)))
    return FolderFile(path, place, plain_name(image_stem(path)), any(_LABELS.fullmatch(folder) for folder in folders))


def plain_name(name: str) -> str:
    """Return a name in one Unicode spelling: programs on macOS write accents apart, others do not."""
    return unicodedata.normalize("NFC", name)


def walk(root: Path) -> Iterator[Path]:
    """Yield all files below a folder, sorted, without hidden ones. Links to folders are followed, each once.

    Folders that may not be read are named in a warning.
    """
    seen: set[str] = set()
    for folder, folders, files in os.walk(root, onerror=_warn_of_unreadable, followlinks=True):
        real = os.path.realpath(folder)
        if real in seen:
            folders.clear()
            continue
        seen.add(real)
        folders[:] = sorted(name for name in folders if not name.startswith(".") and name != "__MACOSX")
        yield from (Path(folder, name) for name in sorted(files) if not name.startswith("."))


def _warn_of_unreadable(error: OSError) -> None:
    if not isinstance(error, FileNotFoundError | NotADirectoryError):
        warnings.warn(f"{error.filename}: {error.strerror}, so its files are left out.", stacklevel=3)


def _ending(folder: str) -> str:
    """Return a folder's name, or only the end of it where the name just says what kind of files it holds."""
    found = _IMAGES.fullmatch(folder) or _LABELS.fullmatch(folder)
    return folder if found is None else found["ending"].lower()
