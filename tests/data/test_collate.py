# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import copy
import pickle

import pytest
import torch
from monai.data import DataLoader, Dataset, MetaTensor, decollate_batch
from monai.engines import SupervisedTrainer
from monai.transforms import (
    Compose,
    EnsureTyped,
    Flipd,
    RandCropByPosNegLabeld,
    RandFlipd,
    RandSpatialCropSamplesd,
)

from monai_bbox_mil.boxes import BoxBatch
from monai_bbox_mil.data import SliceDataset, pad_box_collate
from monai_bbox_mil.losses import GeneralizedMILLoss
from monai_bbox_mil.runs.last_words import stopped_by
from monai_bbox_mil.transforms import MaskToBoxTensord, PackBoxesd, UnpackBoxesd
from tests.annotations.annotations import tight_box

BOTH = ["image", "mask"]


def item(size=(32, 32)):
    mask = torch.zeros(1, *size)
    mask[0, 4:20, 8:30] = 1
    return {"image": mask + 0.1, "mask": mask}


def samples(crop, keys=BOTH):
    if crop == "anywhere":
        return RandSpatialCropSamplesd(keys, (16, 16), 3, random_size=False)
    return RandCropByPosNegLabeld(keys, "mask", (16, 16), num_samples=3)


@pytest.mark.parametrize("workers", [0, 1])
@pytest.mark.parametrize("crop", ["anywhere", "by label"])
def test_lists_of_samples_become_one_batch(crop, workers):
    pipeline = Compose([samples(crop), MaskToBoxTensord("mask")]).set_random_state(0)
    data = Dataset([item(), item()], pipeline)
    batch = next(iter(DataLoader(data, batch_size=2, collate_fn=pad_box_collate, num_workers=workers)))
    assert batch["image"].shape == (6, 1, 16, 16)
    assert batch["label"].spatial_shape == (16, 16)
    for mask, rows in zip(batch["mask"], batch["label"].tolist()):
        boxes = [row[:-1] for row in rows if row[-1] != -1]
        assert boxes == ([tight_box(mask)] if mask.any() else [])
    assert GeneralizedMILLoss()(batch["image"], batch["label"]).isfinite()


@pytest.mark.parametrize("crop", ["anywhere", "by label"])
def test_samples_cut_after_the_boxes_were_made_raise(crop):
    pipeline = Compose([MaskToBoxTensord("mask"), samples(crop)]).set_random_state(0)
    with pytest.raises(ValueError, match=r"\(32, 32\) voxels, now \(16, 16\) voxels, .* through Rand(Spatial)?Crop"):
        pad_box_collate([pipeline(item())])


def test_nested_and_mixed_lists_are_flattened():
    one = {"label": torch.tensor([[1.0, 2, 3, 4, 0]]), "name": "a"}
    two = {"label": torch.ones(3, 5), "name": "b"}
    batch = pad_box_collate([one, [two, one], [[two], (one,)]])
    assert batch["label"].shape == (5, 3, 5)
    assert batch["name"] == ["a", "b", "a", "b", "a"]
    assert list(batch) == ["label", "name"]
    with pytest.raises(TypeError, match="batch must hold dictionaries or lists of them, got Tensor"):
        pad_box_collate([torch.zeros(1)])


@pytest.mark.parametrize(
    ("other", "got"),
    [
        ({}, "got no 'label'"),
        ({"label": torch.zeros(1, 8, 8)}, r"a tensor of shape \(1, 8, 8\)"),
        ({"label": None}, "None"),
    ],
)
def test_an_item_without_boxes_among_others_raises(other, got):
    boxed = {"image": torch.zeros(1, 8, 8), "label": torch.ones(1, 5)}
    other = {"image": MetaTensor(torch.zeros(1, 8, 8), meta={"filename_or_obj": "b.png"}), **other}
    for batch in ([boxed, other], [other, boxed], [[boxed], [boxed, other]]):
        with pytest.raises(ValueError, match=rf"'label' of b\.png: batch\[\d\] must hold a box tensor.*{got}"):
            pad_box_collate(batch)


