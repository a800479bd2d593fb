# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
"""The loss in PyTorch Lightning, with two classes: one channel of logits each, and boxes of both in one tensor."""

import lightning
import torch
from monai.metrics import DiceMetric
from monai.networks.nets import BasicUNet
from torch.utils.data import DataLoader

from monai_bbox_mil.data import pad_box_collate
from monai_bbox_mil.losses import GeneralizedMILLoss
from monai_bbox_mil.transforms import MaskToBoxTensor


class BoxSegmenter(lightning.LightningModule):
    def __init__(self, num_classes):
        super().__init__()
        self.network = BasicUNet(spatial_dims=2, out_channels=num_classes, features=(16, 16, 32, 32, 64, 16))
        self.loss = GeneralizedMILLoss(beta=0.75, pairwise_weight=1)
        self.dice = DiceMetric()
        self.losses = []

    def training_step(self, batch, batch_index):
        loss = self.loss(self.network(batch["image"]), batch["label"])
        self.log_dict({f"train_{name}": part.mean() for name, part in self.loss.parts.items()})
        self.losses.append(loss.item())
        return loss

    def test_step(self, batch, batch_index):
        self.dice(self.network(batch["image"]) > 0, batch["mask"])

    def on_test_epoch_end(self):
        self.log("dice", self.dice.aggregate())
        self.dice.reset()

    def configure_optimizers(self):
        return torch.optim.Adam(self.parameters(), 2e-3)


def make_item():
    """A bright disc and two dark ones, of the classes 0 and 1, in noise."""
    corner, grid = torch.randint(4, (3, 2, 1, 1)), torch.stack(torch.meshgrid(*[torch.arange(48)] * 2, indexing="ij"))
    centers = torch.tensor([[12, 12], [12, 34], [34, 22]]).reshape(3, 2, 1, 1) + corner
    discs = ((grid - centers) ** 2).sum(dim=1) <= torch.tensor([9, 8, 7]).reshape(3, 1, 1) ** 2
    mask = torch.stack([discs[0], discs[1] | discs[2]])
    image = mask[:1].float() - mask[1:].float() + 0.4 * torch.randn(1, 48, 48)
    return {"image": image, "mask": mask, "label": MaskToBoxTensor()(mask)}  # label: (3, 5), a row a disc


lightning.seed_everything(0, verbose=False)
train, test = ([make_item() for _ in range(count)] for count in (64, 16))
quiet = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False, "enable_model_summary": False}
trainer = lightning.Trainer(max_epochs=9, accelerator="cpu", devices=1, **quiet)
model, test_loader = BoxSegmenter(num_classes=2), DataLoader(test, batch_size=8, collate_fn=pad_box_collate)
untrained_dice = trainer.test(model, test_loader, verbose=False)[0]["dice"]
trainer.fit(model, DataLoader(train, batch_size=8, shuffle=True, collate_fn=pad_box_collate))
dice = trainer.test(model, test_loader, verbose=False)[0]["dice"]
losses = model.losses
print(f"loss {losses[0]:.3f} to {losses[-1]:.3f}, Dice {untrained_dice:.3f} to {dice:.3f}")
