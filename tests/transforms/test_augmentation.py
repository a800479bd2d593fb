# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
"""One augmentation for boxes and masks: MONAI's own transforms are the reference for both, draw by draw."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from monai.apps.detection.transforms.dictionary import RandFlipBoxd, RandRotateBox90d
from monai.data import MetaTensor
from monai.transforms import Compose, Flipd, RandFlipd, RandGridDistortiond, RandRotate90d

from monai_bbox_mil.annotations import check_box_frame, with_box_frame
from monai_bbox_mil.boxes import boxes_to_mask
from monai_bbox_mil.transforms import PackBoxesd, RandFlipLabeld, RandRotate90Labeld, UnpackBoxesd

ROWS = {
    2: [[1.0, 2, 5, 6, 0], [0, 0, 3, 9, 1], [2, 3, 4, 8, -2], [0, 0, 8, 1, -3]],
    3: [[1.0, 2, 0, 5, 6, 2, 0], [0, 0, 3, 3, 9, 7, 1], [2, 3, 1, 4, 8, 6, -2]],
}
SHAPES = {2: (8, 9), 3: (8, 9, 7)}
BOTH = ["image", "label"]


def item(dims, label=None, seed=0):
    """A random image, and its boxes or ``label``."""
    voxels = np.random.default_rng(seed).random((1, *SHAPES[dims]), dtype=np.float32)
    image = MetaTensor(torch.from_numpy(voxels), affine=torch.diag(torch.tensor([2.0, 3, 4, 1])))
    boxes = with_box_frame(torch.tensor(ROWS[dims]), image)
    return {"image": image, "label": boxes if label is None else label}


def mask_of(rows, shape):
    return boxes_to_mask(torch.as_tensor(rows)[None], shape, 2, True)[0].float()


def ours(dims):
    flips = [RandFlipLabeld(prob=[0.5, 0.4, 0.6], spatial_axis=axis) for axis in range(dims)]
    return Compose([*flips, RandRotate90Labeld(prob=0.7)])


def monais_for_boxes(dims):
    keys = {"image_keys": "image", "box_keys": "box", "box_ref_image_keys": "image"}
    flips = [RandFlipBoxd(**keys, prob=p, spatial_axis=axis) for axis, p in enumerate([0.5, 0.4, 0.6][:dims])]
    return Compose([UnpackBoxesd("label"), *flips, RandRotateBox90d(**keys, prob=0.7), PackBoxesd("box")])


def monais_for_masks(dims):
    flips = [RandFlipd(BOTH, prob=p, spatial_axis=axis) for axis, p in enumerate([0.5, 0.4, 0.6][:dims])]
    return Compose([*flips, RandRotate90d(BOTH, prob=0.7)])


@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("kind", ["boxes", "masks"])
def test_each_draw_is_that_of_monais_transforms(dims, kind):
    mine, reference = ours(dims), monais_for_boxes(dims) if kind == "boxes" else monais_for_masks(dims)
    label = None if kind == "boxes" else MetaTensor(mask_of(ROWS[dims], SHAPES[dims]))
    mine.set_random_state(seed=3)
    reference.set_random_state(seed=3)
    images = []
    for _ in range(40):
        one, other = mine(item(dims, label)), reference(item(dims, label))
        for key in BOTH:
            assert torch.equal(torch.as_tensor(one[key]), torch.as_tensor(other[key])), key
        assert torch.equal(one["image"].affine, other["image"].affine)
        images.append(one["image"].as_tensor())
    assert len({tuple(image.flatten().tolist()) for image in images}) > 4


@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("k", [1, 2, 3])
def test_boxes_and_masks_go_the_same_way(dims, k):
    """The boxes of a moved image, filled in, are the moved mask."""
    seed = next(s for s in range(99) if np.random.RandomState(s).randint(3) + 1 == k)
    flips = [RandFlipLabeld(prob=1.0, spatial_axis=axis) for axis in range(-dims, dims)]
    for move in (RandRotate90Labeld(prob=1.0), *flips):
        move.set_random_state(seed)
        boxes = move(item(dims))
        move.set_random_state(seed)
        masks = move(item(dims, mask_of(ROWS[dims], SHAPES[dims])))
        shape = boxes["image"].shape[1:]
        assert torch.equal(mask_of(boxes["label"].as_tensor(), shape), torch.as_tensor(masks["label"]))
        assert torch.equal(boxes["image"].as_tensor(), masks["image"].as_tensor())


def test_codes_and_padding_rows_stay_as_they_are():
    rows = torch.tensor([*ROWS[2], [0.0, 0, 0, 0, -1]])
    flip = RandFlipLabeld(prob=1.0, spatial_axis=1)
    moved = flip(item(2, rows))["label"]
    assert moved[:, -1].tolist() == rows[:, -1].tolist()
    assert moved[-1].tolist() == rows[-1].tolist()
    assert moved[0].tolist() == [1, 3, 5, 7, 0]
    assert torch.equal(flip(item(2, moved.as_tensor()))["label"].as_tensor(), rows)


def test_no_boxes_are_moved_too():
    for move in (RandFlipLabeld(prob=1.0), RandRotate90Labeld(prob=1.0)):
        assert move(item(2, torch.zeros(0, 5)))["label"].shape == (0, 5)


def test_what_is_given_stays_as_it_is():
    data = item(2)
    before = {key: value.clone() for key, value in data.items()}
    RandRotate90Labeld(prob=1.0)(RandFlipLabeld(prob=1.0)(data))
    assert all(torch.equal(data[key], before[key]) for key in BOTH)


@pytest.mark.parametrize("prob", [0.0, 1.0])
def test_boxes_carry_the_frame_of_the_image_they_come_with(prob):
    for label in (None, torch.tensor(ROWS[2])):  # with a frame of their own, and without
        data = RandFlipLabeld(prob=prob)(item(2, label))
        check_box_frame(data["label"], data["image"], "label")
        with pytest.raises(ValueError, match="did not follow it through"):
            check_box_frame(data["label"], Flipd("image", 1)(data)["image"], "label")


@pytest.mark.parametrize("prob", [0.0, 1.0])
def test_an_image_that_moved_alone_is_refused(prob):
    pipeline = Compose([Flipd("image", 0), RandFlipLabeld(prob=prob, spatial_axis=1)])
    with pytest.raises(RuntimeError) as error:
        pipeline(item(2))
    assert "did not follow it through Flip" in str(error.value.__cause__)


def test_a_deformation_that_follows_is_refused_for_boxes_alone():
    pipeline = Compose([RandFlipLabeld(), RandGridDistortiond(BOTH, prob=1.0)])
    with pytest.raises(RuntimeError) as error:
        pipeline(item(2))
    assert "cannot follow 'image' through RandGridDistortiond" in str(error.value.__cause__)
    assert pipeline(item(2, mask_of(ROWS[2], SHAPES[2])))["label"].shape == (2, *SHAPES[2])


@pytest.mark.parametrize("shape", [(2, 8, 8), (4, 7), (3, 4), (8, 9)])
def test_a_label_of_another_kind_is_refused(shape):
    with pytest.raises(ValueError, match=r"label: expected a box tensor \(N, 5\) or a mask of the \(8, 9\) voxels"):
        RandFlipLabeld()(item(2, torch.zeros(shape)))


def test_one_probability_per_axis_needs_one_for_the_axis():
    assert RandFlipLabeld(prob=[0.1, 0.2, 0.3], spatial_axis=-1).prob == 0.3
    with pytest.raises(ValueError, match=r"prob must hold one number for spatial_axis 2, got \[0.5, 0.0\]"):
        RandFlipLabeld(prob=[0.5, 0.0], spatial_axis=2)


def test_keys_of_ones_own():
    data = {"scan": torch.zeros(1, 8, 9), "target": torch.tensor([[1.0, 2, 5, 6, 0]]), "image": None}
    moved = RandRotate90Labeld("scan", "target", prob=1.0, max_k=1)(RandFlipLabeld("scan", "target", prob=1.0)(data))
    assert moved["scan"].shape == (1, 9, 8)
    assert moved["target"].tolist() == [[3, 3, 7, 7, 0]]
    assert moved["image"] is None
