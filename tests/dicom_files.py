# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
"""Small DICOM series, RTSTRUCTs and SEGs, made from arrays whose axes are column, row, slice."""

from __future__ import annotations

import numpy as np
import pydicom
import pytest
from contourpy import contour_generator
from scipy import ndimage

# Whatever test imports this file is skipped without the extra.
highdicom = pytest.importorskip("highdicom", reason="the extra dicom (highdicom) is not installed")
uid, codes = pydicom.uid, pydicom.sr.codedict.codes
Dataset, Sequence, generate_uid = pydicom.Dataset, pydicom.Sequence, uid.generate_uid

COS, SIN = np.cos(0.4), np.sin(0.4)
# Directions of a row and of a column in the patient (LPS).
ORIENTATIONS = {
    "axial": (1, 0, 0, 0, 1, 0),
    "sagittal": (0, 1, 0, 0, 0, -1),
    "coronal": (1, 0, 0, 0, 0, -1),
    "oblique": (COS, SIN, 0, -SIN * COS, COS * COS, SIN),
}
SPACING_MM = (0.7, 1.1, 3.0)
ORIGIN_MM = (-10.0, 20.0, 5.0)
ROW, COLUMN = slice(0, 3), slice(3, 6)


def plain(values) -> list[float]:
    """Numbers as DICOM's decimal strings of 16 characters can hold them."""
    return [float(f"{value:.9g}") for value in np.ravel(values)]


def empty_file(storage, modality, study, series) -> Dataset:
    file = Dataset()
    file.file_meta = pydicom.dataset.FileMetaDataset()
    file.file_meta.TransferSyntaxUID = uid.ExplicitVRLittleEndian
    file.SOPClassUID, file.SOPInstanceUID = storage, generate_uid()
    file.Modality, file.StudyInstanceUID, file.SeriesInstanceUID = modality, study, series
    file.PatientID, file.PatientName, file.PatientBirthDate, file.PatientSex = "p1", "Phantom^One", "", ""
    file.StudyID, file.StudyDate, file.StudyTime, file.SeriesDate = "", "20200101", "000000", "20200101"
    file.AccessionNumber, file.ReferringPhysicianName, file.SeriesNumber = "", "", 1
    return file


def write_series(
    folder, volume, orientation="axial", order=1, name="{:03d}.dcm", numbers=None, spacing_mm=SPACING_MM, reference=None
) -> list[Dataset]:
    """One file a slice; ``order`` -1 lets the slices run against the normal of the plane."""
    folder.mkdir(parents=True, exist_ok=True)
    directions = np.array(ORIENTATIONS[orientation], dtype=float)
    step = order * spacing_mm[2] * np.cross(directions[ROW], directions[COLUMN])
    study, series, reference = generate_uid(), generate_uid(), reference or generate_uid()
    slices = []
    for index in range(volume.shape[2]):
        file = empty_file(uid.CTImageStorage, "CT", study, series)
        file.FrameOfReferenceUID = reference
        file.InstanceNumber = index + 1 if numbers is None else numbers[index]
        file.Columns, file.Rows = volume.shape[:2]
        file.PixelSpacing = [spacing_mm[1], spacing_mm[0]]  # between rows first
        file.ImageOrientationPatient = plain(directions)
        file.ImagePositionPatient = plain(np.array(ORIGIN_MM) + index * step)
        file.SliceThickness = spacing_mm[2]
        file.SamplesPerPixel, file.PhotometricInterpretation, file.PixelRepresentation = 1, "MONOCHROME2", 0
        file.BitsAllocated, file.BitsStored, file.HighBit = 16, 16, 15
        file.RescaleSlope, file.RescaleIntercept = 1, 0
        file.PixelData = np.ascontiguousarray(volume[:, :, index].T, dtype=np.uint16).tobytes()
        file.save_as(folder / name.format(index), enforce_file_format=True)
        slices.append(file)
    return slices


def write_frames(path, volume, orientation, order, spacing_mm=SPACING_MM, **changed) -> Dataset:
    """An enhanced CT of many frames; ``order`` is the slice of ``volume`` that each frame shows."""
    directions = np.array(ORIENTATIONS[orientation], dtype=float)
    step = spacing_mm[2] * np.cross(directions[ROW], directions[COLUMN])
    file = empty_file(uid.EnhancedCTImageStorage, "CT", generate_uid(), generate_uid())
    file.FrameOfReferenceUID, file.NumberOfFrames = generate_uid(), len(order)
    file.Columns, file.Rows = volume.shape[:2]
    file.SamplesPerPixel, file.PhotometricInterpretation, file.PixelRepresentation = 1, "MONOCHROME2", 0
    file.BitsAllocated, file.BitsStored, file.HighBit = 16, 16, 15
    shared, plane, measures = Dataset(), Dataset(), Dataset()
    plane.ImageOrientationPatient = plain(directions)
    measures.PixelSpacing, measures.SliceThickness = [spacing_mm[1], spacing_mm[0]], spacing_mm[2]
    shared.PlaneOrientationSequence, shared.PixelMeasuresSequence = Sequence([plane]), Sequence([measures])
    file.SharedFunctionalGroupsSequence, file.PerFrameFunctionalGroupsSequence = Sequence([shared]), Sequence()
    for index in order:
        groups, position = Dataset(), Dataset()
        position.ImagePositionPatient = plain(np.array(ORIGIN_MM) + index * step)
        groups.PlanePositionSequence = Sequence([position])
        file.PerFrameFunctionalGroupsSequence.append(groups)
    file.PixelData = np.ascontiguousarray(volume[:, :, list(order)].T, dtype=np.uint16).tobytes()
    file.save_as(path, enforce_file_format=True)
    edit(path, **changed)
    return file


