# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
"""Where the slices of a DICOM image lie, and which series raise an error because their geometry is unknown."""

from __future__ import annotations

import re

import numpy as np
import pytest

from monai_bbox_mil.annotations.dicom_geometry import dicom_volume
from monai_bbox_mil.annotations.dicom_headers import DicomError, holds_images, image_headers, is_dicom
from tests.dicom_files import (
    COLUMN,
    ORIENTATIONS,
    ORIGIN_MM,
    ROW,
    SPACING_MM,
    Dataset,
    Sequence,
    edit,
    empty_file,
    generate_uid,
    pydicom,
    uid,
    write_frames,
    write_rtstruct,
    write_seg,
    write_series,
)  # fmt: skip

SHAPE = (6, 5, 8)  # columns, rows, slices
VALUES = np.arange(np.prod(SHAPE)).reshape(SHAPE)


def expected_affine(orientation, spacing_mm=SPACING_MM, order=1) -> np.ndarray:
    """RAS, of a series whose slices run along the normal in the order of the volume."""
    directions = np.array(ORIENTATIONS[orientation], dtype=float)
    normal = np.cross(directions[ROW], directions[COLUMN])
    affine = np.eye(4)
    affine[:3, :3] = np.column_stack([directions[ROW], directions[COLUMN], normal]) * spacing_mm
    affine[:3, 3] = ORIGIN_MM if order == 1 else ORIGIN_MM - (SHAPE[2] - 1) * spacing_mm[2] * normal
    return np.diag([-1, -1, 1, 1]) @ affine


def refused(path, *parts) -> None:
    with pytest.raises(DicomError, match="(?s)" + ".*".join(map(re.escape, (f"{path}", *parts)))):
        dicom_volume(path)


# ----------------------------------------------------------------------------- sound series
@pytest.mark.parametrize("orientation", ORIENTATIONS)
@pytest.mark.parametrize("order", [1, -1])
def test_slices_run_along_their_normal(tmp_path, orientation, order):
    write_series(tmp_path, VALUES, orientation, order, numbers=[4, 1, 6, 2, 5, 3, 8, 7])
    volume = dicom_volume(tmp_path)
    assert volume.shape == SHAPE and volume.placed
    assert np.allclose(volume.affine, expected_affine(orientation, order=order), atol=1e-6)
    assert [each.name for each in volume.slices] == [f"{index:03d}.dcm" for index in range(8)][::order]


@pytest.mark.parametrize("spacing", [None, -3.0, 3.0, 7.0, 0.0])
def test_spacing_between_slices_is_not_asked(tmp_path, spacing):
    write_series(tmp_path, VALUES, "oblique")
    edit(tmp_path, SpacingBetweenSlices=spacing)
    assert np.allclose(dicom_volume(tmp_path).affine, expected_affine("oblique"), atol=1e-6)


@pytest.mark.parametrize("noise_mm", [1e-3, 0.05])
def test_positions_may_be_rounded(tmp_path, noise_mm):
    """To a thousandth, or to a tenth of a millimetre where slices are 0.625 mm apart."""
    write_series(tmp_path, VALUES, spacing_mm=(0.7, 0.7, 0.625))
    for index, path in enumerate(sorted(tmp_path.iterdir())):
        z = ORIGIN_MM[2] + 0.625 * index
        edit(path, ImagePositionPatient=[*ORIGIN_MM[:2], round(z / (2 * noise_mm)) * 2 * noise_mm])
    volume = dicom_volume(tmp_path)
    assert len(volume.slices) == 8
    assert volume.affine[2, 2] == pytest.approx(0.625, abs=0.02)


def test_a_tilted_gantry_shears_the_affine(tmp_path):
    """Slices 3 mm apart along z, each 0.8 mm further along y than the one before."""
    write_series(tmp_path, VALUES)
    for index, path in enumerate(sorted(tmp_path.iterdir())):
        edit(path, ImagePositionPatient=list(np.array(ORIGIN_MM) + index * np.array([0, 0.8, 3])))
    volume = dicom_volume(tmp_path)
    affine = expected_affine("axial")
    affine[:3, 2] = [0, -0.8, 3]
    assert np.allclose(volume.affine, affine, atol=1e-6)


