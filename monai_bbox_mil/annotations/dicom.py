# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
"""Read boxes from the closed contours of a DICOM RTSTRUCT, or from the components of a DICOM SEG's frames.

Both outline objects slice by slice in patient millimetres (LPS), so each outline gives a box in one slice. For how a
contour becomes a box, see :mod:`monai_bbox_mil.annotations.outlines`.
"""

from __future__ import annotations

import warnings
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pydicom
import torch
from scipy import ndimage

from monai_bbox_mil.annotations.dicom_series import check_series, require_dicom
from monai_bbox_mil.annotations.geometry import LPS_TO_RAS, box_corners, edge_affine, map_points
from monai_bbox_mil.annotations.interface import Annotation, AnnotationFormat, ClassLabel
from monai_bbox_mil.annotations.outlines import find_holes, slice_axis, slice_box
from monai_bbox_mil.annotations.records import FileBox, label_key
from monai_bbox_mil.annotations.values import numbers_of

__all__ = ["FORMAT", "load_dicom", "read_dicom", "rtstruct_references", "seg_references"]

_CLOSED = ("CLOSED_PLANAR", "CLOSEDPLANAR_XOR")
_NEEDED = {
    "RTSTRUCT": ("StructureSetROISequence",),
    "SEG": ("SegmentSequence", "PerFrameFunctionalGroupsSequence", "PixelData"),
}


class _Outline(NamedTuple):
    """Points ``(K, 3)`` float64 around one object, mm LPS, with its ROI or segment number."""

    points: np.ndarray
    number: int
    place: str
    is_speck: bool = False


def load_dicom(path: Path) -> Any:
    """Read an RTSTRUCT or SEG file.

    Args:
        path: of the file.

    Returns:
        the ``pydicom.Dataset``.

    Raises:
        ValueError: when the file is not DICOM, has another modality, or is incomplete.

    Example:
        >>> import tempfile
        >>> with tempfile.NamedTemporaryFile(suffix=".dcm") as file:
        ...     load_dicom(Path(file.name))  # doctest: +ELLIPSIS
        Traceback (most recent call last):
        ValueError: ...dcm: expected a DICOM file, got one without a DICOM header.
    """
    try:
        dataset = pydicom.dcmread(path)
    except pydicom.errors.InvalidDicomError as error:
        raise ValueError(f"{path}: expected a DICOM file, got one without a DICOM header.") from error
    modality = dataset.get("Modality")
    if modality not in _NEEDED:
        raise ValueError(f"{path}: expected the modality RTSTRUCT or SEG, got {modality!r}.")
    missing = [name for name in _NEEDED[modality] if not dataset.get(name)]
    if missing:
        raise ValueError(f"{path}: expected {modality} with {', '.join(missing)}, got none; is the file complete?")
    return dataset


def read_dicom(dataset: Any, annotation: Annotation) -> tuple[str, list[FileBox]]:
    """Return the boxes of an RTSTRUCT or SEG that :func:`load_dicom` read.

    ROIs are matched to classes by name, segments by label or number. Others are left out with a warning. Without
    classes there may be only one, which becomes channel 0. A SEG component of fewer than ``min_size`` pixels becomes a
    region to ignore. A contour inside another contour of the same ROI and slice is a hole, and one inside a hole is an
    object again.

    Raises:
        OptionalImportError: for a SEG, when ``highdicom`` is not installed.
        ValueError: when the image belongs to another series or frame of reference, when an outline does not lie in
            the plane of a slice, or when no outline is left.

    Example:
        >>> from monai.data import MetaTensor
        >>> from monai_bbox_mil.annotations.frame import image_frame
        >>> from pydicom import Dataset
        >>> roi, contour, drawn, dataset = Dataset(), Dataset(), Dataset(), Dataset()
        >>> roi.ROINumber, roi.ROIName, drawn.ReferencedROINumber, drawn.ContourSequence = 1, "organ", 1, [contour]
        >>> contour.ContourGeometricType, contour.ContourData = "CLOSED_PLANAR", [-1, -2, 0, -5, -2, 0, -5, -6, 0]
        >>> dataset.StructureSetROISequence, dataset.ROIContourSequence, dataset.Modality = [roi], [drawn], "RTSTRUCT"
        >>> image = MetaTensor(torch.zeros(1, 9, 9, 1))
        >>> space, (box,) = read_dicom(dataset, Annotation("rs.dcm", image_frame(image), ("organ",)))
        >>> space, box.labels, box.corners[[0, -1]].tolist()
        ('index', ('organ',), [[1.0, 2.0, 0.0], [6.0, 7.0, 1.0]])
    """
    if annotation.frame.dims != 3:
        raise ValueError(
            f"{annotation.name}: expected a volume, (C, H, W, Z), to place the slices of DICOM boxes in, got "
            f"{annotation.frame.name} with {annotation.frame.dims} axes; read the boxes before the volume is "
            "cut to slices."
        )
    is_seg = dataset.Modality == "SEG"
    labels = _chosen(_segment_labels(dataset), "segment", annotation) if is_seg else _rois(dataset, annotation)
    references, listed = seg_references(dataset) if is_seg else rtstruct_references(dataset, labels)
    instances = {item.get("ReferencedSOPInstanceUID") for each in listed for item in _instances(each)}
    check_series(references, {each.SeriesInstanceUID for each in listed}, instances, annotation)
    outlines = []
    for outline in _seg_outlines(dataset, labels, annotation) if is_seg else _contours(dataset, labels, annotation):
        annotation.count_box(outline.place)
        outlines.append(outline)
    if not outlines:
        raise ValueError(
            f"{annotation.name}: expected at least one outline in {_names(labels)}, got none. For an image without "
            "objects, give an empty list of boxes instead of this file."
        )
    to_index = torch.linalg.inv(edge_affine(annotation.original_affine())) @ LPS_TO_RAS
    points = [map_points(torch.as_tensor(outline.points), to_index) for outline in outlines]
    axis = slice_axis(points, annotation.name)
    boxes = [slice_box(p, axis, outline.place) for outline, p in zip(outlines, points, strict=True)]
    slices = [(outline.number, number) for outline, (number, _) in zip(outlines, boxes, strict=True)]
    # Components of a SEG need no search for holes: a component inside a hole is one of its own.
    holes = [False] * len(boxes) if is_seg else find_holes([np.delete(p.numpy(), axis, 1) for p in points], slices)
    return "index", [
        FileBox(corners, () if annotation.classes is None else labels[outline.number], outline.place, outline.is_speck)
        for outline, (_, corners), hole in zip(outlines, boxes, holes, strict=True)
        if not hole
    ]


