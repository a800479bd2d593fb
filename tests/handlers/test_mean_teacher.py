# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest
import torch
from monai.engines import SupervisedTrainer
from monai.losses import DiceLoss
from monai.networks.nets import BasicUNet

from monai_bbox_mil.handlers import MeanTeacher
from monai_bbox_mil.losses import BoxSelfTrainingLoss, GeneralizedMILLoss

TARGET = torch.tensor([[[4.0, 4, 12, 12, 0]]])
BATCH = {"image": torch.zeros(1, 1, 32, 32), "label": TARGET}
BATCH["image"][..., 4:12, 4:12] = 1


class Watched(BoxSelfTrainingLoss):
    """A loss that records the teacher of each call."""

    def forward(self, input, target):
        self.seen = [*getattr(self, "seen", []), self.teacher]
        return super().forward(input, target)


def train(start_epoch, max_epochs=3, state=None, amp=False, **options):
    torch.manual_seed(0)
    network = BasicUNet(spatial_dims=2, out_channels=1, features=(4, 4, 8, 8, 8, 4))
    loss = Watched(GeneralizedMILLoss())
    teacher = MeanTeacher(network, loss, start_epoch=start_epoch, **options)
    if state is not None:
        teacher.load_state_dict(state)
    trainer = SupervisedTrainer(
        device=torch.device("cpu"),
        max_epochs=max_epochs,
        train_data_loader=[BATCH, BATCH],
        network=network,
        optimizer=torch.optim.SGD(network.parameters(), lr=0.1),
        loss_function=loss,
        decollate=False,
    )
    teacher.attach(trainer)
    trainer.run()
    return network, loss, teacher


def test_the_teacher_starts_after_start_epoch():
    _, loss, _ = train(start_epoch=2)
    assert [t is not None for t in loss.seen] == [False] * 4 + [True] * 2
    assert loss.seen[-1].shape == (1, 1, 32, 32)
    assert not loss.seen[-1].requires_grad
    assert "self_training" in loss.parts


def test_the_teacher_is_the_mean_of_the_network_at_previous_steps():
    """With momentum 1 the teacher is the network after the previous step; with momentum 0 it is the first network."""
    torch.manual_seed(0)
    first = BasicUNet(spatial_dims=2, out_channels=1, features=(4, 4, 8, 8, 8, 4))
    _, loss, still = train(0, momentum=1e-9, momentum_warmup=1e-9, warmup_iters=1)
    with torch.no_grad():
        assert torch.allclose(loss.seen[-1], first(BATCH["image"]), atol=1e-5)
    network, _, following = train(0, momentum=1 - 1e-9, momentum_warmup=1 - 1e-9, warmup_iters=1)
    for mean, weight in zip(following.mean.ema_model.parameters(), network.parameters()):
        assert torch.allclose(mean, weight)
    moved = [torch.equal(a, b) for a, b in zip(still.mean.ema_model.parameters(), network.parameters())]
    assert not all(moved)


def test_the_state_is_the_teachers_weights():
    _, _, teacher = train(start_epoch=0)
    state = {k: v.clone() for k, v in teacher.state_dict().items()}
    _, loss, _ = train(start_epoch=0, max_epochs=1, state=state)
    network = BasicUNet(spatial_dims=2, out_channels=1, features=(4, 4, 8, 8, 8, 4))
    network.load_state_dict(state)
    with torch.no_grad():
        assert torch.allclose(loss.seen[0], network.eval()(BATCH["image"]), atol=1e-6)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((DiceLoss(),), "loss must have an attribute 'teacher'"),
        ((BoxSelfTrainingLoss(GeneralizedMILLoss()), -1), "start_epoch must be at least 0, got -1"),
    ],
)
def test_wrong_arguments_raise(arguments, message):
    with pytest.raises(ValueError, match=message):
        MeanTeacher(torch.nn.Conv2d(1, 1, 1), *arguments)
