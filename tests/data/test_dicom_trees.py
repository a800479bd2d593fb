# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
"""DICOM trees: series with the RTSTRUCT and SEG files that refer to them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from monai_bbox_mil.data import annotated_datalist, find_class_names, get_datalist
from monai_bbox_mil.transforms import LoadBoxesd, LoadCheckedImaged
from tests.annotations.annotations import roi
from tests.data.layouts import patients, touch
from tests.dicom_files import edit, write_rtstruct, write_seg, write_series
from tests.dicom_scene import SQUARE, square

VOLUME = np.zeros((20, 16, 6), dtype=np.int16)
MASK = np.zeros((*VOLUME.shape, 1), dtype=bool)
MASK[4:9, 5:10, 2, 0] = True


def boxes_of(folder: Path, item) -> tuple[str, list[str]]:
    files = item["box"] if isinstance(item["box"], list) else [item["box"]]
    return Path(item["image"]).relative_to(folder).as_posix(), [Path(f).relative_to(folder).as_posix() for f in files]


def test_a_tree_of_any_depth(tmp_path):
    for number in range(4):
        slices = write_series(tmp_path / f"p{number}" / "study" / "ct", VOLUME, name="IM{:04d}")
        edit(tmp_path / f"p{number}" / "study" / "ct", PatientID=f"secret{number // 2}")
        if number % 2:
            write_rtstruct(tmp_path / f"p{number}" / "study" / "rs.dcm", slices, {"organ": [square(slices)]})
        else:
            write_seg(tmp_path / f"p{number}" / "study" / "ct" / "SEG", slices, MASK, ["organ"])
    touch(tmp_path / "p0" / "notes.pdf", tmp_path / "DICOMDIR")
    parts = get_datalist(tmp_path)
    assert find_class_names(parts) == ["organ"]
    items = sorted(parts["training"] + parts["validation"], key=lambda item: item["image"])
    assert boxes_of(tmp_path, items[0]) == ("p0/study/ct", ["p0/study/ct/SEG"])
    assert boxes_of(tmp_path, items[1]) == ("p1/study/ct", ["p1/study/rs.dcm"])
    # Two series of one patient ID stay together, and the ID is not copied.
    assert [patients(parts[part]) for part in ("training", "validation")] in (
        [["p0/study/ct"] * 2, ["p2/study/ct"] * 2],
        [["p2/study/ct"] * 2, ["p0/study/ct"] * 2],
    )
    for item in items:
        loaded = LoadBoxesd(classes=["organ"])(LoadCheckedImaged("image")(item))
        assert loaded["box"].tolist() == [SQUARE[:6]]


def test_annotations_of_different_rois_are_put_together(tmp_path):
    slices = write_series(tmp_path / "ct", VOLUME)
    write_rtstruct(tmp_path / "a.dcm", slices, {"organ": [square(slices)]})
    write_seg(tmp_path / "b.dcm", slices, MASK, ["lesion"])
    (item,) = annotated_datalist(tmp_path)["training"]
    assert boxes_of(tmp_path, item) == ("ct", ["a.dcm", "b.dcm"])
    loaded = LoadBoxesd(classes=["lesion", "organ"])(LoadCheckedImaged("image")(item))
    assert loaded["box_class"].tolist() == [1, 0]
    write_rtstruct(tmp_path / "c.dcm", slices, {"organ": [square(slices)]})
    with pytest.raises(ValueError, match=r"c\.dcm: expected each ROI of an image in one file, got 'organ' in .*a\.dcm"):
        annotated_datalist(tmp_path)


def test_by_the_frame_of_reference_where_no_series_is_named(tmp_path):
    slices = write_series(tmp_path / "ct", VOLUME)
    write_series(tmp_path / "mr", VOLUME)
    write_rtstruct(tmp_path / "rs.dcm", slices, {"organ": [square(slices)]}, series=False)
    with pytest.warns(UserWarning, match="1 of 2 images have no annotation and are left out: mr"):
        (item,) = annotated_datalist(tmp_path)["training"]
    assert boxes_of(tmp_path, item) == ("ct", ["rs.dcm"])
    write_series(tmp_path / "pet", VOLUME, reference=slices[0].FrameOfReferenceUID)
    with pytest.raises(ValueError, match=r"got 1 that belong to none: rs\.dcm.* An RTSTRUCT or SEG has to refer to"):
        annotated_datalist(tmp_path)


def test_an_annotation_of_an_absent_series_is_named(tmp_path):
    slices = write_series(tmp_path / "ct", VOLUME)
    write_rtstruct(tmp_path / "rs.dcm", slices, {"organ": [square(slices)]})
    other = write_series(tmp_path / "gone", VOLUME)
    write_rtstruct(tmp_path / "stray.dcm", other, {"organ": [square(other)]})
    for path in (tmp_path / "gone").iterdir():
        path.unlink()
    with pytest.warns(UserWarning, match=r"1 annotations belong to no image and are left out: stray\.dcm"):
        assert len(annotated_datalist(tmp_path)["training"]) == 1


def test_series_that_cannot_be_told_apart_are_refused(tmp_path):
    slices = write_series(tmp_path / "ct", VOLUME)
    write_series(tmp_path / "ct", VOLUME, name="other{}.dcm")
    write_rtstruct(tmp_path / "rs.dcm", slices, {"organ": [square(slices)]})
    with pytest.raises(ValueError, match=r"rs\.dcm: expected the series .* in a folder of its own"):
        annotated_datalist(tmp_path)


def test_a_copy_of_an_annotated_series_is_refused(tmp_path):
    slices = write_series(tmp_path / "ct", VOLUME)
    (tmp_path / "copy").mkdir()
    for path in (tmp_path / "ct").iterdir():
        (tmp_path / "copy" / path.name).write_bytes(path.read_bytes())
    write_rtstruct(tmp_path / "rs.dcm", slices, {"organ": [square(slices)]})
    with pytest.raises(ValueError, match=r"rs\.dcm: expected one image series that it was made on, got copies in"):
        annotated_datalist(tmp_path)


def test_files_of_other_types_beside_the_folder_of_a_series(tmp_path):
    slices = write_series(tmp_path / "images" / "case1", VOLUME)
    (tmp_path / "images" / "case1_organ.mrk.json").write_text(json.dumps(roi()))
    (item,) = annotated_datalist(tmp_path)["training"]
    assert boxes_of(tmp_path, item) == ("images/case1", ["images/case1_organ.mrk.json"])
    assert item["patient"] == "case1"
    write_rtstruct(tmp_path / "rs.dcm", slices, {"organ": [square(slices)]})
    with pytest.raises(ValueError, match=r"expected one box file, Slicer ROIs, DICOM .*rs\.dcm"):
        annotated_datalist(tmp_path)


def test_the_folder_itself_may_be_the_series(tmp_path):
    slices = write_series(tmp_path, VOLUME)
    write_seg(tmp_path / "seg.dcm", slices, MASK, ["organ"])
    parts = get_datalist(tmp_path)
    assert boxes_of(tmp_path, parts["training"][0]) == (".", ["seg.dcm"]) and not parts["validation"]
