# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
"""Boxes and their image after the boxes were made: moved together, or refused by name."""

from __future__ import annotations

import copy
import pickle

import pytest
import torch
from monai.apps.detection.transforms.dictionary import (
    RandCropBoxByPosNegLabeld,
    RandFlipBoxd,
    RandRotateBox90d,
    RandZoomBoxd,
)
from monai.data import CacheDataset, DataLoader, MetaTensor, pad_list_data_collate, set_track_meta
from monai.transforms import (
    Compose,
    CropForegroundd,
    EnsureTyped,
    Flipd,
    Lambdad,
    MapTransform,
    Orientationd,
    Rand2DElasticd,
    RandAffined,
    RandFlipd,
    RandRotate90d,
    RandZoomd,
    Resized,
    ResizeWithPadOrCropd,
    Rotate90d,
    ScaleIntensityd,
    SelectItemsd,
    SpatialCropd,
    SpatialPadd,
    Transposed,
)

from monai_bbox_mil.data import pad_box_collate
from monai_bbox_mil.losses import GeneralizedMILLoss
from monai_bbox_mil.transforms import (
    BoxTensorToMaskd,
    LoadBoxesd,
    MaskToBoxTensord,
    PackBoxesd,
    UnpackBoxesd,
)
from tests.annotations.annotations import tight_box

BOX = [5, 8, 17, 30]


def item(meta=True, size=(32, 40)):
    mask = torch.zeros(1, *size)
    mask[0, BOX[0] : BOX[2], BOX[1] : BOX[3]] = 1
    found = {"image": mask + 0.01 * torch.rand(1, *size), "mask": mask}
    if meta:
        affine = torch.diag(torch.tensor([-2.0, 3, 1, 1], dtype=torch.float64))
        named = {"filename_or_obj": "case7.png", "original_affine": affine}
        found = {key: MetaTensor(value, affine=affine, meta=dict(named)) for key, value in found.items()}
    return found


MOVES = {
    "flip": Flipd("image", 0),
    "random flip": RandFlipd("image", 1.0, 1),
    "quarter turn": Rotate90d("image"),
    "random quarter turn": RandRotate90d("image", 1.0),
    "affine": RandAffined("image", prob=1.0, rotate_range=0.1, translate_range=1),
    "zoom": RandZoomd("image", 1.0, 1.2, 1.2),
    "resize": Resized("image", (16, 20)),
    "crop": SpatialCropd("image", roi_start=(2, 0), roi_end=(32, 40)),
    "crop at the far end": SpatialCropd("image", roi_start=(0, 0), roi_end=(16, 40)),
    "foreground": CropForegroundd("image", source_key="image", select_fn=lambda x: x > 0.5),
    "pad": SpatialPadd("image", (48, 48)),
    "pad or crop": ResizeWithPadOrCropd("image", (48, 32)),
    "transposition": Transposed("image", (0, 2, 1)),
}


@pytest.mark.parametrize("meta", [True, False], ids=["MetaTensor", "Tensor"])
@pytest.mark.parametrize("name", MOVES)
def test_an_image_that_moves_after_its_boxes_is_refused(name, meta):
    if name == "transposition" and not meta:
        pytest.skip("MONAI notes Transposed for MetaTensors only; of a plain tensor the shape is compared")
    pipeline = Compose([MaskToBoxTensord("mask"), MOVES[name], EnsureTyped(["image", "label"])]).set_random_state(0)
    cached = CacheDataset([item(meta)], pipeline, progress=False)
    for data in (pipeline(item(meta)), cached[0]):
        with pytest.raises(
            ValueError, match=r"'label': the boxes were made for image.* of \(32, 40\) voxels.* through"
        ):
            pad_box_collate([data])


