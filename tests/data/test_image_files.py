# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
"""Which files of a folder are images."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from monai_bbox_mil.data.image_files import find_images
from tests.data.layouts import touch


class TestFindImages:
    def test_images_only(self, tmp_path):
        names = ["Case01.mhd", "Case01.raw", "Case01_segmentation.mhd", "b.NII.GZ", "a.png", "a_seg.nii.gz", "x.txt"]
        touch(*(tmp_path / name for name in [*names, "._a.png", "below/c.png", "segment.png"]))
        found = [Path(item["image"]).name for item in find_images(tmp_path)]
        assert found == ["Case01.mhd", "a.png", "b.NII.GZ", "segment.png"]
        assert all(set(item) == {"image"} and Path(item["image"]).is_absolute() for item in find_images(tmp_path))

    def test_arguments(self, tmp_path):
        touch(tmp_path / "a.png", tmp_path / "a_seg.png", tmp_path / "b.nii")
        assert len(find_images(tmp_path, mask_suffixes=())) == 3
        assert [Path(item["image"]).name for item in find_images(tmp_path, [".nii"])] == ["b.nii"]

    def test_errors(self, tmp_path):
        with pytest.raises(ValueError, match=r"folder .*absent: expected a folder with images, got nothing\."):
            find_images(tmp_path / "absent")
        with pytest.raises(ValueError, match=r"expected images ending in \.nii\.gz, \.nii, .*, got none\.$"):
            find_images(tmp_path)
        touch(tmp_path / "a_segmentation.mhd")
        with pytest.raises(ValueError, match=r"got none but 1 passed over as masks: a_segmentation\.mhd\."):
            find_images(tmp_path)
        with pytest.raises(ValueError, match=r"expected a folder with images, got a file\."):
            find_images(tmp_path / "a_segmentation.mhd")

    @pytest.mark.skipif(os.name != "posix", reason="these names are POSIX's")
    def test_names_that_are_not_utf8(self, tmp_path):
        odd = os.fsdecode(b"caf\xe9")
        touch(tmp_path / f"{odd}.nii.gz", tmp_path / "notes" / odd, tmp_path / odd / "1")
        assert [Path(item["image"]).name for item in find_images(tmp_path)] == [f"{odd}.nii.gz"]
        (tmp_path / odd / "1").write_bytes(128 * b"\0" + b"DICM")
        with pytest.raises(ValueError, match="udce9.*expected a name in UTF-8, which ITK needs to read DICOM"):
            find_images(tmp_path)
