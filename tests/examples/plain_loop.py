# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
"""The loss in plain PyTorch: a data set, a network and a loop of one's own, nothing of MONAI's."""

import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset

from monai_bbox_mil.boxes import batch_box_tensors, pack_boxes
from monai_bbox_mil.losses import GeneralizedMILLoss


class Ellipses(Dataset):
    """Images ``(1, 48, 48)`` of one noisy ellipse each, the box ``(1, 5)`` around it, and its mask, for the score."""

    def __init__(self, count, seed):
        generator = torch.Generator().manual_seed(seed)
        self.center, self.radius = (
            torch.rand(count, 2, 1, 1, generator=generator) * span + low for low, span in ((16, 16), (6, 9))
        )
        self.noise = torch.randn(count, 1, 48, 48, generator=generator)

    def __len__(self):
        return len(self.noise)

    def __getitem__(self, index):
        grid = torch.stack(torch.meshgrid(torch.arange(48), torch.arange(48), indexing="ij"))
        mask = (((grid - self.center[index]) / self.radius[index]) ** 2).sum(dim=0) <= 1
        where = mask.nonzero()
        box = torch.cat([where.amin(dim=0), where.amax(dim=0) + 1])  # the first row and column, the last ones + 1
        return mask + 0.5 * self.noise[index], pack_boxes(box[None], torch.tensor([0])), mask


def collate(items):
    images, boxes, masks = zip(*items)
    return torch.stack(images), batch_box_tensors(boxes), torch.stack(masks)  # pads where numbers of boxes differ


@torch.no_grad()
def mean_dice(network, data):
    pairs = [(network(image[None])[0, 0] > 0, mask) for image, _, mask in data]
    return sum(2 * (pred & mask).sum() / (pred.sum() + mask.sum()) for pred, mask in pairs).item() / len(pairs)


torch.manual_seed(0)
layers = [nn.Conv2d(1, 16, 5, padding=2), nn.ReLU(), nn.Conv2d(16, 16, 5, padding=2), nn.ReLU()]
network = nn.Sequential(*layers, nn.Conv2d(16, 1, 5, padding=2))  # logits, one channel a class
loss_function = GeneralizedMILLoss(beta=0.75, pairwise_weight=1)
optimizer = torch.optim.Adam(network.parameters(), 2e-3)
train, test = Ellipses(64, seed=0), Ellipses(16, seed=1)
untrained_dice = mean_dice(network, test)
losses = []
for _ in range(15):
    total = 0.0
    for images, boxes, _masks in DataLoader(train, batch_size=8, shuffle=True, collate_fn=collate):
        optimizer.zero_grad()
        loss = loss_function(network(images), boxes)
        loss.backward()
        optimizer.step()
        total += loss.item()
    losses.append(total)
dice = mean_dice(network, test)
print(f"loss {losses[0]:.3f} to {losses[-1]:.3f}, Dice {untrained_dice:.3f} to {dice:.3f}")
