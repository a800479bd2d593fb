# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest
import torch
from monai.data import DataLoader, MetaTensor
from monai.engines import SupervisedTrainer
from monai.handlers import LrScheduleHandler

from monai_bbox_mil.boxes import slice_box_tensor
from monai_bbox_mil.data import SliceDataset, pad_box_collate
from monai_bbox_mil.handlers import PseudoLabelRounds
from monai_bbox_mil.losses import BoxOrPixelLoss, GeneralizedMILLoss
from monai_bbox_mil.pseudo_labels import BoxHeights, PseudoLabelFitter, joint_bilateral_filter

BOXES = torch.tensor([[2.0, 3, 0, 9, 8, 3, 0], [1, 1, 2, 5, 6, 4, 1]])


def volume(spacing=(1.0, 1.0, 1.0), slices=4):
    torch.manual_seed(0)
    image = MetaTensor(torch.rand(1, 12, 12, slices), affine=torch.diag(torch.tensor([*spacing, 1.0])))
    return {"image": image, "label": BOXES.clone()}


class Run:
    """A trainer of a tiny network in rounds, and what its parts looked like at each step."""

    def __init__(self, epochs, dataset=None, dims=2, loader=(), **options):
        self.dataset = dataset or SliceDataset([volume(), volume(slices=3)], progress=False)
        torch.manual_seed(3)
        self.network = (torch.nn.Conv2d if dims == 2 else torch.nn.Conv3d)(1, 2, 3, padding=1)
        self.first = {k: v.clone() for k, v in self.network.state_dict().items()}
        self.optimizer = torch.optim.Adam(self.network.parameters(), 0.1)
        self.scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(self.optimizer, 2)
        self.fitter, self.loss, self.steps = PseudoLabelFitter(2), BoxOrPixelLoss(GeneralizedMILLoss()), []
        self.rounds = PseudoLabelRounds(
            self.dataset,
            self.network,
            self.optimizer,
            self.fitter,
            **{"interval": 2, "lr_scheduler": self.scheduler, "progress": False, **options},
        )
        self.trainer = SupervisedTrainer(
            device="cpu",
            max_epochs=epochs,
            train_data_loader=DataLoader(self.dataset, batch_size=2, collate_fn=pad_box_collate, **dict(loader)),
            network=self.network,
            optimizer=self.optimizer,
            loss_function=self._watch,
            train_handlers=[self.rounds, LrScheduleHandler(self.scheduler, print_lr=False)],
            decollate=False,
        )
        self.trainer.run()

    def _watch(self, pred, label):
        weights = {k: v.clone() for k, v in self.network.state_dict().items()}
        rate = self.optimizer.param_groups[0]["lr"]
        self.steps.append((self.trainer.state.epoch, label.clone(), weights, rate))
        return self.loss(pred, label)

    def at(self, epoch):
        return [step for step in self.steps if step[0] == epoch]


def test_the_first_round_has_boxes_and_the_next_one_labels_that_fit_them():
    run = Run(epochs=4)
    for epoch in (1, 2):
        assert all(label.shape[1:] == (2, 5) or label.ndim == 3 for _, label, *_ in run.at(epoch))
    labels = torch.cat([label for _, label, *_ in run.at(3)])
    assert labels.shape == (7, 2, 12, 12)
    for index, label in enumerate(labels):
        slice_index = index if index < 4 else index - 4
        inside = torch.zeros(2, 12, 12, dtype=torch.bool)
        for a, b, c, d, channel in slice_box_tensor(BOXES, slice_index).long().tolist():
            inside[channel, a:c, b:d] = True
            assert label[channel, a:c, b:d].any()
        assert not label[~inside].any()


def test_each_round_starts_over_with_weights_moments_and_learning_rate():
    run = Run(epochs=6)
    rates = [run.at(epoch)[0][3] for epoch in range(1, 7)]
    assert rates == pytest.approx([0.1, 0.05] * 3)
    for epoch in (1, 3, 5):
        torch.testing.assert_close(run.at(epoch)[0][2], run.first, rtol=0, atol=0)
    assert not torch.equal(run.at(4)[0][2]["weight"], run.first["weight"])


@pytest.mark.parametrize(("distance", "joined"), [(1.0, True), (8.0, False)])
def test_labels_are_those_of_the_smoothed_logits_and_near_slices_help_each_other(distance, joined):
    dataset = SliceDataset([volume((1, 1, distance))], progress=False)
    run = Run(epochs=3, dataset=dataset)
    weights = run.at(2)[-1][2]  # before the last step of the first round
    run.network.load_state_dict(weights)
    with torch.no_grad():
        relabelled = run.rounds._relabel() and [dataset.plain(i)["label"] for i in range(4)]
        images = torch.stack([dataset.plain(i)["image"].as_tensor() for i in range(4)])
        logits = run.network(images)
    steps = (1, 1, 1) if joined else (1, 1, float("inf"))
    smoothed = joint_bilateral_filter(logits.movedim(0, -1), images.movedim(0, -1), 1.5, 0.2, steps).movedim(-1, 0)
    target = torch.full((4, 2, 5), -1.0)
    for i in range(4):
        rows = slice_box_tensor(BOXES, i)
        target[i, : len(rows)] = rows
    fitter, heights = PseudoLabelFitter(2), BoxHeights.of(smoothed, target)
    fitter.learn([heights])
    assert torch.equal(torch.stack(relabelled), fitter.fit(heights))


def test_whole_volumes_are_labelled_too():
    run = Run(epochs=3, dataset=SliceDataset([volume(), volume()], slice_dim=None, progress=False), dims=3)
    labels = torch.cat([label for _, label, *_ in run.at(3)])
    assert labels.shape == (2, 2, 12, 12, 4)
    inside = torch.zeros(2, 12, 12, 4, dtype=torch.bool)
    inside[0, 2:9, 3:8, 0:3] = inside[1, 1:5, 1:6, 2:4] = True
    for label in labels:
        assert label[inside].any() and not label[~inside].any()


@pytest.mark.parametrize("persistent", [False, True])
def test_workers_hand_out_the_labels(persistent):
    run = Run(epochs=3, loader={"num_workers": 1, "persistent_workers": persistent})
    expected = Run(epochs=3)
    for epoch in (1, 3):
        for (_, label, *_), (_, other, *_) in zip(run.at(epoch), expected.at(epoch), strict=True):
            assert torch.equal(label, other)


def test_masks_are_refused_by_name():
    dataset = SliceDataset([{"image": torch.rand(1, 8, 8, 2), "label": torch.ones(1, 8, 8, 2)}], progress=False)
    with pytest.raises(ValueError, match=r"dataset must hold box tensors \(N, 5\) under 'label'.*supervision boxes"):
        Run(epochs=1, dataset=dataset)
