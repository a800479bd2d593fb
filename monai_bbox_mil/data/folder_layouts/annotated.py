# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
"""Data list of a folder of images with their annotations: beside them by name, or in a table of all images."""

from __future__ import annotations

import os
import warnings
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from monai_bbox_mil.annotations.opening import holds_boxes
from monai_bbox_mil.data.datalist_entries import name_patients
from monai_bbox_mil.data.folder_layouts.by_name import Match, Matches, mask_word, match_by_name
from monai_bbox_mil.data.folder_layouts.dicom import find_dicom, name_dicom_patients
from monai_bbox_mil.data.folder_layouts.files import FolderFile, folder_file, list_folder
from monai_bbox_mil.data.folder_layouts.tables import find_tables, items_of_tables
from monai_bbox_mil.runs.texts import first_few

__all__ = ["annotated_datalist"]

_BY_HAND = "write a data list (datalist.json) with the keys 'image' and 'box' or 'mask'"


def annotated_datalist(dataset_dir: str | os.PathLike[str]) -> dict[str, list[dict[str, Any]]] | None:
    """Make the data list of a folder of images whose annotations are recognised by name, or lie in one table.

    - Beside an image ``a.nii.gz``, or in a folder such as ``masks/`` or ``labels/`` beside ``images/``: any number of
      3D Slicer ROIs ``a*.mrk.json``; or one box file ``a.json``, ``a.csv`` or ``a.txt``; or a mask, ``a`` in a folder
      for masks, ``a_mask``, ``a_seg``, ``a_segmentation``, ``a_label``, ``a-label`` or ``a.seg.nrrd``.
    - DICOM series, each in a folder of its own, with the RTSTRUCT and SEG files that refer to them, wherever these lie.
      Files of other types may lie beside a series' folder, with its name.
    - A COCO file or a CSV table of any name that describes the images. Several are read if their names or folders say
      that they are for training, validation and test.

    An image without an annotation is left out with a warning, because nobody knows what it shows. An image that a
    table lists without a box has no object.

    Args:
        dataset_dir: folder of the images, which may lie in folders below it.

    Returns:
        parts of items with ``image``, ``box`` or ``mask``, and ``patient``: ``"training"``, and others where tables
        name them; ``None`` where no annotation is recognised.

    Raises:
        ValueError: when an image has annotations of several kinds, the folder has several tables of one part, two
            annotated images have one name, a box file cannot be parsed, or no annotation belongs to an image.

    Example:
        >>> from tempfile import TemporaryDirectory
        >>> with TemporaryDirectory() as folder:
        ...     for name in ("a.png", "a_mask.png", "b.png", "b.txt"):
        ...         Path(folder, name).touch()
        ...     items = annotated_datalist(folder)["training"]
        >>> [(item["patient"], sorted(item)) for item in items]
        [('a', ['image', 'mask', 'patient']), ('b', ['box', 'image', 'patient'])]
    """
    root = Path(os.path.abspath(dataset_dir))
    files = list_folder(root)
    dicom = find_dicom(files.others)
    by_path = {each.path: each for each in dicom.series}
    matches = match_by_name(files._replace(pictures=[*files.pictures, *(folder_file(root, path) for path in by_path)]))
    found = []
    for match in matches.images:
        series = by_path.get(match.image.path)
        found.append(_annotations(match, [] if series is None else dicom.annotations.get(series.uid, [])))
    annotated = [each for each in found if each.box or each.masks]
    strays = _strays(matches, dicom.strays)
    tables = find_tables(root, [file.path for file in matches.boxes], required=not annotated)
    if tables:
        if annotated:
            raise ValueError(
                f"dataset_dir {root}: expected annotations of one kind, got {tables[0].path} for all images and "
                f"{_first_file(annotated[0])} for {annotated[0].image.path.name}. Move those that are not to be "
                f"learned from out of the folder, or {_BY_HAND}."
            )
        images = [match.image.path for match in matches.images]
        parts = items_of_tables(root, tables, images)
    elif annotated:
        _check_one_image_per_name(annotated)
        parts = {"training": [_item(each) for each in annotated]}
        _warn(root, found, strays)
    elif strays and found:
        raise ValueError(
            f"dataset_dir {root}: expected annotations of its images, got {len(strays)} that belong to none: "
            f"{first_few(strays)}. The first of {len(found)} images is {found[0].image.path.name}: name its ROIs "
            f"{found[0].image.stem}_organ.mrk.json and its mask {found[0].image.stem}_mask.nii.gz. An RTSTRUCT or SEG "
            f"has to refer to the image's series. Or {_BY_HAND}."
        )
    else:
        return None
    listed = [item for items in parts.values() for item in items]
    name_patients(listed)
    name_dicom_patients(listed, dicom.series)
    return parts