def test_what_lies_beside_the_slices_is_passed_over(tmp_path):
    slices = write_series(tmp_path, VALUES, name="IM{}")
    write_rtstruct(tmp_path / "rs.dcm", slices, {})
    write_seg(tmp_path / "a.seg", slices, np.ones((*SHAPE, 1), dtype=bool), ["organ"])
    (tmp_path / "notes.dcm").write_text("no DICOM")
    (tmp_path / ".IM9").write_bytes((tmp_path / "IM1").read_bytes())
    state = empty_file(uid.GrayscaleSoftcopyPresentationStateStorage, "PR", generate_uid(), generate_uid())
    state.save_as(tmp_path / "state", enforce_file_format=True)
    dose = empty_file(uid.RTDoseStorage, "RTDOSE", generate_uid(), generate_uid())
    dose.Rows = dose.Columns = 2
    dose.save_as(tmp_path / "dose.dcm", enforce_file_format=True)
    assert [header.path.name for header in image_headers(tmp_path)] == [f"IM{index}" for index in range(8)]
    assert len(dicom_volume(tmp_path).slices) == 8


def test_dicom_is_known_by_its_content(tmp_path):
    (file,) = write_series(tmp_path / "a", VALUES[..., :1], name="noend")
    assert is_dicom(tmp_path / "a" / "noend") and holds_images(tmp_path / "a")
    old = tmp_path / "old.dcm"
    del file.file_meta  # and so no preamble, as older software writes it
    file.save_as(old, implicit_vr=True, little_endian=True)
    assert old.read_bytes()[128:132] != b"DICM"
    assert is_dicom(old)
    assert np.allclose(dicom_volume(old).affine[:3, 3], np.array(ORIGIN_MM) * [-1, -1, 1])


@pytest.mark.parametrize("tag", [None, "ImagerPixelSpacing", "NominalScannedPixelSpacing", "PixelSpacing"])
def test_a_picture_without_a_position_has_its_pixel_size(tmp_path, tag):
    classes = {None: "SecondaryCapture", "ImagerPixelSpacing": "ComputedRadiography", "PixelSpacing": "Ultrasound"}
    write_series(tmp_path, VALUES[..., :1])
    storage = getattr(uid, classes.get(tag, "SecondaryCapture") + "ImageStorage")
    edit(tmp_path, SOPClassUID=storage, ImagePositionPatient=None, ImageOrientationPatient=None, PixelSpacing=None)
    if tag:
        edit(tmp_path, **{tag: [0.4, 0.2]})
    volume = dicom_volume(tmp_path)
    assert not volume.placed
    assert volume.affine.diagonal().tolist() == pytest.approx([-0.2, -0.4, 1, 1] if tag else [-1, -1, 1, 1])


# ----------------------------------------------------------------------------- frames of one file
@pytest.mark.parametrize("order", [range(8), (5, 0, 3, 7, 1, 2, 6, 4), range(7, -1, -1)])
def test_frames_lie_at_their_own_positions(tmp_path, order):
    write_frames(tmp_path / "a.dcm", VALUES, "oblique", order)
    volume = dicom_volume(tmp_path / "a.dcm")
    assert np.allclose(volume.affine, expected_affine("oblique"), atol=1e-6)
    assert [list(order)[each.frame] for each in volume.slices] == list(range(8))


def test_frames_of_the_files_position_follow_each_other(tmp_path):
    """As ITK writes a volume to one file: one position for all, and the distance between them."""
    write_frames(tmp_path / "a.dcm", VALUES, "axial", range(8), SharedFunctionalGroupsSequence=None,
                 PerFrameFunctionalGroupsSequence=None, SpacingBetweenSlices=3, ImagePositionPatient=list(ORIGIN_MM),
                 ImageOrientationPatient=[1, 0, 0, 0, 1, 0], PixelSpacing=[1.1, 0.7])  # fmt: skip
    assert np.allclose(dicom_volume(tmp_path / "a.dcm").affine, expected_affine("axial"), atol=1e-6)
    edit(tmp_path / "a.dcm", SpacingBetweenSlices=-3)
    refused(tmp_path / "a.dcm", "SpacingBetweenSlices above 0, got -3")


def test_slices_of_nuclear_medicine_run_by_the_sign_of_their_spacing(tmp_path):
    """The one kind of image whose standard gives the sign a meaning (PS3.3, C.8.4.15)."""
    detector = Dataset()
    detector.ImagePositionPatient, detector.ImageOrientationPatient = list(ORIGIN_MM), [1, 0, 0, 0, 1, 0]
    write_frames(tmp_path / "a.dcm", VALUES, "axial", range(8), SharedFunctionalGroupsSequence=None, Modality="NM",
                 PerFrameFunctionalGroupsSequence=None, SpacingBetweenSlices=-3, PixelSpacing=[1.1, 0.7],
                 DetectorInformationSequence=Sequence([detector]))  # fmt: skip
    volume = dicom_volume(tmp_path / "a.dcm")
    assert volume.affine[:3, 3].tolist() == pytest.approx([10, -20, 5 - 7 * 3])
    assert [each.frame for each in volume.slices] == list(range(7, -1, -1))


