# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
"""Resampling slab by slab against MONAI's of the whole volume."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from monai.transforms import Compose, Invertd, ResizeWithPadOrCropd, Spacing, Spacingd
from scipy.spatial.transform import Rotation

from monai_bbox_mil.transforms import SlabSpacing, SlabSpacingd

SHAPE = (23, 31, 11)
SLAB = 3 * 31 * 40
TURN = Rotation.from_euler("xyz", (10, -20, 30), degrees=True).as_matrix()
# Columns are steps from voxel to voxel, mm.
STEPS = {
    "isotropic": np.eye(3),
    "anisotropic": np.diag([0.7, 1.3, 5]),
    "flipped": np.diag([-1, 1, -4.0]),
    "permuted": np.diag([1, 2, 3.0])[[1, 2, 0]],
    "rotated": TURN @ np.diag([1, 1.5, 4]),
    "sheared in plane": np.array([[1, 0.3, 0], [0, 1, 0], [0, 0, 4.0]]),
    "gantry tilt": np.array([[1, 0, 0], [0, 1, 1.23457], [0, 0, 4.0]]),
    "sheared and rotated": TURN @ np.array([[1, 0.1, 0.31373], [0, 1, 0.22731], [0, 0, 4.0]]),
}
# No point of these lies half-way between two voxels, where rounding would decide which is nearest.
IN_PLANE = {"coarser": (1.41, 2.83, -1), "finer": (0.37, 0.59, -1), "both": (0.77, 1.73, -1)}
PIXDIMS = {**IN_PLANE, "through the planes too": (1.41, 0.77, 2.37), "coarse slices": (1.13, 0.83, 9.1)}


def image_of(steps, shape=SHAPE, channels=2):
    generator = torch.Generator().manual_seed(0)
    affine = np.eye(4)
    affine[:3, :3], affine[:3, 3] = steps, (3, -7, 11)
    meta = {"filename_or_obj": "image.nii.gz", "original_affine": affine}
    return MetaTensor(torch.rand(channels, *shape, generator=generator), affine=torch.as_tensor(affine), meta=meta)


@pytest.fixture
def points(monkeypatch):
    """How many points were sampled at once, one number a call."""
    numbers, grid = [], torch.nn.functional.affine_grid
    monkeypatch.setattr(
        torch.nn.functional,
        "affine_grid",
        lambda theta, size, **options: numbers.append(int(np.prod(size[2:]))) or grid(theta, size, **options),
    )
    return numbers


@pytest.mark.parametrize("pixdim", PIXDIMS.values(), ids=PIXDIMS)
@pytest.mark.parametrize("steps", STEPS.values(), ids=STEPS)
@pytest.mark.parametrize("options", [{}, {"mode": "nearest"}, {"padding_mode": "zeros"}], ids=str)
def test_slabs_give_what_the_whole_volume_does(points, steps, pixdim, options):
    image = image_of(steps)
    tilted = abs(steps[:, 2] @ steps[:, 1]) > 1e-9
    apart = abs(np.linalg.qr(steps, mode="r")[2, 2])
    # Of a tilted volume MONAI keeps the slanted step from slice to slice, which is longer than slices are apart.
    whole = Spacing((*pixdim[:2], apart) if tilted and pixdim[2] == -1 else pixdim, **options)
    slabs = SlabSpacing(pixdim, slab_voxels=SLAB, **options)
    expected, found = whole(image), slabs(image)
    assert found.shape == expected.shape
    torch.testing.assert_close(found.as_tensor(), expected.as_tensor(), rtol=0, atol=2e-7)
    assert torch.equal(found.affine, expected.affine)
    (trace,), (theirs,) = ([operation.copy() for operation in i.applied_operations] for i in (found, expected))
    for one in (trace, theirs):
        one.pop("class"), one.pop("id")
        one["extra_info"] = {**one["extra_info"], "src_affine": one["extra_info"]["src_affine"].tolist()}
    assert trace == theirs
    back, expected_back = slabs.inverse(found), whole.inverse(expected)
    torch.testing.assert_close(back.as_tensor(), expected_back.as_tensor(), rtol=0, atol=5e-7)
    assert back.shape == image.shape
    assert torch.equal(back.affine, expected_back.affine)
    assert back.applied_operations == []
    # MONAI's two calls, and ours: none of more than a slab or one slice, but for MONAI's trace of 2x2x2 voxels.
    ours = sorted(points)[:-2]
    assert len(ours) > 4
    assert max(ours) <= max(SLAB, expected[0, ..., 0].numel())


@pytest.mark.parametrize("slab_voxels", [1, 23 * 31, 5 * 23 * 31])
def test_slabs_of_any_size(slab_voxels):
    image, pixdim = image_of(STEPS["rotated"], channels=1), (1.41, 0.77, 2.37)
    found = SlabSpacing(pixdim, slab_voxels=slab_voxels)(image)
    torch.testing.assert_close(found.as_tensor(), Spacing(pixdim)(image).as_tensor(), rtol=0, atol=2e-7)


@pytest.mark.parametrize(
    ("shape", "options"),
    [
        ((23, 31), {}),
        ((23, 31, 1), {}),
        (SHAPE, {"padding_mode": "reflection"}),
        (SHAPE, {"mode": 3, "padding_mode": "nearest"}),
        (SHAPE, {"align_corners": True}),
        (SHAPE, {"pixdim": (-1, -1, -1)}),
        (SHAPE, {"lazy": True}),
    ],
    ids=str,
)
def test_what_cannot_be_cut_is_resampled_as_monai_does(shape, options):
    image = image_of(STEPS["anisotropic"], shape)
    if len(shape) == 2:
        image.affine = torch.diag(torch.tensor([0.7, 1.3, 1], dtype=torch.float64))
    options = {"pixdim": (1.41, 2.83, -1), **options}
    whole, slabs = Spacing(**options), SlabSpacing(**options, slab_voxels=1)
    expected, found = whole(image), slabs(image)
    assert torch.equal(found.as_tensor(), expected.as_tensor())
    assert torch.equal(found.peek_pending_affine(), expected.peek_pending_affine())
    if not options.get("lazy"):
        assert torch.equal(slabs.inverse(found).as_tensor(), whole.inverse(expected).as_tensor())


def test_a_small_volume_has_monais_bits():
    image = image_of(STEPS["rotated"])
    for pixdim in PIXDIMS.values():
        assert torch.equal(SlabSpacing(pixdim)(image).as_tensor(), Spacing(pixdim)(image).as_tensor())


def test_plain_tensors_and_whole_numbers():
    tensor = torch.arange(4 * 6 * 5, dtype=torch.int16).reshape(1, 4, 6, 5)
    with pytest.warns(UserWarning, match="assuming affine to be identity"):
        expected, found = Spacing((2, 1.5, -1))(tensor), SlabSpacing((2, 1.5, -1), slab_voxels=24)(tensor)
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=0)


@pytest.mark.parametrize("nearest", [False, True])
@pytest.mark.parametrize("pixdim", IN_PLANE.values(), ids=IN_PLANE)
def test_predictions_are_inverted_as_by_monai(nearest, pixdim):
    """Image and mask, each by its mode, cropped, and a prediction brought back to the image."""
    image = image_of(STEPS["rotated"], channels=1)
    found = {}
    for spacing in (Spacingd, SlabSpacingd):
        options = {"slab_voxels": SLAB} if spacing is SlabSpacingd else {}
        steps = Compose(
            [
                spacing(["image", "mask"], pixdim, mode=["bilinear", "nearest"], **options),
                ResizeWithPadOrCropd(["image", "mask"], (20, 24, -1)),
            ]
        )
        seen = steps({"image": image, "mask": (image > 0.5).float()})
        seen["pred"] = MetaTensor(seen["image"].as_tensor().sigmoid())
        seen = Invertd("pred", steps, orig_keys="image", nearest_interp=nearest, to_tensor=True)(seen)
        found[spacing] = seen
    assert found[SlabSpacingd]["pred"].shape == image.shape
    for key in ("image", "mask", "pred"):
        mine, theirs = (found[spacing][key] for spacing in (SlabSpacingd, Spacingd))
        torch.testing.assert_close(mine.as_tensor(), theirs.as_tensor(), rtol=0, atol=5e-7)
        assert torch.equal(mine.affine, theirs.affine)


def test_keys_that_begin_as_an_images_stay_as_they_are():
    """MONAI Label puts the path of the image into ``image_path``."""
    data = {"image": image_of(np.eye(3)), "image_path": "image.nii.gz", "image_meta": {"age": 40}}
    found = SlabSpacingd("image", (2, 2, -1))(data)
    assert found["image"].shape[1:] == (12, 16, 11)
    assert found["image_path"] == "image.nii.gz"
    assert {"age", "affine"} <= found["image_meta"].keys()  # as Spacingd has it


def test_slabs_of_nothing_are_told():
    with pytest.raises(ValueError, match="slab_voxels must be at least 1, got 0"):
        SlabSpacing((1, 1, 1), slab_voxels=0)
