# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
"""DICOM files below a folder: series, which are images, and the RTSTRUCT and SEG files that were made on them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

import pydicom

from monai_bbox_mil.annotations.dicom_headers import Header, image_headers, is_dicom, list_series
from monai_bbox_mil.annotations.dicom_references import DicomReference, read_reference
from monai_bbox_mil.runs.texts import first_few

__all__ = ["DicomFiles", "DicomSeries", "find_dicom", "name_dicom_patients"]


class DicomSeries(NamedTuple):
    """An image series in one folder."""

    path: Path
    """The folder, or the file of a series of one file beside other series."""
    uid: str
    frame: str
    """UID of its frame of reference; empty if it has none."""
    patient: str
    """Patient ID; empty if it has none."""
    alone: bool
    """Whether ``path`` holds this series only, so that it can be read."""


class DicomFiles(NamedTuple):
    """All series, and the annotations by the series that they were made on."""

    series: list[DicomSeries]
    annotations: dict[str, list[Path]]
    """Files by the UID of a series."""
    strays: list[Path]
    """RTSTRUCT and SEG files that were made on none of the series."""


def find_dicom(files: Iterable[Path]) -> DicomFiles:
    """Find the DICOM series and annotations among files; files of other types are passed over.

    An annotation belongs to the series that it names. If it names none, it belongs to the only series in its frame of
    reference. Several annotations of a series are put together if all their ROIs have different names.

    Raises:
        ValueError: when a header is damaged, an annotated series cannot be told from others in its folder or has a copy
            in another folder, or two annotations of a series have ROIs of the same name.

    Example:
        >>> find_dicom([])
        DicomFiles(series=[], annotations={}, strays=[])
    """
    folders: dict[Path, list[Path]] = defaultdict(list)
    for path in files:
        if path.is_file() and is_dicom(path):
            folders[path.parent].append(path)
    series: list[DicomSeries] = []
    references: dict[Path, DicomReference] = {}
    for folder, members in folders.items():
        headers = image_headers(folder)
        series += _series_of(folder, headers)
        images = {header.path for header in headers}
        found = {path: read_reference(path) for path in members if path not in images}
        references.update({path: reference for path, reference in found.items() if reference is not None})
    annotations: dict[str, list[Path]] = defaultdict(list)
    strays = []
    for path, reference in references.items():
        uids = {each.uid for each in series if each.uid in reference.series}
        if not reference.series:
            uids = {each.uid for each in series if each.frame and each.frame in reference.frames}
            uids = uids if len(uids) == 1 else set()
        for uid in sorted(uids):
            annotations[uid].append(path)
        if not uids:
            strays.append(path)
    for uid, paths in annotations.items():
        _check_one([each for each in series if each.uid == uid], paths)
        _check_names(paths, references)
    return DicomFiles(series, dict(annotations), strays)


def name_dicom_patients(items: Iterable[dict[str, Any]], series: Iterable[DicomSeries]) -> None:
    """Give all items of one patient ID the patient's name of the first of them, in place; the ID itself stays unused.

    Example:
        >>> scans = [DicomSeries(Path(name), name, "", "Doe", True) for name in ("a/1", "b/2")]
        >>> items = [{"image": "a/1", "patient": "1"}, {"image": "b/2", "patient": "2"}]
        >>> name_dicom_patients(items, scans)
        >>> [item["patient"] for item in items]
        ['1', '1']
    """
    ids = {str(each.path): each.patient for each in series if each.patient}
    names: dict[str, str] = {}
    for item in items:
        identity = ids.get(item["image"])
        if identity is not None:
            item["patient"] = names.setdefault(identity, item["patient"])


def _series_of(folder: Path, headers: list[Header]) -> list[DicomSeries]:
    groups = list_series(headers)
    found = []
    for uid, members in groups.items():
        path = folder if len(groups) == 1 else members[0].path
        tags = pydicom.dcmread(
            members[0].path, stop_before_pixels=True, force=True, specific_tags=["PatientID", "FrameOfReferenceUID"]
        )
        frame, patient = str(tags.get("FrameOfReferenceUID") or ""), str(tags.get("PatientID") or "").strip()
        found.append(DicomSeries(path, uid, frame, patient, len(groups) == 1 or len(members) == 1))
    return found


def _check_one(series: list[DicomSeries], annotations: list[Path]) -> None:
    """Refuse an annotated series that is in two folders, or in a folder with others."""
    if len(series) > 1:
        raise ValueError(
            f"{annotations[0]}: expected one image series that it was made on, got copies in "
            f"{first_few([str(each.path) for each in series])}. Move all but one of them out of the folder."
        )
    if not series[0].alone:
        raise ValueError(
            f"{annotations[0]}: expected the series that it was made on in a folder of its own, got the slices of "
            f"several series in {series[0].path.parent}. Give each series a folder of its own."
        )


def _check_names(paths: list[Path], references: dict[Path, DicomReference]) -> None:
    """Refuse two annotations of one object, such as two versions or those of two readers."""
    seen: dict[str, Path] = {}
    for path in paths:
        for name in references[path].names:
            other = seen.setdefault(name, path)
            if other != path:
                raise ValueError(
                    f"{path}: expected each ROI of an image in one file, got {name!r} in {other} too. Move the file "
                    "that is not to be learned from out of the folder."
                )