def test_the_message_names_file_and_transform():
    data = Compose([MaskToBoxTensord("mask"), ScaleIntensityd("image"), RandFlipd("image", 1.0, 1)])(item())
    with pytest.raises(ValueError, match=r"image \(case7.png\).*through RandFlip.*UnpackBoxesd.*PackBoxesd"):
        pad_box_collate([data])
    data = Compose([MaskToBoxTensord("mask"), Resized("image", (16, 20))])(item())
    with pytest.raises(ValueError, match=r"of \(32, 40\) voxels, now \(16, 20\) voxels,.* through Resize\."):
        pad_box_collate([data])


def test_pending_transforms_count_as_done():
    after = Compose([MaskToBoxTensord("mask"), Flipd("image", 0, lazy=True)], lazy=None)
    with pytest.raises(ValueError, match="through Flip"):
        pad_box_collate([after(item())])
    before = Compose([Flipd(["image", "mask"], 0), SpatialCropd(["image", "mask"], (9, 20), (20, 24))], lazy=True)
    data = Compose([before, MaskToBoxTensord("mask")], lazy=True)(item())
    assert pad_box_collate([data])["label"][0, 0, :-1].tolist() == tight_box(data["mask"])
    packed = Compose([Resized("image", (16, 20)), LoadBoxesd(), PackBoxesd()], lazy=True)
    assert packed({"image": item()["image"], "box": [[20, 30, 32, 40]]})["label"].tolist() == [[10, 15, 16, 20, 0]]


def test_moves_of_image_and_mask_before_the_boxes_pass():
    both = ["image", "mask"]
    moves = [
        Orientationd(both, "RA", labels=None),
        RandFlipd(both, 1.0, 0),
        RandAffined(both, prob=1.0, rotate_range=0.3, mode=["bilinear", "nearest"]),
        Resized(both, (48, 48), mode=["bilinear", "nearest"]),
    ]
    later = [ScaleIntensityd("image"), Lambdad("label", lambda x: x), EnsureTyped(["image", "label"])]
    data = Compose([*moves, MaskToBoxTensord("mask"), *later]).set_random_state(0)(item())
    assert pad_box_collate([data])["label"][0, 0, :-1].tolist() == tight_box(data["mask"])


@pytest.mark.parametrize("flipped", ["image", "mask"])
def test_a_mask_and_an_image_that_parted_are_refused(flipped):
    with pytest.raises(RuntimeError) as error:
        Compose([RandFlipd(flipped, 1.0, 0), MaskToBoxTensord("mask")])(item())
    assert "mask and image must be aligned" in str(error.value.__cause__)


def test_a_mask_whose_file_has_another_affine_is_accepted():
    """As EnsureVolumed with max_offset=None allows: the voxels fit, the headers do not."""
    data = item()
    data["mask"] = MetaTensor(
        data["mask"].as_tensor(), meta={"filename_or_obj": "m.png", "original_affine": torch.eye(4)}
    )
    for moves in ([], [Flipd(["image", "mask"], 0), Rotate90d(["image", "mask"])]):
        moved = Compose([*moves, MaskToBoxTensord("mask")])(data)
        assert pad_box_collate([moved])["label"][0, 0, :-1].tolist() == tight_box(moved["mask"])


def test_an_image_that_comes_to_the_masks_size_is_accepted():
    data = item()
    data["image"] = Resized("image", (64, 80))(data)["image"]
    data = Compose([MaskToBoxTensord("mask"), Resized("image", (32, 40))])(data)
    data["image"].affine = data["mask"].affine
    assert len(pad_box_collate([data])["label"]) == 1


def test_boxes_are_no_image():
    both = ["image", "label"]
    for move in (RandFlipd(both, 1.0, 0), SpatialCropd(both, (0, 0), (20, 20))):  # whose first five columns are all
        data = Compose([MaskToBoxTensord("mask"), move])(item())
        with pytest.raises(ValueError, match="'label': boxes must not go through image transforms, got "):
            pad_box_collate([data])