def edit(path, **tags) -> None:
    """Change tags of a file, or of all files in a folder; ``None`` deletes one."""
    for name in sorted(path.iterdir()) if path.is_dir() else [path]:
        file = pydicom.dcmread(name)
        for tag, value in tags.items():
            if value is None:
                file.pop(tag, None)
            else:
                setattr(file, tag, value)
        file.save_as(name)


def write_seg(path, slices, masks, labels, kind="BINARY", omit_empty_frames=True) -> None:
    """A SEG of one ``masks[..., number]`` a segment."""
    described = [
        highdicom.seg.SegmentDescription(
            segment_number=number,
            segment_label=label,
            segmented_property_category=codes.SCT.Tissue,
            segmented_property_type=codes.SCT.Kidney,
            algorithm_type=highdicom.seg.SegmentAlgorithmTypeValues.MANUAL,
        )
        for number, label in enumerate(labels, start=1)
    ]
    frames = np.moveaxis(masks, (2, 1, 0), (0, 1, 2))
    highdicom.seg.Segmentation(
        source_images=slices,
        pixel_array=frames.astype(float) if kind == "FRACTIONAL" else frames.astype(np.uint8),
        segmentation_type=kind,
        segment_descriptions=described,
        series_instance_uid=generate_uid(),
        series_number=2,
        sop_instance_uid=generate_uid(),
        instance_number=1,
        manufacturer="none",
        manufacturer_model_name="none",
        software_versions="1",
        device_serial_number="1",
        omit_empty_frames=omit_empty_frames,
    ).save_as(path)


def trace(mask, level) -> list[tuple[int, np.ndarray]]:
    """Slice and outline ``(K, 2)`` in pixels, centres at whole numbers, of all components and holes of a mask.

    At a ``level`` of 0.5 outlines run between object and background, near 1 through the outermost pixels' centres.
    """
    found = []
    for index in range(mask.shape[2]):
        components, count = ndimage.label(mask[:, :, index])
        for number in range(1, count + 1):
            padded = np.pad(components == number, 1).astype(float)
            lines = contour_generator(z=padded.T).lines(level)
            found += [(index, line - 1) for line in lines]
    return found


def to_patient(slices, index, pixels) -> np.ndarray:
    """Points ``(K, 2)`` of a slice in mm LPS, ``(K, 3)``."""
    file = slices[index]
    directions = np.array(file.ImageOrientationPatient, dtype=float)
    down, along = file.PixelSpacing
    x, y = pixels[:, :1] * along, pixels[:, 1:] * down
    return np.array(file.ImagePositionPatient, dtype=float) + x * directions[ROW] + y * directions[COLUMN]


def write_rtstruct(path, slices, contours, decimals=6, kind="CLOSED_PLANAR", series=True, reference=None) -> None:
    """An RTSTRUCT of ``{ROI name: [points (K, 3) mm LPS]}``."""
    file = empty_file(uid.RTStructureSetStorage, "RTSTRUCT", slices[0].StudyInstanceUID, generate_uid())
    reference = reference or slices[0].FrameOfReferenceUID
    if series:
        listed, study, frame = Dataset(), Dataset(), Dataset()
        listed.SeriesInstanceUID = slices[0].SeriesInstanceUID
        study.RTReferencedSeriesSequence = Sequence([listed])
        frame.FrameOfReferenceUID, frame.RTReferencedStudySequence = reference, Sequence([study])
        file.ReferencedFrameOfReferenceSequence = Sequence([frame])
    file.StructureSetROISequence, file.ROIContourSequence = Sequence(), Sequence()
    for number, (name, outlines) in enumerate(contours.items(), start=7):
        roi, drawn = Dataset(), Dataset()
        roi.ROINumber, roi.ROIName, roi.ReferencedFrameOfReferenceUID = number, name, reference
        file.StructureSetROISequence.append(roi)
        drawn.ReferencedROINumber, drawn.ContourSequence = number, Sequence()
        for points in outlines:
            contour = Dataset()
            contour.ContourGeometricType, contour.NumberOfContourPoints = kind, len(points)
            contour.ContourData = [round(float(value), decimals) for value in np.ravel(points)]
            drawn.ContourSequence.append(contour)
        file.ROIContourSequence.append(drawn)
    file.save_as(path, enforce_file_format=True)
