# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
"""Folders of DICOM slices as images; files are tested with the data lists."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from monai_bbox_mil.data import find_images, load_datalist
from monai_bbox_mil.data.image_files import image_stem
from tests.dicom_files import write_rtstruct, write_seg, write_series

VOLUME = np.zeros((8, 8, 2))


def names(*arguments) -> list[str]:
    return [Path(item["image"]).name for item in find_images(*arguments)]


def test_each_folder_of_slices_is_one_image(tmp_path):
    slices = write_series(tmp_path / "1.2.840.1", VOLUME)
    write_series(tmp_path / "1.2.840.2", VOLUME, name="IM{:04d}")
    write_series(tmp_path / "scanner", VOLUME, name="1.3.12.{}")
    write_series(tmp_path / "old_mask", VOLUME)
    write_series(tmp_path / ".hidden", VOLUME)
    for name in ("annotation", "contours", "notes"):
        (tmp_path / name).mkdir()
    write_seg(tmp_path / "annotation" / "seg.dcm", slices, VOLUME[..., None] + 1, ["organ"])
    write_rtstruct(tmp_path / "contours" / "rs.dcm", slices, {"organ": []})
    (tmp_path / "notes" / "a.dcm").write_text("no DICOM")
    (tmp_path / "b.nii.gz").touch()
    assert names(tmp_path) == ["1.2.840.1", "1.2.840.2", "b.nii.gz", "scanner"]
    assert names(tmp_path, [".nii.gz"]) == ["b.nii.gz"]
    assert names(tmp_path, [".dcm"], ()) == ["1.2.840.1", "1.2.840.2", "old_mask", "scanner"]


def test_a_folder_that_is_a_series_itself(tmp_path):
    slices = write_series(tmp_path / "case_seg", VOLUME)
    write_rtstruct(tmp_path / "case_seg" / "rs.dcm", slices, {"organ": []})
    assert find_images(tmp_path / "case_seg") == [{"image": str(tmp_path / "case_seg")}]


def test_a_folder_of_two_series_is_refused(tmp_path):
    for name in ("a{:03d}.dcm", "b{:03d}.dcm"):
        write_series(tmp_path / "images" / "both", VOLUME, name=name)
    message = r"both: expected the slices of one DICOM series, got 2 series, which begin with a000\.dcm, b000\.dcm; "
    for folder in ("images", "images/both"):
        with pytest.raises(ValueError, match=message + "give each a folder of its own"):
            find_images(tmp_path / folder)


def test_dots_in_the_name_of_a_series_are_no_extension(tmp_path):
    write_series(tmp_path / "1.2.840.1", VOLUME)
    assert image_stem(tmp_path / "1.2.840.1") == "1.2.840.1"
    assert image_stem(tmp_path / "1.2.840.1" / "000.dcm") == "000"


def test_a_data_list_of_series_keeps_patients_apart(tmp_path):
    series = ["1.2.840.1", "1.2.840.2", "p1/ct", "p2/ct"]
    for name in series:
        slices = write_series(tmp_path / name, VOLUME)
        write_rtstruct(tmp_path / f"{name}.dcm", slices, {"organ": []})
    entries = [{"image": name, "box": f"{name}.dcm"} for name in series]
    (tmp_path / "datalist.json").write_text(json.dumps({"training": entries}))
    items = load_datalist(tmp_path, section="training", validation_fraction=0)
    assert [item["patient"] for item in items] == ["1.2.840.1", "1.2.840.2", "p1/ct", "p2/ct"]
    assert [item["box"] for item in items] == [str(tmp_path / f"{name}.dcm") for name in series]


def test_a_folder_without_slices_is_told(tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match=r"expected images ending in \.nii\.gz, .*\.dcm, got none\.$"):
        find_images(tmp_path)
