# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
"""Disks that run full and folders that cannot be written.

Permissions do not stop root, who runs most containers: what cannot be written here is a folder below a regular file.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch
from monai.data import MetaTensor

from monai_bbox_mil.metrics import save_threshold
from monai_bbox_mil.transforms import SaveLikeInput

EXTENSIONS = [".nii", ".nii.gz", ".mhd", ".mha", ".nrrd", ".png"]


def noise(extension):
    """A mask that no compression brings below 64 kB."""
    shape = (1, 1000, 1000) if extension == ".png" else (1, 100, 100, 100)
    voxels = np.random.default_rng(0).integers(0, 2, shape)
    return MetaTensor(torch.as_tensor(voxels), meta={"filename_or_obj": f"/data/a{extension}"})


@pytest.fixture
def below_a_file(tmp_path):
    (tmp_path / "file").touch()
    return tmp_path / "file" / "below"


@pytest.mark.parametrize("extension", EXTENSIONS)
def test_a_full_disk_is_reported(small_disk, extension):
    """The writers of NIfTI say nothing of it, and leave a mask that is cut short."""
    with pytest.raises(
        OSError, match=rf"output_dir .*disk: expected to write the mask of /data/a{extension} there, got "
    ):
        SaveLikeInput(small_disk)(noise(extension))


@pytest.mark.parametrize("extension", EXTENSIONS)
def test_a_folder_that_cannot_be_made_is_reported(below_a_file, extension):
    with pytest.raises(OSError, match=r"output_dir .*below: expected to write .*Not a directory"):
        SaveLikeInput(below_a_file)(noise(extension))


def test_thresholds_are_whole_or_not_there(small_disk):
    (small_disk / "filler").write_bytes(b"0" * 65536)
    with pytest.raises(OSError, match="No space left"):
        save_threshold(small_disk / "threshold.json", [0.5])
    assert not (small_disk / "threshold.json").exists()


def test_thresholds_below_a_file(below_a_file):
    with pytest.raises(NotADirectoryError, match="below"):
        save_threshold(below_a_file / "threshold.json", [0.5])