def _names(labels: Mapping[int, tuple[Any, ...]]) -> list[str]:
    return [str(found[0]) for found in labels.values()]


def _chosen(labels: Mapping[int, tuple[Any, ...]], kind: str, annotation: Annotation) -> dict[int, tuple[Any, ...]]:
    """Select the ROIs or segments that are classes, by their numbers."""
    if annotation.classes is None:
        if len(labels) != 1:
            raise ValueError(
                f"{annotation.name}: without classes expected one {kind}, got {_names(labels)}; give classes in "
                "the order of the channels."
            )
        return dict(labels)
    known = {label_key(value) for value in annotation.classes}
    chosen = {number: found for number, found in labels.items() if known & set(map(label_key, found))}
    if not chosen:
        raise ValueError(
            f"{annotation.name}: expected a {kind} among the classes {annotation.classes}, got {_names(labels)}."
        )
    others = {number: found for number, found in labels.items() if number not in chosen}
    if others:
        warnings.warn(
            f"{annotation.name}: left out the {kind}s {_names(others)}, which are not among the classes "
            f"{annotation.classes}: they count as "
            "background.",
            stacklevel=5,
        )
    return chosen


def _rois(dataset: Any, annotation: Annotation) -> dict[int, tuple[Any, ...]]:
    labels: dict[int, tuple[Any, ...]] = {}
    for roi in dataset.get("StructureSetROISequence", []):
        number, name = int(roi.ROINumber), str(roi.get("ROIName", ""))
        if labels.setdefault(number, (name,)) != (name,):
            raise ValueError(
                f"{annotation.name}: expected a number for each ROI, got {number} for {labels[number][0]!r} and "
                f"{name!r}."
            )
    return _chosen(labels, "ROI", annotation)


def _segment_labels(dataset: Any) -> dict[int, tuple[Any, ...]]:
    # A label map may list its background as a segment: 0, or the one that its padding value names.
    background = dataset.get("PixelPaddingValue")
    found = {int(item.SegmentNumber): str(item.get("SegmentLabel", "")) for item in dataset.SegmentSequence}
    return {number: (label, number) for number, label in found.items() if number not in (0, background)}


def rtstruct_references(dataset: Any, labels: Collection[int]) -> tuple[set[str], list[Any]]:
    """Return the chosen ROIs' frames of reference and the contours' series items, where an RTSTRUCT names them."""
    rois = [roi for roi in dataset.get("StructureSetROISequence", []) if int(roi.ROINumber) in labels]
    series = [
        series
        for frame in dataset.get("ReferencedFrameOfReferenceSequence", [])
        for study in frame.get("RTReferencedStudySequence", [])
        for series in study.get("RTReferencedSeriesSequence", [])
    ]
    return {roi.ReferencedFrameOfReferenceUID for roi in rois if roi.get("ReferencedFrameOfReferenceUID")}, series


