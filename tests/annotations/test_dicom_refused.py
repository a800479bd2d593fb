# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
"""DICOM annotations that do not fit their image: each is refused, with a message that names what was expected."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from monai.utils import OptionalImportError

from monai_bbox_mil.annotations import dicom_series, read_boxes
from monai_bbox_mil.transforms import LoadCheckedImage
from tests.dicom_files import SPACING_MM, pydicom, write_rtstruct, write_seg, write_series
from tests.dicom_scene import CLASSES, MASKS, SHAPE, SQUARE, contours, file_boxes, square


def test_an_annotation_of_another_series_is_refused(series, tmp_path):
    image, slices, _ = series
    other = write_series(tmp_path / "other", np.zeros(SHAPE), reference=slices[0].FrameOfReferenceUID)
    third = write_series(tmp_path / "third", np.zeros(SHAPE))
    for number, found in enumerate((other, third)):
        write_rtstruct(tmp_path / f"rs{number}.dcm", found, {"organ": [square(found)]})
        write_seg(tmp_path / f"seg{number}.dcm", found, MASKS, CLASSES)
    for name in ("rs0", "seg0"):
        expected, came = slices[0].SeriesInstanceUID, other[0].SeriesInstanceUID
        message = rf"{name}\.dcm: expected annotations of the series {expected}, which .*image is, got those of {came}"
        with pytest.raises(ValueError, match=message):
            read_boxes(tmp_path / f"{name}.dcm", image, CLASSES)
    for name in ("rs1", "seg1"):
        expected, came = slices[0].FrameOfReferenceUID, third[0].FrameOfReferenceUID
        with pytest.raises(
            ValueError, match=rf"{name}\.dcm: expected the frame of reference {expected} of .*, got {came}"
        ):
            read_boxes(tmp_path / f"{name}.dcm", image, CLASSES)


def test_an_rtstruct_without_a_series_is_placed_by_its_frame_of_reference(series, tmp_path):
    image, slices, _ = series
    write_rtstruct(tmp_path / "rs.dcm", slices, {"organ": [square(slices)]}, series=False)
    assert file_boxes(tmp_path / "rs.dcm", image) == [SQUARE]


def test_an_rtstruct_that_names_neither_is_placed_with_a_warning(series, tmp_path):
    image, slices, _ = series
    write_rtstruct(tmp_path / "rs.dcm", slices, {"organ": [square(slices)]}, series=False)
    file = pydicom.dcmread(tmp_path / "rs.dcm")
    del file.StructureSetROISequence[0].ReferencedFrameOfReferenceUID
    file.save_as(tmp_path / "rs.dcm")
    message = r"rs\.dcm: names neither the series nor the frame of reference .* it belongs to .*image\."
    with pytest.warns(UserWarning, match=message):
        assert file_boxes(tmp_path / "rs.dcm", image) == [SQUARE]


def test_contours_between_the_slices_are_refused(series, tmp_path):
    image, slices, _ = series
    message = (
        r"rs\.dcm, ROI 'organ', contours\[0\]: expected an outline in the plane of a slice, .* got one at 2\.50 to"
    )
    write_rtstruct(tmp_path / "rs.dcm", slices, {"organ": [square(slices) + [0, 0, SPACING_MM[2] / 2]]})
    with pytest.raises(ValueError, match=message):
        read_boxes(tmp_path / "rs.dcm", image, CLASSES)
    write_rtstruct(tmp_path / "rs.dcm", slices, {"organ": [square(slices) @ [[1, 0, 1], [0, 1, 0], [0, 0, 1]]]})
    with pytest.raises(
        ValueError, match=r"rs\.dcm: expected outlines in the planes .* across \[4\.0, 4\.0, 0\.93\] voxels"
    ):
        read_boxes(tmp_path / "rs.dcm", image, CLASSES)
    write_rtstruct(tmp_path / "rs.dcm", slices, {"organ": [square(slices) + [0, 0, 20 * SPACING_MM[2]]]})
    with pytest.raises(ValueError, match=r"contours\[0\]: expected a box that meets .*image, which has \(20, 16, 6\)"):
        read_boxes(tmp_path / "rs.dcm", image, CLASSES)


def test_only_the_chosen_rois_must_be_of_the_frame_of_reference(series, tmp_path):
    image, slices, _ = series
    write_rtstruct(tmp_path / "rs.dcm", slices, {"organ": [square(slices)], "lesion": [square(slices, 1)]})
    file = pydicom.dcmread(tmp_path / "rs.dcm")
    file.StructureSetROISequence[1].ReferencedFrameOfReferenceUID = "1.2.3"
    file.save_as(tmp_path / "rs.dcm")
    with pytest.raises(ValueError, match=r"rs\.dcm: expected the frame of reference .*, got 1\.2\.3\.$"):
        read_boxes(tmp_path / "rs.dcm", image, CLASSES)
    with pytest.warns(UserWarning, match=r"left out the ROIs \['lesion'\]"):
        assert file_boxes(tmp_path / "rs.dcm", image, ("organ",)) == [SQUARE]


@pytest.mark.parametrize("kind", ["ROI", "segment"])
def test_unknown_names_are_refused(series, tmp_path, kind):
    image, slices, _ = series
    if kind == "ROI":
        write_rtstruct(tmp_path / "a.dcm", slices, contours(slices))
    else:
        write_seg(tmp_path / "a.dcm", slices, MASKS, CLASSES)
    message = rf"a\.dcm: expected a {kind} among the classes \('tumour',\), got \['organ', 'lesion'\]"
    with pytest.raises(ValueError, match=message):
        read_boxes(tmp_path / "a.dcm", image, ("tumour",))
    with pytest.raises(
        ValueError, match=rf"a\.dcm: without classes expected one {kind}, got \['organ', 'lesion'\]; give"
    ):
        read_boxes(tmp_path / "a.dcm", image)


def test_an_annotation_of_nothing_is_refused(series, tmp_path):
    image, slices, _ = series
    write_rtstruct(tmp_path / "a.dcm", slices, {"organ": []})
    write_seg(tmp_path / "b.dcm", slices, np.zeros_like(MASKS), CLASSES, omit_empty_frames=False)
    for name, found in (("a", r"\['organ'\]"), ("b", r"\['organ', 'lesion'\]")):
        with pytest.raises(ValueError, match=rf"{name}\.dcm: expected at least one outline in {found}, got none"):
            read_boxes(tmp_path / f"{name}.dcm", image, CLASSES)
    assert read_boxes([], image, CLASSES)[0].shape == (0, 6)


def test_wrong_files_are_refused(series, tmp_path):
    image, slices, _ = series
    with pytest.raises(ValueError, match=r"000\.dcm: expected the modality RTSTRUCT or SEG, got 'CT'"):
        read_boxes(tmp_path / "image" / "000.dcm", image, CLASSES)
    (tmp_path / "a.dcm").write_text("no DICOM")
    with pytest.raises(ValueError, match=r"a\.dcm: expected a DICOM file, got one without a DICOM header"):
        read_boxes(tmp_path / "a.dcm", image, CLASSES)
    write_seg(tmp_path / "seg.dcm", slices, MASKS, CLASSES)
    for name in ("SegmentSequence", "PerFrameFunctionalGroupsSequence", "PixelData"):
        file = pydicom.dcmread(tmp_path / "seg.dcm")
        del file[name]
        file.save_as(tmp_path / "part.dcm")
        with pytest.raises(ValueError, match=rf"part\.dcm: expected SEG with {name}, got none; is the file complete\?"):
            read_boxes(tmp_path / "part.dcm", image, CLASSES)
    file = pydicom.dcmread(tmp_path / "seg.dcm")
    for group in (*file.SharedFunctionalGroupsSequence, *file.PerFrameFunctionalGroupsSequence):
        group.pop("SegmentIdentificationSequence", None)
    file.save_as(tmp_path / "part.dcm")
    with pytest.raises(ValueError, match=r"part\.dcm: expected a SEG that follows the standard, .* raises KeyError"):
        read_boxes(tmp_path / "part.dcm", image, CLASSES)
    with pytest.raises(FileNotFoundError, match=r"none\.dcm"):
        read_boxes(tmp_path / "none.dcm", image, CLASSES)
    write_rtstruct(tmp_path / "b.dcm", slices, {"organ": [square(slices).ravel()[:-1]]})
    with pytest.raises(ValueError, match=r"contours\[0\]: expected three numbers per point, got 11 numbers"):
        read_boxes(tmp_path / "b.dcm", image, CLASSES)
    write_rtstruct(tmp_path / "c", slices, {"organ": [square(slices)]})
    assert read_boxes(tmp_path / "c", image, CLASSES, format="dicom")[0].tolist() == [SQUARE[:-1]]
    with pytest.raises(ValueError, match=r"c: expected a volume, \(C, H, W, Z\), .*image with 2 axes"):
        read_boxes(tmp_path / "c", image[..., 2], CLASSES, format="dicom")


def test_a_series_that_is_not_what_its_affine_says_is_refused(series, tmp_path):
    """Any annotation raises for an image that another reader placed wrongly, as LoadCheckedImage does."""
    image, slices, _ = series
    write_rtstruct(tmp_path / "rs.dcm", slices, {"organ": [square(slices)]})
    moved = MetaTensor(image, meta=dict(image.meta))
    moved.meta["original_affine"] = np.array(image.meta["original_affine"]) + np.diag([0, 0, 0.3, 0])
    message = r"image: expected slices where the DICOM headers have them, .* is 0\.45 voxels off\. .*LoadCheckedImage"
    for source in (tmp_path / "rs.dcm", [[1, 2, 0, 3, 4, 1]]):
        with pytest.raises(ValueError, match=message):
            read_boxes(source, moved, CLASSES[:1])
    (tmp_path / "image" / "003.dcm").unlink()
    message = r"image: expected slices at equal distances, got 6 mm between 002\.dcm and 004\.dcm where 3 mm is usual"
    for source in (tmp_path / "rs.dcm", [[1, 2, 0, 3, 4, 1]]):
        with pytest.raises(ValueError, match=message):
            read_boxes(source, image, CLASSES[:1])


def test_annotations_may_lie_beside_the_slices(series, tmp_path):
    image, slices, _ = series
    write_rtstruct(tmp_path / "image" / "rs.dcm", slices, {"organ": [square(slices)]})
    write_seg(tmp_path / "image" / "seg.dcm", slices, MASKS, CLASSES)
    loaded = LoadCheckedImage(1)(tmp_path / "image")
    assert torch.equal(loaded.as_tensor(), image.as_tensor().float())
    assert file_boxes(tmp_path / "image" / "rs.dcm", loaded) == [SQUARE]
    assert len(file_boxes(tmp_path / "image" / "seg.dcm", loaded)) >= 10


def test_without_the_extra_the_error_says_what_to_install(series, tmp_path, monkeypatch):
    image, slices, _ = series
    write_seg(tmp_path / "seg.dcm", slices, MASKS, CLASSES)
    monkeypatch.setattr(dicom_series, "optional_import", lambda name: (None, False))
    with pytest.raises(OptionalImportError, match=r'needs highdicom: pip install "monai_bbox_mil\[dicom\]"'):
        read_boxes(tmp_path / "seg.dcm", image, CLASSES)
