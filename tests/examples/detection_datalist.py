# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
"""A data list with boxes, read and augmented by MONAI detection's own transforms; ``PackBoxesd`` hands them over."""

import json
import tempfile

import nibabel
import numpy as np
import torch
from monai.apps.detection.transforms.dictionary import ConvertBoxToStandardModed, RandFlipBoxd, RandRotateBox90d
from monai.data import CacheDataset, DataLoader, load_decathlon_datalist
from monai.metrics import compute_dice
from monai.networks.nets import BasicUNet
from monai.transforms import Compose, EnsureTyped, LoadImaged, SelectItemsd

from monai_bbox_mil.data import pad_box_collate
from monai_bbox_mil.losses import GeneralizedMILLoss
from monai_bbox_mil.transforms import PackBoxesd

temporary = tempfile.TemporaryDirectory()
folder, grid, draw = temporary.name, np.mgrid[:48, :48], np.random.default_rng(0)


def write_item(name):
    """An image of one or two diamonds, which fill half of their boxes; these are x, y, width and height in voxels."""
    objects = [(draw.integers(12, 36), y, draw.integers(6, 12)) for y in (12, 35)][: draw.integers(1, 3)]
    mask = np.any([abs(grid[0] - x) + abs(grid[1] - y) <= r for x, y, r in objects], axis=0)
    for key, array in (("image", mask + 0.4 * draw.standard_normal((48, 48))), ("mask", mask)):
        nibabel.save(nibabel.Nifti1Image(array.astype(np.float32), np.eye(4)), f"{folder}/{name}_{key}.nii.gz")
    boxes = [[int(value) for value in (x - r, y - r, 2 * r + 1, 2 * r + 1)] for x, y, r in objects]
    return {"image": f"{name}_image.nii.gz", "mask": f"{name}_mask.nii.gz", "box": boxes, "label": [0] * len(boxes)}


content = {"training": [write_item(f"a{i}") for i in range(48)], "validation": [write_item(f"b{i}") for i in range(12)]}
with open(f"{folder}/datalist.json", "w") as file:
    json.dump(content, file)

torch.manual_seed(0)
parts = {n: load_decathlon_datalist(f"{folder}/datalist.json", is_segmentation=False, data_list_key=n) for n in content}
load = [LoadImaged(["image", "mask"], ensure_channel_first=True), EnsureTyped(["box", "label"])]
convert = [ConvertBoxToStandardModed("box", mode="xywh")]
augment = [RandFlipBoxd("image", "box", "image", 0.5, 0), RandRotateBox90d("image", "box", "image", 0.5)]
pack = [PackBoxesd("box", class_keys="label", box_tensor_keys="label"), SelectItemsd(["image", "label"])]
train = CacheDataset(parts["training"], Compose([*load, *convert, *augment, *pack]), progress=False)
test = CacheDataset(parts["validation"], Compose(load), progress=False)

network = BasicUNet(spatial_dims=2, out_channels=1, features=(16, 16, 32, 32, 64, 16))
loss_function = GeneralizedMILLoss(beta=0.75, pairwise_weight=1)
optimizer = torch.optim.Adam(network.parameters(), 2e-3)


@torch.no_grad()
def mean_dice():
    return sum(compute_dice(network(item["image"][None]) > 0, item["mask"][None]).item() for item in test) / len(test)


untrained_dice, losses = mean_dice(), []
for _ in range(10):
    for batch in DataLoader(train, batch_size=8, shuffle=True, collate_fn=pad_box_collate):
        optimizer.zero_grad()
        loss = loss_function(network(batch["image"]), batch["label"])
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
dice = mean_dice()
print(f"loss {losses[0]:.3f} to {losses[-1]:.3f}, Dice {untrained_dice:.3f} to {dice:.3f}")
