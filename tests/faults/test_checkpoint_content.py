# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
"""What is put into a checkpoint once the trainer is there."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from monai_bbox_mil.handlers import DeepCut, LossParts, MeanTeacher
from monai_bbox_mil.runs import complete_checkpoint
from monai_bbox_mil.runs.engine_extras import EngineExtras

TRAINER, EVALUATOR = SimpleNamespace(name="trainer"), SimpleNamespace(name="evaluator")


def test_handlers_with_a_name_are_kept_and_others_are_not():
    loss_parts, nameless = LossParts(None), SimpleNamespace(state_dict=dict)
    checkpoint = {"network": 1}
    complete_checkpoint(checkpoint, TRAINER, EVALUATOR, [nameless, loss_parts, None])
    assert list(checkpoint) == ["network", "loss_parts", "trainer", "extras"]
    assert checkpoint["loss_parts"] is loss_parts
    assert checkpoint["trainer"] is TRAINER
    assert isinstance(checkpoint["extras"], EngineExtras)
    assert checkpoint["extras"].evaluator is EVALUATOR


def test_names_are_those_of_the_checkpoints_that_are_there():
    """Another name, and a checkpoint of before could not be resumed."""
    assert [each.checkpoint_name for each in (LossParts, MeanTeacher, DeepCut)] == [
        "loss_parts", "mean_teacher", "deepcut"
    ]  # fmt: skip


@pytest.mark.parametrize("handlers", [[LossParts(None), LossParts(None)], [SimpleNamespace(checkpoint_name="network")]])
def test_a_name_that_is_taken_is_refused(handlers):
    with pytest.raises(ValueError, match=r"one object for each name, got a second one for '(loss_parts|network)'"):
        complete_checkpoint({"network": 1}, TRAINER, None, handlers)
