# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import sys

import pytest
import torch
from monai.data import DataLoader
from monai.engines import SupervisedTrainer
from monai.handlers import CheckpointLoader, CheckpointSaver
from monai.transforms import RandFlipd
from monai.utils import OptionalImportError

from monai_bbox_mil.data import SliceDataset
from monai_bbox_mil.handlers import DeepCut

SIZE, SLICES = 12, 5
BOX = (slice(2, 9), slice(3, 8))


def disc_slices(**options):
    """Make a volume whose first channel has a filled box in every slice, and whose second only in the last slice."""
    image = torch.rand(1, SIZE, SIZE, SLICES)
    label = torch.zeros(2, SIZE, SIZE, SLICES, dtype=torch.uint8)
    label[0][BOX] = 1
    label[1, 10:12, 10:12, -1] = 1
    return SliceDataset([{"image": image, "label": label}], progress=False, **options)


class Run:
    """A trainer of a tiny network with DeepCut attached, which records the state of its parts at each step."""

    def __init__(self, epochs, slices=None, refine=None, loader=(), saver=None, resume=None, **options):
        torch.manual_seed(3)
        self.slices = slices or disc_slices()
        self.network = torch.nn.Conv2d(1, 2, 3, padding=1)
        self.weights = {k: v.clone() for k, v in self.network.state_dict().items()}
        self.optimizer = torch.optim.Adam(self.network.parameters(), 0.1)
        self.refined = []
        self.deepcut = DeepCut(
            self.slices, self.network, self.optimizer, self._watch(refine or middle), progress=False, **options
        )
        checkpoint = {"network": self.network, "optimizer": self.optimizer, "deepcut": self.deepcut}
        handlers = [self.deepcut]
        if saver:
            handlers.append(CheckpointSaver(saver, checkpoint, save_interval=1, n_saved=9))
        if resume:
            handlers.insert(0, CheckpointLoader(resume, checkpoint))
        self.seen, self.at_step = [], []
        self.trainer = SupervisedTrainer(
            device="cpu",
            max_epochs=epochs,
            train_data_loader=DataLoader(self.slices, batch_size=2, **dict(loader)),
            network=self.network,
            optimizer=self.optimizer,
            loss_function=self._loss,
            train_handlers=handlers,
            decollate=False,
        )
        checkpoint["trainer"] = self.trainer

    def run(self):
        self.trainer.run()
        return self

    def _watch(self, refine):
        def watched(prob, image):
            assert not self.network.training
            self.refined.append((self.trainer.state.epoch, prob, image))
            return refine(prob, image)

        return watched

    def _loss(self, pred, label):
        epoch = self.trainer.state.epoch
        moments = sum(1 for state in self.optimizer.state.values() if state)
        self.at_step.append((epoch, {k: v.clone() for k, v in self.network.state_dict().items()}, moments))
        self.seen.append((epoch, label.clone()))
        return torch.nn.functional.binary_cross_entropy_with_logits(pred, label.float())

    def labels(self, epoch):
        return torch.cat([label for e, label in self.seen if e == epoch])

    def first_step(self, epoch):
        return next((weights, moments) for e, weights, moments in self.at_step if e == epoch)


def middle(prob, image):
    """Return 1 in rows 4 and 5 and 0 elsewhere, whatever the prediction."""
    refined = torch.zeros_like(prob)
    refined[:, 4:6] = 0.9
    return refined


def test_labels_change_after_every_interval_but_not_after_the_last_epoch():
    run = Run(epochs=4, interval=2).run()
    filled = torch.stack([run.slices.volumes[0]["label"][..., z] for z in range(SLICES)])
    for epoch in (1, 2):
        assert torch.equal(run.labels(epoch), filled)
    expected = torch.zeros_like(filled)
    expected[:, 0, 4:6, 3:8] = 1  # cut to the box
    expected[-1, 1, 10:12, 10:12] = 1  # nothing found in this box, so the former label stays
    for epoch in (3, 4):
        assert torch.equal(run.labels(epoch), expected)
    assert {epoch for epoch, *_ in run.refined} == {3}
    assert len(run.refined) == SLICES


def test_the_network_restarts_and_the_optimizer_is_reset():
    run = Run(epochs=3, interval=1).run()
    for epoch in (2, 3):
        weights, moments = run.first_step(epoch)
        torch.testing.assert_close(weights, run.weights, rtol=0, atol=0)
        assert moments == 0
    assert run.at_step[-1][2] == 2
    assert not torch.equal(run.network.weight, run.weights["weight"])
    goes_on = Run(epochs=2, interval=1, restart=False).run()
    weights, moments = goes_on.first_step(2)
    assert not torch.equal(weights["weight"], goes_on.weights["weight"])
    assert moments == 2
    assert goes_on.labels(2).sum() < goes_on.labels(1).sum()


