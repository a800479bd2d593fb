# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
"""Masks at fault, and images and masks that do not belong together."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from monai.data import MetaTensor

from monai_bbox_mil.losses import GeneralizedMILLoss
from monai_bbox_mil.transforms import (
    EnsureVolumed,
    LabelToChannels,
    LoadCheckedImaged,
    MaskToBoxTensor,
    ThresholdClasses,
)
from tests.robustness.cases import AFFINE, SHAPE, VOXELS, array, nifti

MASK = np.zeros(SHAPE, dtype=np.uint8)
MASK[3:6, 2:7, 1:3] = 1


def affine(*diagonal, shift=0.0):
    matrix = np.diag([*map(float, diagonal), 1.0])
    matrix[0, 3] = shift
    return matrix


def turned():
    return AFFINE[[1, 0, 2, 3]]


PAIRS = {
    "other size": (nifti("m.nii", MASK[:-1]), r"of one size, got image \(.*a\.nii\) of \(12, 10, 6\) .* \(11, 10, 6\)"),
    "axes swapped": (nifti("m.nii", MASK.transpose(1, 0, 2)), "of one size"),
    "fewer slices": (nifti("m.nii", MASK[..., :5]), "of one size"),
    "a 2D mask": (nifti("m.nii", MASK[..., 0]), "of one size"),
    "mirrored": (
        nifti("m.nii", MASK, affine(-2, 2, 3)),
        r"must lie in one place, got mask \(.*m\.nii\) up to 22 voxels",
    ),
    "turned": (nifti("m.nii", MASK, turned()), "must lie in one place"),
    "other spacing": (nifti("m.nii", MASK, affine(1, 1, 3)), "must lie in one place"),
    "moved by a voxel": (nifti("m.nii", MASK, affine(2, 2, 3, shift=2)), "up to 1 voxels off image .*ResampleToMatch"),
    "NaN in the mask": (
        nifti("m.nii", np.where(MASK, np.nan, 0).astype(np.float32)),
        r"m\.nii: expected finite voxels",
    ),
    "an empty mask file": (array("m.npy", MASK[:0]), r"m\.npy: expected at least one voxel"),
}


@pytest.mark.parametrize("case", PAIRS)
def test_image_and_mask_that_do_not_fit(tmp_path, case):
    make, message = PAIRS[case]
    paths = {"image": nifti("a.nii")(tmp_path), "mask": make(tmp_path)}
    with pytest.raises(ValueError, match=message):
        EnsureVolumed(["image", "mask"])(LoadCheckedImaged(["image", "mask"], [1, None])(paths))


@pytest.mark.parametrize(
    ("make", "options"),
    [
        (nifti("m.nii", MASK, affine(2, 2, 3, shift=0.5)), {}),  # a quarter of a voxel
        (array("m.npy", MASK), {}),  # no geometry
        (nifti("m.nii", MASK, affine(-2, 2, 3)), {"max_offset": None}),
    ],
    ids=["rounding", "no geometry", "allowed"],
)
def test_image_and_mask_that_may_pass(tmp_path, make, options):
    paths = {"image": nifti("a.nii")(tmp_path), "mask": make(tmp_path)}
    loaded = EnsureVolumed(["image", "mask"], **options)(LoadCheckedImaged(["image", "mask"])(paths))
    assert loaded["mask"].sum() == MASK.sum()


VALUES = {
    "fractions": ((1,), [0.0, 0.4, 1.0], "m.nii must hold whole numbers as .* got 0.4; .*nearest neighbour"),
    "almost whole": ((1,), [0.0, 0.9999], "got 0.9999"),
    "negative fraction": ((1, 2), [-0.5, 1.0], "got -0.5"),
}


@pytest.mark.parametrize("case", VALUES)
def test_values_that_are_no_labels(case):
    labels, values, message = VALUES[case]
    mask = MetaTensor(torch.tensor([[values]]), meta={"filename_or_obj": "m.nii"})
    with pytest.raises(ValueError, match=message):
        LabelToChannels(labels)(mask)


def test_unknown_labels_are_background_and_told_where_nothing_else_is_there():
    assert LabelToChannels((1,))(torch.tensor([[[0.0, 1, 2, -3]]])).tolist() == [[[0, 1, 0, 0]]]
    with pytest.warns(UserWarning, match=r"holds none of the label_values \(1,\), but the values \[0.*255"):
        assert not LabelToChannels((1,))(torch.tensor([[[0.0, 255]]])).any()


@pytest.mark.parametrize(("fill", "count"), [(0, 0), (1, 1)], ids=["empty", "all ones"])
def test_empty_and_full_masks_train(fill, count):
    boxes = MaskToBoxTensor()(torch.full((1, 8, 9), fill))
    assert boxes.tolist() == [[0, 0, 8, 9, 0]] * count
    target = boxes[None] if count else torch.tensor([[[0.0, 0, 0, 0, -1]]])
    logits = torch.zeros(1, 1, 8, 9, requires_grad=True)
    GeneralizedMILLoss()(logits, target).backward()
    assert torch.isfinite(logits.grad).all() and logits.grad.abs().sum() > 0


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -5.0, 3.0])
def test_predictions_that_are_no_probabilities(bad):
    with pytest.raises(ValueError, match=r"pred must hold probabilities in \[0, 1\], got "):
        ThresholdClasses()(torch.tensor([[[0.2, bad]]]))


def test_the_error_names_the_image_file(tmp_path):
    nifti("b.nii", VOXELS[..., :3])(tmp_path)
    paths = {"image": nifti("a.nii")(tmp_path), "mask": tmp_path / "b.nii"}
    with pytest.raises(ValueError, match=r"a\.nii.*b\.nii"):
        EnsureVolumed(["image", "mask"])(LoadCheckedImaged(["image", "mask"])(paths))
