# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
"""Boxes in mm on images of whose place programs disagree."""

from __future__ import annotations

import nibabel
import numpy as np
import pytest

from monai_bbox_mil.annotations import read_boxes
from monai_bbox_mil.transforms import EnsureVolume, LoadCheckedImage

SCANNER = np.diag([2.0, 2, 3, 1])
REGISTERED = SCANNER + np.array([[0, 0, 0, 10], [0, 0, 0, 20], [0, 0, 0, 30], [0, 0, 0, 0]])


def load(path, sform, qform):
    image = nibabel.Nifti1Image(np.zeros((30, 20, 10), dtype=np.int16), sform)
    image.set_sform(sform, code=2)
    image.set_qform(qform, code=1)
    nibabel.save(image, path)
    return EnsureVolume()(LoadCheckedImage(1)(str(path)))


def test_boxes_in_mm_need_forms_that_agree(tmp_path):
    image = load(tmp_path / "a.nii.gz", REGISTERED, SCANNER)
    world = {"box": [[20, 30, 60, 40, 50, 90]], "space": "world"}
    with pytest.raises(ValueError, match=r"cannot place boxes in mm in .*a\.nii\.gz: its sform and its qform differ"):
        read_boxes(world, image)
    assert read_boxes([[1, 2, 3, 6, 7, 8]], image)[0].tolist() == [[1, 2, 3, 6, 7, 8]]


def test_forms_that_agree_place_boxes_in_mm(tmp_path):
    image = load(tmp_path / "a.nii.gz", REGISTERED, REGISTERED)
    # Voxels 5..9, 4..8 and 2..3: their outer edges lie half a voxel beyond their centres.
    low = REGISTERED @ [4.5, 3.5, 1.5, 1]
    high = REGISTERED @ [9.5, 8.5, 3.5, 1]
    boxes, _ = read_boxes({"box": [[*low[:3], *high[:3]]], "space": "world"}, image)
    np.testing.assert_allclose(boxes, [[5, 4, 2, 10, 9, 4]], atol=1e-5)