def test_frames_in_time_are_a_stack_without_a_place(tmp_path):
    write_frames(tmp_path / "a.dcm", VALUES, "axial", range(8), SharedFunctionalGroupsSequence=None, Modality="US",
                 PerFrameFunctionalGroupsSequence=None, SOPClassUID=uid.UltrasoundMultiFrameImageStorage)  # fmt: skip
    volume = dicom_volume(tmp_path / "a.dcm")
    assert not volume.placed and [each.frame for each in volume.slices] == list(range(8))


# ----------------------------------------------------------------------------- refused
@pytest.mark.parametrize(
    ("gone", "message"),
    [
        ([3], "got 6 mm between 002.dcm and 004.dcm where 3 mm is usual. 1 slice seems to be missing there."),
        ([1], "got 6 mm between 000.dcm and 002.dcm where 3 mm is usual. 1 slice seems to be missing there."),
        ([2, 3], "got 9 mm between 001.dcm and 004.dcm where 3 mm is usual. 2 slices seem to be missing there."),
        ([2, 5], "got 6 mm between 001.dcm and 003.dcm where 3 mm is usual, and 1 more such gaps. 1 slice seems"),
        ([2, 4, 5, 6, 7], "got 6 mm between 001.dcm and 003.dcm where 3 mm is usual. 1 slice seems to be missing"),
    ],
)
@pytest.mark.parametrize("orientation", ["axial", "oblique"])
def test_a_missing_slice_is_refused(tmp_path, gone, message, orientation):
    write_series(tmp_path, VALUES, orientation)
    for index in gone:
        (tmp_path / f"{index:03d}.dcm").unlink()
    refused(tmp_path, "expected slices at equal distances", message)


def test_no_slice_is_said_to_be_missing_where_none_fits(tmp_path):
    write_series(tmp_path, VALUES)
    edit(tmp_path / "007.dcm", ImagePositionPatient=[*ORIGIN_MM[:2], ORIGIN_MM[2] + 6 * 3 + 4.4])
    refused(tmp_path, "got 4.4 mm between 006.dcm and 007.dcm where 3 mm is usual. Export the series again")


def test_slices_beside_the_line_are_refused(tmp_path):
    write_series(tmp_path, VALUES)
    edit(tmp_path / "004.dcm", ImagePositionPatient=list(np.array(ORIGIN_MM) + [2, 0, 12]))
    refused(tmp_path, "in one line at equal distances, got 004.dcm", "(2.86, 0, 0) voxels")


@pytest.mark.parametrize(
    ("tag", "values"),
    [
        ("AcquisitionNumber", (1, 2)),
        ("TemporalPositionIdentifier", (1, 2)),
        ("TriggerTime", (0, 50)),
        ("EchoTime", (5, 80)),
        ("DiffusionBValue", (0.0, 1000.0)),
        ("ImageType", (["ORIGINAL", "PRIMARY", "M"], ["ORIGINAL", "PRIMARY", "P"])),
        ("ContentTime", ("120000", "120003")),
    ],
)
def test_two_slices_at_a_position_are_refused_with_how_they_differ(tmp_path, tag, values):
    series = generate_uid()
    for phase, value in zip("ab", values, strict=True):
        slices = write_series(tmp_path, VALUES, name=phase + "{}.dcm")
        for index in range(len(slices)):
            edit(tmp_path / f"{phase}{index}.dcm", SeriesInstanceUID=series, FrameOfReferenceUID="1.2", **{tag: value})
    refused(tmp_path, "got 16 slices at 8 positions: a0.dcm and b0.dcm are both at (-10, 20, 5) mm.",
            f"They differ in {tag}: ", "(8 slices: a0.dcm, a1.dcm, a2.dcm, ...); ", "(8 slices: b0.dcm")  # fmt: skip


def test_copies_of_slices_are_refused(tmp_path):
    write_series(tmp_path, VALUES)
    (tmp_path / "003 copy.dcm").write_bytes((tmp_path / "003.dcm").read_bytes())
    refused(tmp_path, "got 9 slices at 8 positions: 003 copy.dcm and 003.dcm", "They are copies of one slice")


