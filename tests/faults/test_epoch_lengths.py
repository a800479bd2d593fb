# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
"""A trainer resumes from a checkpoint whose epochs were longer or shorter."""

from __future__ import annotations

import warnings

import pytest
import torch
from ignite.engine import Engine, Events
from monai.engines import SupervisedTrainer

from monai_bbox_mil.runs import AtomicCheckpointSaver, CheckedCheckpointLoader, latest_checkpoint


def train(folder, batches, max_epochs, epoch_length=None, until=None, resume=False):
    """Numbers of the epochs and steps that were trained."""
    network = torch.nn.Linear(1, 1)
    batch = {"image": torch.ones(1, 1), "label": torch.ones(1, 1)}
    optimizer = torch.optim.SGD(network.parameters(), 0.1)
    trainer = SupervisedTrainer(
        "cpu", max_epochs, [batch] * batches, network, optimizer, torch.nn.MSELoss(), epoch_length=epoch_length
    )
    content, seen = {"network": network, "trainer": trainer}, []
    if resume:
        CheckedCheckpointLoader(latest_checkpoint(folder), content).attach(trainer)
    AtomicCheckpointSaver(str(folder), content, save_interval=1, n_saved=1).attach(trainer)
    trainer.add_event_handler(Events.ITERATION_COMPLETED, lambda e: seen.append((e.state.epoch, e.state.iteration)))
    if until:
        stop = Events.ITERATION_COMPLETED(once=until)
        trainer.add_event_handler(stop, lambda engine: engine.terminate(skip_completed=True))
    trainer.run()
    return seen


@pytest.mark.parametrize(
    ("until", "batches", "seen", "told"),
    [
        (None, 2, [(3, 5), (3, 6)], "It goes on after epoch 2, and its weights"),
        (None, 6, [(3, step) for step in range(13, 19)], "It goes on after epoch 2, and its weights"),
        (5, 2, [(2, 3), (2, 4), (3, 5), (3, 6)], "It goes on from the beginning of epoch 2, and its weights"),
    ],
)
def test_epochs_have_the_length_of_the_present_data(tmp_path, until, batches, seen, told):
    train(tmp_path, batches=4, max_epochs=2, until=until)
    with pytest.warns(UserWarning, match=rf"with 4 steps per epoch, but this one has {batches}, .* {told}"):
        assert train(tmp_path, batches=batches, max_epochs=3, resume=True) == seen
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint_epoch=3.pt"]


def test_epochs_of_a_given_length_stay_as_they_are(tmp_path):
    train(tmp_path, batches=4, max_epochs=2, epoch_length=3)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert train(tmp_path, batches=5, max_epochs=3, epoch_length=3, resume=True) == [(3, 7), (3, 8), (3, 9)]


def test_weights_without_their_trainer_change_no_length(tmp_path):
    train(tmp_path, batches=4, max_epochs=1)
    network, lengths = torch.nn.Linear(1, 1), []
    evaluator = Engine(lambda engine, _: lengths.append(engine.state.epoch_length))
    CheckedCheckpointLoader(latest_checkpoint(tmp_path), {"network": network}).attach(evaluator)
    evaluator.run([0, 1])
    assert lengths == [2, 2]