def test_labels_come_from_the_trained_network_without_augmentation():
    slices = disc_slices(slice_transform=RandFlipd(["image", "label"], prob=1.0, spatial_axis=0))
    run = Run(epochs=2, interval=1, slices=slices, restart=False, batch_size=3)
    run.run()
    weights, _ = run.first_step(2)
    for i, (_, prob, image) in enumerate(run.refined):
        torch.testing.assert_close(image, slices.plain(i)["image"])
        expected = torch.nn.functional.conv2d(image[None], weights["weight"], weights["bias"], padding=1)[0].sigmoid()
        torch.testing.assert_close(prob, expected)
    assert torch.equal(run.labels(2)[0], slices.plain(0)["label"].flip(1))  # labels are augmented with their images


@pytest.mark.parametrize("persistent", [False, True])
def test_workers_load_the_new_labels(persistent):
    run = Run(epochs=2, interval=1, loader={"num_workers": 1, "persistent_workers": persistent}).run()
    assert torch.equal(run.labels(2), Run(epochs=2, interval=1).run().labels(2))
    assert not torch.equal(run.labels(1), run.labels(2))


def test_touching_boxes_keep_their_label_only_if_all_are_empty():
    label = torch.zeros(1, SIZE, SIZE, 1)
    label[0, 0:6, 0:3] = label[0, 0:3, 2:6] = label[0, 8:11, 8:11] = 1
    slices = SliceDataset([{"image": torch.rand(1, SIZE, SIZE, 1), "label": label}], progress=False)
    corner = torch.zeros(2, SIZE, SIZE)
    corner[:, 5, 0] = 1
    run = Run(epochs=2, interval=1, slices=slices, refine=lambda prob, image: corner[:1])
    run.deepcut.inferer = lambda images, network: torch.zeros(len(images), 1, SIZE, SIZE)
    run.deepcut._start()
    run.deepcut._relabel()
    expected = torch.zeros(SIZE, SIZE)
    expected[5, 0] = 1
    expected[8:11, 8:11] = 1
    assert torch.equal(slices.plain(0)["label"][0], expected)


def test_a_resumed_run_restores_labels_and_first_weights(tmp_path):
    whole = Run(epochs=4, interval=2, refine=by_prediction, saver=tmp_path).run()
    for epoch in (2, 3):
        path = str(tmp_path / f"checkpoint_epoch={epoch}.pt")
        resumed = Run(epochs=4, interval=2, slices=disc_slices_as(whole), refine=by_prediction, resume=path)
        with torch.no_grad():
            resumed.network.weight.fill_(7)  # differ from the first weights of the first run
        resumed.run()
        assert {e for e, _ in resumed.seen} == set(range(epoch + 1, 5))
        assert torch.equal(resumed.labels(4), whole.labels(4))
        torch.testing.assert_close(resumed.network.state_dict(), whole.network.state_dict())
    assert not torch.equal(whole.labels(2), whole.labels(3))


def by_prediction(prob, image):
    return (prob > prob.mean()).float()


def disc_slices_as(run):
    return SliceDataset(run.slices.volumes, progress=False)


def test_the_state_of_other_data_raises():
    run = Run(epochs=1)
    run.deepcut.load_state_dict({"labels": torch.zeros(3, dtype=torch.uint8), "first_weights": run.weights})
    with pytest.raises(ValueError, match=r"state_dict must have labels of 1440 pixels \(180 bytes\), got 3 bytes"):
        run.deepcut._start()


def test_boxes_that_are_not_filled_raise():
    items = [{"image": torch.zeros(1, 8, 8, 2), "label": torch.tensor([[1.0, 1, 0, 4, 4, 2, 0]])}]
    run = Run(epochs=1, slices=SliceDataset(items, progress=False))
    with pytest.raises(
        ValueError, match=r"filled boxes \(C, 8, 8\) under 'label', got the shape \(1, 5\).*boxes_as_masks"
    ):
        run.deepcut._start()


@pytest.mark.parametrize("name", ["interval", "batch_size"])
def test_numbers_below_one_raise(name):
    network = torch.nn.Conv2d(1, 1, 1)
    with pytest.raises(ValueError, match=f"{name} must be at least 1, got 0"):
        DeepCut(disc_slices(), network, torch.optim.SGD(network.parameters()), middle, **{name: 0})


def test_the_dense_crf_is_the_default_and_its_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "pydensecrf", None)
    network = torch.nn.Conv2d(1, 1, 1)
    with pytest.raises(OptionalImportError, match=r"monai_bbox_mil\[deepcut\]"):
        DeepCut(disc_slices(), network, torch.optim.SGD(network.parameters()))
