# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
"""Which folders and files of DICOM are images."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from monai_bbox_mil.data.image_files import find_images
from tests.dicom_files import edit, generate_uid, write_frames, write_rtstruct, write_seg, write_series

VOLUME = np.ones((4, 5, 3))


def names(folder) -> list[str]:
    return [str(Path(item["image"]).relative_to(folder)) for item in find_images(folder)]


def test_a_series_is_one_image_whatever_its_files_are_called(tmp_path):
    for number, name in enumerate(("{}.dcm", "{}.IMA", "{}", "a{}.v2", "1.2.840.{}")):
        slices = write_series(tmp_path / str(number), VOLUME, name=name)
    write_rtstruct(tmp_path / "4" / "rs.dcm", slices, {})
    write_seg(tmp_path / "4" / "a.seg", slices, np.ones((*VOLUME.shape, 1), dtype=bool), ["organ"])
    (tmp_path / "0" / "notes.txt").write_text("of the scan")
    (tmp_path / "annotations").mkdir()
    write_rtstruct(tmp_path / "annotations" / "rs.dcm", slices, {})
    assert names(tmp_path) == ["0", "1", "2", "3", "4"]
    assert names(tmp_path / "2") == ["."]


def test_each_picture_in_a_folder_is_an_image(tmp_path):
    """Use X-rays, and volumes of one file each."""
    for number in range(3):
        write_series(tmp_path, VOLUME[..., :1], name=f"x{number}.dcm")
        edit(tmp_path / f"x{number}.dcm", ImagePositionPatient=None, ImageOrientationPatient=None)
    assert names(tmp_path) == ["x0.dcm", "x1.dcm", "x2.dcm"]
    write_frames(tmp_path / "v.dcm", VOLUME, "axial", range(3))
    assert names(tmp_path) == ["v.dcm", "x0.dcm", "x1.dcm", "x2.dcm"]


def test_slices_of_several_series_are_not_read_as_pictures(tmp_path):
    for number in range(3):
        write_series(tmp_path, VOLUME[..., :1], name=f"{number}.dcm")
    with pytest.raises(ValueError, match=r"expected the slices of one DICOM series, got 3 series: "):
        find_images(tmp_path)
    uid = generate_uid()
    for number in range(3):
        edit(tmp_path / f"{number}.dcm", SeriesInstanceUID=uid, FrameOfReferenceUID=uid)
    with pytest.raises(ValueError, match=r"got 3 slices at 1 position: 0\.dcm and 1\.dcm"):
        find_images(tmp_path)