def seg_references(dataset: Any) -> tuple[set[str], list[Any]]:
    """Return the frames of reference and the series items of a SEG's frames, where it names them."""
    reference = dataset.get("FrameOfReferenceUID")
    return {reference} if reference else set(), list(dataset.get("ReferencedSeriesSequence", []))


def _instances(series: Any) -> Iterable[Any]:
    """Return the slices that a series item names."""
    return [*series.get("ReferencedInstanceSequence", []), *series.get("ContourImageSequence", [])]


def _contours(dataset: Any, labels: Mapping[int, tuple[Any, ...]], annotation: Annotation) -> Iterable[_Outline]:
    """Return the closed contours of an RTSTRUCT."""
    skipped = []
    for roi in dataset.get("ROIContourSequence", []):
        number = int(roi.ReferencedROINumber)
        if number not in labels:
            continue
        for index, contour in enumerate(roi.get("ContourSequence", [])):
            place = f"{annotation.name}, ROI {labels[number][0]!r}, contours[{index}]"
            if contour.get("ContourGeometricType") not in _CLOSED:
                skipped.append(str(contour.get("ContourGeometricType")))
                continue
            values = list(contour.get("ContourData") or [])
            if not values or len(values) % 3:
                raise ValueError(f"{place}: expected three numbers per point, got {len(values)} numbers.")
            yield _Outline(np.reshape(numbers_of(values, [len(values)], place), (-1, 3)), number, place)
    if skipped:
        warnings.warn(
            f"{annotation.name}: left out {len(skipped)} contours that are not closed "
            f"({', '.join(sorted(set(skipped)))}).",
            stacklevel=4,
        )


def _seg_outlines(dataset: Any, labels: Mapping[int, tuple[Any, ...]], annotation: Annotation) -> Iterable[_Outline]:
    """Return the corners of each 4-connected component in each frame of a SEG."""
    highdicom = require_dicom("highdicom")
    try:
        seg = highdicom.seg.Segmentation.from_dataset(dataset, copy=False)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise ValueError(
            f"{annotation.name}: expected a SEG that follows the standard, got one that raises {error!r}."
        ) from error
    kind = str(seg.SegmentationType)
    # A fractional SEG stores the share of each pixel, or its probability; at least one half is inside.
    lowest = (int(seg.MaximumFractionalValue) + 1) // 2 if kind == "FRACTIONAL" else 1
    for frame in range(1, int(seg.NumberOfFrames) + 1):
        of_frame = labels if kind == "LABELMAP" else {_segment_of(seg, frame)} & set(labels)
        if not of_frame:
            continue
        pixels = seg.get_stored_frame(frame)
        to_patient = highdicom.spatial.ImageToReferenceTransformer.for_image(seg, frame_number=frame)
        for number in sorted(of_frame):
            components, _ = ndimage.label(pixels == number if kind == "LABELMAP" else pixels >= lowest)
            sizes = np.bincount(components.ravel())
            for size, (rows, columns) in zip(sizes[1:], ndimage.find_objects(components), strict=True):
                box = [[columns.start, rows.start, columns.stop, rows.stop]]
                corners = to_patient(box_corners(torch.tensor(box))[0].numpy())
                place = f"{annotation.name}, segment {number} ({labels[number][0]!r}), frame {frame}"
                yield _Outline(corners, number, place, bool(size < annotation.min_size))


def _segment_of(seg: Any, frame: int) -> int:
    """Return the segment, counted from 1, of a frame that shows only one."""
    groups = (seg.PerFrameFunctionalGroupsSequence[frame - 1], *seg.get("SharedFunctionalGroupsSequence", []))
    group = next(group for group in groups if "SegmentIdentificationSequence" in group)
    return int(group.SegmentIdentificationSequence[0].ReferencedSegmentNumber)


def _class_labels(dataset: Any, name: str, image: str | None) -> list[ClassLabel]:
    """Return the names of the segments, and of the ROIs that have a closed contour."""
    if dataset.Modality == "SEG":
        return [ClassLabel(str(label or number)) for number, (label, _) in _segment_labels(dataset).items()]
    drawn = {
        int(roi.ReferencedROINumber)
        for roi in dataset.get("ROIContourSequence", [])
        if any(contour.get("ContourGeometricType") in _CLOSED for contour in roi.get("ContourSequence", []))
    }
    rois = (roi for roi in dataset.get("StructureSetROISequence", []) if int(roi.ROINumber) in drawn)
    return [ClassLabel(label) for label in dict.fromkeys(str(roi.get("ROIName", "")) for roi in rois) if label]


FORMAT = AnnotationFormat(name="dicom", suffixes=(".dcm",), parse=load_dicom, read=read_dicom, labels=_class_labels)