def test_items_without_any_boxes_are_collated_as_usual():
    masks = [{"image": torch.zeros(1, 8, 8), "label": torch.zeros(1, 8, 8)}] * 2
    assert pad_box_collate(masks)["label"].shape == (2, 1, 8, 8)
    assert list(pad_box_collate([{"image": torch.zeros(1, 8, 8)}])) == ["image"]


def test_a_batch_of_boxes_remembers_the_image_size_up_to_the_loss(tmp_path):
    rows = torch.tensor([[[1.0, 2, 5, 6, 0]]])
    batch = BoxBatch(rows, (8, 9))
    torch.save(batch, tmp_path / "batch.pt")
    loaded = torch.load(tmp_path / "batch.pt", weights_only=False)
    moved = batch.to("cpu", torch.float64, non_blocking=True)
    for kept in (batch.clone(), copy.deepcopy(batch), pickle.loads(pickle.dumps(batch)), batch.detach(), loaded, moved):
        assert kept.spatial_shape == (8, 9) and torch.equal(kept.as_subclass(torch.Tensor).float(), rows)
    for plain in (batch[0], batch + 1, torch.cat([batch, batch]), batch.as_subclass(torch.Tensor)):
        assert type(plain) is torch.Tensor
    decollated = decollate_batch({"image": torch.zeros(1, 1, 8, 9), "label": batch})
    assert decollated[0]["label"].tolist() == rows[0].tolist()


def test_logits_of_another_size_raise():
    batch = pad_box_collate([Compose([MaskToBoxTensord("mask")])(item()) for _ in range(2)])
    half = torch.nn.functional.avg_pool2d(batch["image"], 2)
    small = BoxBatch(torch.tensor([[[1.0, 2, 5, 6, 0]]]), (32, 32))  # which fits into half the size
    for logits, target in ((half, batch["label"]), (half[:1], small)):
        with pytest.raises(ValueError, match=r"boxes were made for, \(32, 32\), got \(16, 16\)\. Upsample"):
            GeneralizedMILLoss()(logits, target)


def test_monais_trainer_accepts_the_batches():
    data = [Compose([MaskToBoxTensord("mask"), EnsureTyped(["image", "label"])])(item()) for _ in range(3)]
    network = torch.nn.Conv2d(1, 1, 3, padding=1)
    trainer = SupervisedTrainer(
        device=torch.device("cpu"),
        max_epochs=1,
        train_data_loader=DataLoader(data, batch_size=2, collate_fn=pad_box_collate),
        network=network,
        optimizer=torch.optim.SGD(network.parameters(), 0.1),
        loss_function=GeneralizedMILLoss(),
    )
    before = network.weight.detach().clone()
    trainer.run()
    assert not torch.equal(before, network.weight)


def volume(*late):
    mask = torch.zeros(1, 16, 20, 4)
    mask[0, 3:9, 5:12, 1:3] = 1
    meta = {"filename_or_obj": "v.nii"}
    data = [{"image": MetaTensor(mask + 0.1, meta=meta), "mask": MetaTensor(mask, meta=meta)}]
    return data, Compose([MaskToBoxTensord("mask", slice_dim=-1), *late])


def test_slices_inherit_the_frame_of_their_volume():
    data, boxed = volume()
    slices = SliceDataset(data, boxed, None, progress=False)
    batch = pad_box_collate([slices[i] for i in range(4)])
    assert batch["label"][1, 0].tolist() == [3, 5, 9, 12, 0]
    with pytest.raises(ValueError, match="through Flip"):
        pad_box_collate([SliceDataset(data, boxed, Flipd("image", 1), progress=False)[1]])
    flips = Compose([UnpackBoxesd(), Flipd("image", 0), PackBoxesd()])
    with pytest.raises(RuntimeError) as error:
        SliceDataset(data, boxed, flips, progress=False)[2]
    assert "'box': the boxes were made for image (v.nii) of (16, 20) voxels" in stopped_by(error.value)


def test_volumes_moved_after_their_boxes_were_made_raise():
    data, boxed = volume(RandFlipd("image", 1.0, 2))
    slices = SliceDataset(data, boxed, progress=False)
    with pytest.raises(ValueError, match=r"'label': the boxes were made for image \(v.nii\) of \(16, 20, 4\)"):
        slices[0]