def detection(*moves):
    return Compose([MaskToBoxTensord("mask"), UnpackBoxesd("label"), *moves, PackBoxesd("box")])


@pytest.mark.parametrize("meta", [True, False], ids=["MetaTensor", "Tensor"])
@pytest.mark.parametrize("seed", range(4))
def test_detection_transforms_move_both(seed, meta):
    both = ["image", "mask"]
    moves = [
        RandFlipBoxd(both, "box", "image", 0.5, 0),
        RandFlipBoxd(both, "box", "image", 0.5, 1),
        RandRotateBox90d(both, "box", "image", 0.7),
        RandZoomBoxd(
            both, "box", "image", 0.7, 1.1, 1.5, mode=["area", "nearest"], padding_mode="constant", keep_size=False
        ),
    ]
    data = detection(*moves).set_random_state(seed)(item(meta))
    found = pad_box_collate([data])["label"][0, 0, :-1]
    assert (found - torch.tensor(tight_box(data["mask"]))).abs().max() <= 1
    assert set(data) == {"image", "mask", "label"}


def test_samples_of_detection_crops_are_collated():
    crop = RandCropBoxByPosNegLabeld(["image", "mask"], "box", "box_class", (24, 24), num_samples=3, whole_box=False)
    unignore = Lambdad("box_ignored", lambda x: x)
    pipeline = Compose([MaskToBoxTensord("mask"), UnpackBoxesd("label"), unignore])
    data = pipeline(item())
    data.pop("box_ignored")
    samples = [PackBoxesd("box")(sample) for sample in crop.set_random_state(0)(data)]
    batch = pad_box_collate([samples, samples])
    assert batch["image"].shape == (6, 1, 24, 24) and batch["label"].shape == (6, 1, 5)
    for sample, boxes in zip(samples, batch["label"][:, 0]):
        if sample["mask"].any():
            assert boxes[:-1].tolist() == tight_box(sample["mask"])


@pytest.mark.parametrize("move", ["flip", "resize", "crop", "affine", "pad"])
def test_an_image_that_moves_alone_between_unpacking_and_packing_is_refused(move):
    for moves in ([MOVES[move]], [RandFlipBoxd("image", "box", "image", 1.0, 1), MOVES["flip"]]):
        with pytest.raises(RuntimeError) as error:
            detection(*moves)(item())
        assert "'box': the boxes were made for image" in str(error.value.__cause__)
    load = Compose([LoadBoxesd(), MOVES[move], PackBoxesd()])
    with pytest.raises(RuntimeError) as error:
        load({"image": item()["image"], "box": [BOX]})
    assert "'box': the boxes were made for image" in str(error.value.__cause__)


def test_boxes_of_one_image_are_not_packed_with_another():
    data = LoadBoxesd()({"image": item()["image"], "box": [BOX], "other": item(size=(64, 64))["image"]})
    data["other"].affine = torch.diag(torch.tensor([1.0, 1, 1, 1]))
    with pytest.raises(
        ValueError, match=r"'box': the boxes were made for other \(case7.png\) of \(32, 40\) voxels, now"
    ):
        PackBoxesd(image_key="other")(data)
    with pytest.raises(ValueError, match="'label': the boxes were made for other"):
        BoxTensorToMaskd(image_key="other")(PackBoxesd()(data))


class FlipBoth(MapTransform):
    """A transform of a user's own that moves image and box tensor."""

    def __init__(self, shift=0):
        super().__init__(["image", "label"])
        self.shift = shift

    def __call__(self, data):
        d = Flipd("image", 0)(dict(data))
        rows, size = d["label"], d["image"].shape[1]
        d["label"] = torch.stack([size - rows[:, 2] + self.shift, rows[:, 1], size - rows[:, 0], *rows.T[3:]], dim=1)
        return d