def test_frames_at_one_position_are_refused(tmp_path):
    order = [0, 1, 2, 3, 0, 1, 2, 3]
    write_frames(tmp_path / "a.dcm", VALUES, "axial", order)
    file = pydicom.dcmread(tmp_path / "a.dcm")
    for number, groups in enumerate(file.PerFrameFunctionalGroupsSequence):
        content = Dataset()
        content.TemporalPositionIndex = number // 4 + 1
        groups.FrameContentSequence = Sequence([content])
    file.save_as(tmp_path / "a.dcm")
    refused(tmp_path / "a.dcm", "got 8 slices at 4 positions: frame 1 and frame 5 are both at",
            "They differ in TemporalPositionIndex: 1 (4 slices: frame 1,", "Convert each to a file")  # fmt: skip


def test_several_series_are_refused_with_a_list(tmp_path):
    for name, described in (("a", "T2 axial"), ("b", "")):
        write_series(tmp_path, VALUES, name=name + "{}.dcm")
        for index in range(8):
            edit(tmp_path / f"{name}{index}.dcm", SeriesDescription=described, SeriesInstanceUID=f"1.2.{ord(name)}")
    refused(tmp_path, "got 2 series: 1.2.97 (CT, number 1, 'T2 axial', 8 files, the first a0.dcm); 1.2.98 (CT, number",
            "Give each series a folder of its own")  # fmt: skip


CHANGED = {
    "orientation": ({"ImageOrientationPatient": [1, 0, 0, 0, 0, -1]}, "one orientation, got 2: axial (1, 0, 0, 0, 1"),
    "size": ({"Rows": 4, "PixelData": bytes(48)}, "one size, got 2: 5 rows x 6 columns (7 slices: 000.dcm"),
    "colour": ({"SamplesPerPixel": 3, "PixelData": bytes(180)}, "one size, got 2:", "in colour (1 slice: 003.dcm)"),
    "pixel size": ({"PixelSpacing": [1.1, 0.8]}, "one pixel size, got 2: 1.1 x 0.7 mm (7", "1.1 x 0.8 mm (1 slice: 0"),
    "frame": ({"FrameOfReferenceUID": "1.2.3"}, "one frame of reference, got 2:", "1.2.3 (1 slice: 003.dcm)"),
    "position": ({"ImagePositionPatient": None}, "got none for 1 of 8: 003.dcm"),
    "two numbers": ({"ImagePositionPatient": [1, 2]}, "003.dcm: expected 3 finite number(s) in ImagePositionPatient"),
    "direction": ({"ImageOrientationPatient": [0] * 6}, "003.dcm: expected two unit vectors at right angles"),
    "no pixel size": ({"PixelSpacing": [0, 1]}, "003.dcm: expected a PixelSpacing above 0, got [0.0, 1.0]"),
    "frames": ({"NumberOfFrames": 2, "PixelData": bytes(120)}, "got 8 files, 1 of them with several frames, such as 0"),
    "mosaic": ({"ImageType": ["ORIGINAL", "PRIMARY", "M", "MOSAIC"]}, "003.dcm: expected one slice per frame, got a m"),
}  # fmt: skip


@pytest.mark.parametrize("change", CHANGED)
def test_one_slice_that_differs_is_refused_by_name(tmp_path, change):
    write_series(tmp_path, VALUES)
    tags, *parts = CHANGED[change]
    edit(tmp_path / "003.dcm", **tags)
    refused(tmp_path, *parts)


def test_pictures_make_no_volume(tmp_path):
    write_series(tmp_path, VALUES)
    edit(tmp_path, ImagePositionPatient=None, ImageOrientationPatient=None)
    refused(tmp_path, "got 8 files without, 000.dcm", "name each file as an image of its own")


def test_a_folder_of_folders_names_them(tmp_path):
    write_series(tmp_path / "a", VALUES)
    refused(tmp_path, "expected DICOM slices in the folder, got none. Slices lie in the folders below it: a. Name one")
    write_rtstruct(tmp_path / "rs.dcm", write_series(tmp_path / "a", VALUES), {})
    refused(tmp_path / "rs.dcm", "got a DICOM file without pixels")


def test_a_damaged_header_is_refused_by_name(tmp_path):
    write_series(tmp_path, VALUES)
    whole = (tmp_path / "003.dcm").read_bytes()
    at = whole.index(b"\x20\x00\x32\x00DS")  # ImagePositionPatient
    (tmp_path / "003.dcm").write_bytes(whole[: at + 8] + b"x" * 6 + whole[at + 14 :])
    refused(tmp_path, "003.dcm: expected 3 finite number(s) in ImagePositionPatient")
    # The last one: no gap would tell that it is passed over.
    write_series(tmp_path, VALUES)
    whole = (tmp_path / "007.dcm").read_bytes()
    for length in (132, 140, at, at + 10):
        (tmp_path / "007.dcm").write_bytes(whole[:length])
        refused(tmp_path, "007.dcm: expected ")