class _Annotated(NamedTuple):
    """An image with the annotations that its files turned out to hold."""

    image: FolderFile
    masks: list[FolderFile]
    box: list[str]
    others: int
    """Number of markups files without an ROI, such as points."""


def _annotations(match: Match, references: Sequence[Path]) -> _Annotated:
    """Return what is annotated in the files of an image's name or that refer to it, which must be of one kind."""
    rois: list[str] = []
    boxes: list[str] = []
    others = 0
    for file in match.boxes:
        format = holds_boxes(file.path)
        if format is not None:
            (rois if format.name == "slicer" else boxes).append(str(file.path))
        elif file.path.name.lower().endswith(".mrk.json"):
            others += 1
    # a_mask_1.png and a_mask_2.png are two masks of one kind; a_seg.png, or a.png in another folder, is another kind.
    alike = {(mask.path.parent, mask.path.suffix, mask_word(mask, match.image)): mask for mask in match.masks}
    dicom = list(map(str, references))
    kinds = [*rois[:1], *boxes, *dicom[:1], *(str(mask.path) for mask in alike.values())]
    if len(kinds) > 1:
        raise ValueError(
            f"{match.image.path}: expected one box file, Slicer ROIs, DICOM annotations or a mask, got "
            f"{len(kinds)} annotations: {first_few(kinds)}. Move those that are not to be learned from "
            f"out of the folder, or {_BY_HAND}."
        )
    return _Annotated(match.image, match.masks, rois or boxes or dicom, others)


def _first_file(annotated: _Annotated) -> str:
    return annotated.box[0] if annotated.box else str(annotated.masks[0].path)


def _item(annotated: _Annotated) -> dict[str, Any]:
    item: dict[str, Any] = {"image": str(annotated.image.path), "patient": None}
    key, paths = ("box", annotated.box) if annotated.box else ("mask", [str(mask.path) for mask in annotated.masks])
    return {**item, key: paths[0] if len(paths) == 1 else paths}


def _check_one_image_per_name(annotated: Sequence[_Annotated]) -> None:
    count = Counter((each.image.place, each.image.stem) for each in annotated)
    twice = [each for each in annotated if count[each.image.place, each.image.stem] > 1]
    if twice:
        first = twice[0]
        alike = [
            str(e.image.path) for e in twice if (e.image.place, e.image.stem) == (first.image.place, first.image.stem)
        ]
        raise ValueError(
            f"{_first_file(first)}: expected one image of its name, got {' and '.join(alike)}. Move all but one of "
            f"them out of the folder, or {_BY_HAND}."
        )


def _strays(matches: Matches, dicom: Sequence[Path]) -> list[str]:
    """Name the annotations that belong to no image. Other box files of no image's name may be anything."""
    markups = [file for file in matches.boxes if file.path.name.lower().endswith(".mrk.json")]
    return [*(file.path.name for file in [*matches.masks, *markups]), *(path.name for path in dicom)]


def _warn(root: Path, found: Sequence[_Annotated], strays: Sequence[str]) -> None:
    """Say in one warning what was left out."""
    bare = [each.image.path.name for each in found if not each.box and not each.masks]
    others = sum(each.others for each in found)
    texts = []
    if bare:
        texts.append(
            f"{len(bare)} of {len(found)} images have no annotation and are left out: {first_few(bare)}. Nobody knows "
            "whether they show an object; where they show none, put a file with an empty list of boxes beside them, "
            f"such as {Path(bare[0]).name.partition('.')[0]}.json with []."
        )
    if strays:
        texts.append(f"{len(strays)} annotations belong to no image and are left out: {first_few(strays)}.")
    if others:
        texts.append(f"{others} markups files have no ROI and are left out.")
    if texts:
        warnings.warn(f"dataset_dir {root}: {' '.join(texts)}", stacklevel=4)