def test_boxes_that_other_code_moved_are_accepted():
    for shift in (0, -1):  # drawn a little loosely
        data = Compose([MaskToBoxTensord("mask"), FlipBoth(shift)])(item())
        assert isinstance(data["label"], MetaTensor)
        assert pad_box_collate([data])["label"][0, 0].tolist() == [32 - 17 + shift, 8, 32 - 5, 30, 0]
    jitter = Lambdad("box", lambda x: x + torch.tensor([-2.0, -2, 3, 3]))
    data = detection(RandFlipBoxd("image", "box", "image", 1.0, 0), jitter)(item())
    assert pad_box_collate([data])["label"][0, 0].tolist() == [13, 6, 30, 33, 0]


def test_images_without_boxes_may_move():
    empty = item()
    empty["mask"] = empty["mask"] * 0
    data = Compose([MaskToBoxTensord("mask"), MOVES["flip"]])(empty)
    assert pad_box_collate([data])["label"].tolist() == [[[0, 0, 0, 0, -1]]]


def test_a_deformation_after_the_boxes_is_named():
    elastic = Rand2DElasticd("image", (8, 8), (1, 2), prob=1.0)
    for steps in (
        [MaskToBoxTensord("mask"), elastic],
        [MaskToBoxTensord("mask"), UnpackBoxesd(), elastic, PackBoxesd()],
    ):
        with pytest.raises(RuntimeError) as error:
            Compose(steps)(item())
        assert "boxes cannot follow 'image' through Rand2DElasticd" in str(error.value.__cause__)


def test_transforms_that_passed_are_copied_without_their_pipeline():
    transform = MaskToBoxTensord("mask")
    before = pickle.dumps(transform)  # what MONAI's caches make their names of
    Compose([transform, Lambdad("image", lambda x: x)])(item())
    assert pickle.dumps(transform) == before and copy.deepcopy(transform).guard._passed == []


def test_without_tracking_boxes_are_plain():
    set_track_meta(False)
    try:
        data = Compose([MaskToBoxTensord("mask"), UnpackBoxesd(), PackBoxesd()])(item(meta=False))
        assert type(data["label"]) is torch.Tensor
    finally:
        set_track_meta(True)


def test_images_that_lost_their_meta_data_are_compared_by_shape():
    plain = EnsureTyped("image", track_meta=False)
    data = Compose([MaskToBoxTensord("mask"), plain])(item())
    assert len(pad_box_collate([data])["label"]) == 1
    with pytest.raises(ValueError, match=r"now \(16, 20\) voxels"):
        pad_box_collate([Compose([MaskToBoxTensord("mask"), Resized("image", (16, 20)), plain])(item())])


def test_a_batch_that_monai_collates_is_checked_by_the_loss():
    select = SelectItemsd(["image", "label"])
    good = Compose([Flipd(["image", "mask"], 0), MaskToBoxTensord("mask"), select])
    loss = GeneralizedMILLoss()
    for size in (1, 2):
        batch = next(iter(DataLoader([good(item())] * size, batch_size=size)))
        assert loss(batch["image"], batch["label"]).isfinite()
    for move, message in (("flip", "must have moved with its image"), ("resize", "must have the size of the")):
        bad = Compose([MaskToBoxTensord("mask"), MOVES[move], select])(item(size=(32, 40)))
        batch = next(iter(DataLoader([bad] * 2, batch_size=2)))
        with pytest.raises(ValueError, match=message):
            loss(batch["image"], batch["label"])


def test_boxes_that_monai_padded_with_zeros_are_refused():
    one, two = item(), item()
    two["mask"][0, 20:24, 2:6] = 1
    with pytest.raises(RuntimeError, match="equal size"):
        pad_list_data_collate([MaskToBoxTensord("mask")(each) for each in (one, two)])
    target = torch.tensor([[[5.0, 8, 17, 30, 0], [0, 0, 0, 0, 0]]])
    with pytest.raises(ValueError, match=r"target\[0, 1\] must have min < max"):
        GeneralizedMILLoss()(one["image"][None], target)
