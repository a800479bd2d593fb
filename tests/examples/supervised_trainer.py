# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
"""The loss in MONAI's engines: box tensors under the key ``label`` are all that ``SupervisedTrainer`` needs."""

import tempfile

import torch
from monai.data import DataLoader
from monai.engines import SupervisedEvaluator, SupervisedTrainer
from monai.handlers import MetricLogger
from monai.networks.nets import BasicUNet
from monai.transforms import Compose, LoadImaged, NormalizeIntensityd

from monai_bbox_mil.data import SliceDataset, make_phantom, pad_box_collate
from monai_bbox_mil.handlers import VolumeDice
from monai_bbox_mil.losses import GeneralizedMILLoss
from monai_bbox_mil.transforms import MaskToBoxTensord

torch.manual_seed(0)
# Volumes with masks. The boxes of each slice are cut from them; apart from that only the score sees the masks.
prepare = Compose(
    [
        LoadImaged(["image", "mask"], ensure_channel_first=True),
        NormalizeIntensityd("image"),
        MaskToBoxTensord("mask", box_keys="label", slice_dim=-1),
    ]
)
with tempfile.TemporaryDirectory() as folder:
    items = make_phantom(folder, num_patients=8, image_size=(48, 48), spacing_mm=(3, 3, 4), progress=False)
    train = SliceDataset(items["training"], prepare, progress=False)  # in memory from here on
    test = SliceDataset(items["validation"], prepare, progress=False)

device = torch.device("cpu")
network = BasicUNet(spatial_dims=2, out_channels=1, features=(16, 16, 32, 32, 64, 16))
evaluator = SupervisedEvaluator(
    device=device,
    val_data_loader=DataLoader(test, batch_size=8, collate_fn=pad_box_collate),
    network=network,
    val_handlers=[VolumeDice(threshold=0.5, metric_name="dice")],
    decollate=False,
)
log = MetricLogger(loss_transform=lambda output: output["loss"].item())
trainer = SupervisedTrainer(
    device=device,
    max_epochs=12,
    train_data_loader=DataLoader(train, batch_size=8, shuffle=True, collate_fn=pad_box_collate),
    network=network,
    optimizer=torch.optim.Adam(network.parameters(), 4e-3),
    loss_function=GeneralizedMILLoss(beta=0.75, pairwise_weight=1),
    train_handlers=[log],
    decollate=False,
)
evaluator.run()
untrained_dice = evaluator.state.metrics["dice"]
trainer.run()
evaluator.run()
losses, dice = [loss for _, loss in log.loss], evaluator.state.metrics["dice"]
print(f"loss {losses[0]:.3f} to {losses[-1]:.3f}, Dice {untrained_dice:.3f} to {dice:.3f}")
