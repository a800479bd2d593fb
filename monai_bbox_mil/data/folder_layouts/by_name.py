# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
"""Match box files and masks to images by their names."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Collection, Mapping
from typing import NamedTuple

from monai_bbox_mil.data.folder_layouts.files import FolderFile, FolderFiles, plain_name

__all__ = ["Match", "Matches", "mask_word", "match_by_name"]

_MASK = re.compile(r"(?P<base>.+)[-_.](?P<word>segmentation|seg|mask|label)s?(?:[-_.]?[0-9]+)?", re.IGNORECASE)
_BOX_WORD = re.compile(r"[-_. ](?:bbox(?:es)?|box(?:es)?|rois?|annotations?)$", re.IGNORECASE)
_NUMBER = re.compile(r"([-_. ]?)[0-9]+")


class Match(NamedTuple):
    """An image with the files that belong to it by name."""

    image: FolderFile
    masks: list[FolderFile]
    boxes: list[FolderFile]


class Matches(NamedTuple):
    """All images, and the files that belong to none."""

    images: list[Match]
    masks: list[FolderFile]
    """Masks, from a folder for masks, without an image."""
    boxes: list[FolderFile]
    """Files with the extension of a box file that have no image of their name."""


def match_by_name(files: FolderFiles) -> Matches:
    """Match masks and possible box files to images in the same place.

    A mask has the image's name with ``_mask``, ``_seg``, ``_segmentation`` or ``_label`` behind it (or with ``-`` or
    ``.``), or lies in a folder for masks. Slicer's markups have the image's name, and anything behind it that does not
    continue its last word or number; the longest name of an image wins. Other box files have the image's name alone,
    with or without its extension, or with ``_boxes`` or the like behind it. Several images of one name get the same.

    Raises:
        ValueError: when a number may be that of an ROI or of an image.

    Example:
        >>> from pathlib import Path
        >>> files = [FolderFile(Path(name), (), Path(name).stem, False) for name in ("a1.png", "a10.png", "a1_seg.png")]
        >>> markups = [FolderFile(Path(f"{name}.mrk.json"), (), name, False) for name in ("a10", "a1_R", "a1", "b")]
        >>> found = match_by_name(FolderFiles(Path(), files, markups, []))
        >>> [(len(each.masks), [file.stem for file in each.boxes]) for each in found.images]
        [(1, ['a1_R', 'a1']), (0, ['a10'])]
    """
    candidates = [file for file in files.pictures if not file.beside_images]
    stems: dict[tuple[str, ...], set[str]] = defaultdict(set)
    for file in candidates:
        stems[file.place].add(file.stem)
    images: dict[tuple[tuple[str, ...], str], list[Match]] = defaultdict(list)
    masks: list[tuple[FolderFile, str | None]] = []
    for file in files.pictures:
        base = _base_of_mask(file, stems[file.place])
        if base is not None or file.beside_images:
            masks.append((file, base))
        elif not file.stem.lower().endswith("_pred"):
            images[file.place, file.stem].append(Match(file, [], []))
    matches = Matches([match for group in images.values() for match in group], [], [])
    for file, base in masks:
        owners = images.get((file.place, base), []) if base is not None else []
        for each in [owner.masks for owner in owners] or [matches.masks]:
            each.append(file)
    names: dict[tuple[str, ...], dict[str, str]] = defaultdict(dict)
    for place, stem in images:
        names[place].update({plain_name(match.image.path.name): stem for match in images[place, stem]})
    for place, stem in images:
        names[place][stem] = stem
    for file in files.boxes:
        name = _owner(file, names[file.place])
        owners = [] if name is None else images[file.place, name]
        for each in [owner.boxes for owner in owners] or [matches.boxes]:
            each.append(file)
    return matches


def mask_word(mask: FolderFile, image: FolderFile) -> str:
    """Return what a mask's name adds to the image's, without a number: ``"_seg"`` for ``a_seg_2.png``."""
    found = None if mask.stem == image.stem else _MASK.fullmatch(mask.stem)
    return "" if found is None else mask.stem[len(found["base"]) : found.end("word")].lower()


def _base_of_mask(file: FolderFile, stems: Collection[str]) -> str | None:
    """Return the name of the image that a file is the mask of, if it is one."""
    if file.beside_images and file.stem in stems:
        return file.stem
    found = _MASK.fullmatch(file.stem)
    return found["base"] if found is not None and found["base"] in stems else None


def _owner(file: FolderFile, names: Mapping[str, str]) -> str | None:
    """Return the name of the image that a box file belongs to. ``names`` are the images' names, with and without
    extension."""
    if not file.path.name.lower().endswith(".mrk.json"):
        return names.get(file.stem) or names.get(_BOX_WORD.sub("", file.stem))
    word = file.stem
    for end in range(len(word), 0, -1):
        if word[:end] in names and (end == len(word) or not _continues(word[end - 1], word[end])):
            _check_number(file, word[:end], word[end:], names)
            return names[word[:end]]
    return None


def _continues(last: str, following: str) -> bool:
    """Return whether a character continues the word or number before it, as in ``a10`` after ``a1``."""
    if last.isalpha() and following.isalpha():
        return not (last.islower() and following.isupper())
    return last.isdecimal() and following.isdecimal()


def _check_number(file: FolderFile, name: str, rest: str, names: Mapping[str, str]) -> None:
    """Refuse ``scan_20.mrk.json`` beside ``scan.nii.gz`` and ``scan_2.nii.gz``: the image of the ROI may be absent."""
    number = _NUMBER.fullmatch(rest)
    if number is None:
        return
    other = re.compile(re.escape(name + number[1]) + "[0-9]+")
    alike = next((names[each] for each in names if other.fullmatch(each)), None)
    if alike is not None:
        better = f"{name}_roi_{rest.lstrip('-_. ')}.mrk.json"
        raise ValueError(
            f"{file.path}: expected a name that says whose ROI it is, got one that fits the image {name} and, beside "
            f"{alike}, an image {file.stem} that is not there. Rename it, such as to {better}, or "
            "delete it."
        )
