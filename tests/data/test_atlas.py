# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
"""Data lists of ATLAS R1.1: the paper's split, merged masks, and errors."""

from __future__ import annotations

import random
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from monai.transforms import Compose, EnsureChannelFirstd, LoadImaged

from monai_bbox_mil.data.atlas import ATLAS_VALIDATION, atlas_datalist
from tests.data.layouts import patients, touch

ATLAS_SCANNED_TWICE = {"031948", "031950", "031952", "031954", "031955", "031957", "031959", "031961", "031972"}


@pytest.fixture(scope="module")
def atlas(tmp_path_factory):
    root = tmp_path_factory.mktemp("atlas")
    for number in range(31768, 31988):
        subject = f"{number:06d}"
        for session in ("t01", "t02") if subject in ATLAS_SCANNED_TWICE else ("t01",):
            folder = root / "ATLAS_R1.1" / f"Site{number % 9 + 1}" / subject / session
            touch(folder / f"{subject}_t1w_deface_stx.nii.gz", folder / f"{subject}_LesionSmooth_stx.nii.gz")
            if number == 31769:
                touch(folder / f"{subject}_LesionSmooth_1_stx.nii.gz")
    return root


class TestAtlas:
    def test_split_of_the_paper(self, atlas):
        parts = atlas_datalist(atlas)
        counts = {name: (len(items), len(set(patients(items)))) for name, items in parts.items()}
        assert counts == {"training": (203, 195), "validation": (26, 25)}
        assert not set(patients(parts["training"])) & set(patients(parts["validation"]))
        assert patients(parts["validation"]).count("031950") == 2
        assert parts == atlas_datalist(atlas / "ATLAS_R1.1")

    def test_split_is_the_shuffle_of_the_public_code(self):
        subjects = [f"{number:06d}" for number in range(31768, 31988)]
        random.Random(0).shuffle(subjects)
        assert sorted(subjects[:25]) == list(ATLAS_VALIDATION)

    def test_masks(self, atlas):
        parts = atlas_datalist(atlas)
        by_patient = {item["patient"]: item for item in parts["training"]}
        assert Path(by_patient["031768"]["mask"]).name == "031768_LesionSmooth_stx.nii.gz"
        assert [Path(path).name for path in by_patient["031769"]["mask"]] == [
            "031769_LesionSmooth_1_stx.nii.gz",
            "031769_LesionSmooth_stx.nii.gz",
        ]
        assert Path(by_patient["031769"]["image"]).parent == Path(by_patient["031769"]["mask"][0]).parent

    def test_drawn_split(self, atlas):
        parts = atlas_datalist(atlas, None, seed=1)
        assert len(set(patients(parts["validation"]))) == 25
        assert set(patients(parts["validation"])) != set(ATLAS_VALIDATION)

    def test_merging_as_documented(self, tmp_path):
        folder = tmp_path / "Site1" / "000001" / "t01"
        folder.mkdir(parents=True)
        volumes = {"t1w_deface_stx": 10.0, "LesionSmooth_stx": 0.9999999998, "LesionSmooth_1_stx": 254.99999994}
        for position, (name, value) in enumerate(volumes.items()):
            volume = np.zeros((4, 5, 6))
            volume[position] = value
            nib.save(nib.Nifti1Image(volume, np.diag([-1.0, 1, 1, 1])), folder / f"000001_{name}.nii.gz")
        load = Compose([LoadImaged(["image", "mask"]), EnsureChannelFirstd(["image", "mask"])])
        several = load(atlas_datalist(tmp_path, None)["training"][0])
        assert several["mask"].shape == (2, 4, 5, 6)
        merged = several["mask"].amax(dim=0, keepdim=True) > 0
        assert merged.nonzero()[:, 1].unique().tolist() == [1, 2]
        (folder / "000001_LesionSmooth_1_stx.nii.gz").unlink()
        one = load(atlas_datalist(tmp_path, None)["training"][0])
        assert one["mask"].shape == (1, 4, 5, 6)
        assert (one["mask"].amax(dim=0, keepdim=True) > 0).sum() == 5 * 6

    def test_a_part_of_the_data_set(self, tmp_path):
        for number in range(4):
            folder = tmp_path / "Site1" / f"00000{number}" / "t01"
            touch(folder / f"00000{number}_t1w_deface_stx.nii.gz", folder / f"00000{number}_LesionSmooth_stx.nii.gz")
        with pytest.warns(UserWarning, match=r"25 of the 25 validation patients of the paper are not there"):
            parts = atlas_datalist(tmp_path)
        assert (len(parts["training"]), len(parts["validation"])) == (3, 1)
        parts = atlas_datalist(tmp_path, ["000002"])
        assert patients(parts["validation"]) == ["000002"]
        with pytest.raises(ValueError, match=r"validation_patients of .* got unknown 000009\."):
            atlas_datalist(tmp_path, ["000002", "000009"])

    def test_errors(self, tmp_path):
        with pytest.raises(ValueError, match=r"expected images Site\*/.*_t1w_deface_stx\.nii\.gz, got none"):
            atlas_datalist(tmp_path)
        touch(tmp_path / "Site2" / "000007" / "t01" / "000007_t1w_deface_stx.nii.gz")
        with pytest.raises(ValueError, match=r"beside every image, got 1 without: .*000007_t1w_deface_stx"):
            atlas_datalist(tmp_path)
