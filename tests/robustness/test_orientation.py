# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
"""All 48 flips and permutations of a volume's axes: masks, boxes of both kinds, predictions and saved masks agree."""

from __future__ import annotations

from itertools import permutations, product

import nibabel
import numpy as np
import pytest
import torch
from monai.transforms import Compose, Invertd, Orientationd, ResizeWithPadOrCropd

from monai_bbox_mil.annotations import boxes_to_world
from monai_bbox_mil.boxes import boxes_to_mask
from monai_bbox_mil.transforms import (
    EnsureVolumed,
    LoadBoxesd,
    LoadCheckedImage,
    LoadCheckedImaged,
    MaskToBoxTensord,
    PackBoxesd,
    SaveLikeInput,
    ThresholdClasses,
)

SHAPE = (9, 8, 7)
BOX = [2, 1, 3, 6, 7, 5]
AXES = [(order, signs) for order in permutations(range(3)) for signs in product((1, -1), repeat=3)]


def placed(order, signs):
    """Affine of an image whose axis i runs along the world's axis ``order[i]``, with unequal spacings and an offset."""
    affine = np.eye(4)
    affine[:3, :3] = 0
    for axis, (world, sign) in enumerate(zip(order, signs)):
        affine[world, axis] = sign * (2.0, 3.0, 5.0)[axis]
    affine[:3, 3] = (-11, 17, 23)
    return affine


@pytest.mark.parametrize(("order", "signs"), AXES, ids=lambda value: "".join(f"{v:+d}" for v in value))
def test_everything_agrees_voxel_by_voxel(tmp_path, order, signs):
    affine = placed(order, signs)
    voxels = np.zeros(SHAPE, dtype=np.uint8)
    voxels[tuple(slice(a, b) for a, b in zip(BOX[:3], BOX[3:]))] = 1
    for name in ("image.nii.gz", "mask.nii.gz"):
        nibabel.save(nibabel.Nifti1Image(voxels, affine), tmp_path / name)
    box = {"box": boxes_to_world(torch.tensor([BOX]), torch.as_tensor(affine)).tolist(), "space": "world"}
    item = {"image": str(tmp_path / "image.nii.gz"), "mask": str(tmp_path / "mask.nii.gz"), "box": box}
    keys = ["image", "mask"]
    steps = Compose(
        [
            LoadCheckedImaged(keys),
            EnsureVolumed(keys),
            Orientationd(keys, axcodes="RAS", labels=None),
            ResizeWithPadOrCropd(keys, (12, 12, 12)),
            MaskToBoxTensord("mask", box_keys="from_mask"),
            LoadBoxesd("box"),
            PackBoxesd("box", box_tensor_keys="from_world"),
        ]
    )
    seen = steps(item)
    assert seen["from_mask"].tolist() == seen["from_world"].tolist()
    filled = boxes_to_mask(seen["from_world"][None], seen["mask"].shape[1:], 1)[0]
    assert torch.equal(filled, seen["mask"].as_tensor() > 0)
    # The prediction that is right where the network looks is right in the file too.
    seen["pred"] = seen["mask"].clone()
    back = Invertd("pred", steps, orig_keys="image", nearest_interp=False, to_tensor=True)(seen)["pred"]
    SaveLikeInput(tmp_path / "out")(ThresholdClasses()(back))
    written = nibabel.load(tmp_path / "out" / "image_segmentation.nii.gz")
    assert np.array_equal(np.asarray(written.dataobj), voxels)
    assert np.allclose(written.affine, affine, atol=1e-5)


@pytest.mark.parametrize("extension", [".nii", ".nii.gz", ".mhd", ".mha", ".nrrd"])
@pytest.mark.parametrize("shape", [(1, 6, 5, 4), (1, 6, 5, 1), (1, 1, 5, 4)])
def test_saved_volumes_keep_axes_of_one_voxel(tmp_path, extension, shape):
    """Also where such an axis is not the world's third: without it the affine would be none."""
    nibabel.save(
        nibabel.Nifti1Image(np.ones(shape[1:], dtype=np.uint8), placed((2, 1, 0), (1, -1, 1))), tmp_path / "a.nii"
    )
    mask = LoadCheckedImage()(tmp_path / "a.nii")
    mask.meta["filename_or_obj"] = f"/data/a{extension}"
    SaveLikeInput(tmp_path / "out")(mask)
    found = LoadCheckedImage()(tmp_path / "out" / f"a_segmentation{extension}")
    assert found.shape == mask.shape
    assert torch.allclose(found.affine, mask.affine, atol=1e-4)
