# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import math

import pytest
import torch
from ignite.engine import Engine, Events
from monai.losses import DiceLoss

from monai_bbox_mil.handlers import BarrierSchedule
from monai_bbox_mil.losses import GlobalConstraintLoss

TARGET = torch.tensor([[[1.0, 1, 4, 4, 0]]])


def run(loss, epochs, start=0, factor=1.1):
    """Continue a run after epoch ``start``, two batches per epoch, and return the values of ``t`` at its iterations."""
    seen = []

    def step(engine, _):
        loss(torch.zeros(1, 1, 6, 6), TARGET)
        seen.append(loss.t)

    engine = Engine(step)
    # Like a checkpoint loader, set the epoch when the run starts, after the handler was created.
    engine.add_event_handler(Events.STARTED, lambda: setattr(engine.state, "epoch", start))
    BarrierSchedule(loss, factor).attach(engine)
    engine.run([0, 1], max_epochs=epochs)
    return seen


def test_t_grows_from_epoch_to_epoch():
    assert run(GlobalConstraintLoss(t=5.0), 3) == pytest.approx([5, 5, 5.5, 5.5, 6.05, 6.05])


def test_the_first_epoch_uses_the_initial_t():
    assert run(GlobalConstraintLoss(t=0.3), 1) == [0.3, 0.3]


def test_a_resumed_run_continues_where_it_stopped():
    whole = run(GlobalConstraintLoss(), 5)
    assert run(GlobalConstraintLoss(), 5, start=3) == whole[2 * 3 :]


@pytest.mark.parametrize("start", [400, 20000])
def test_a_long_run_keeps_a_finite_loss(start):
    loss = GlobalConstraintLoss()
    assert run(loss, start + 1, start=start) == [1e12, 1e12]
    assert torch.isfinite(loss.parts["loss"]).all()


@pytest.mark.parametrize(
    ("loss", "message"),
    [
        (DiceLoss(), "loss must have an attribute t greater than 0, .* got DiceLoss without a number t"),
        (torch.zeros(()), "got Tensor without a number t"),  # whose t is a method
    ],
)
def test_a_loss_without_t_raises(loss, message):
    with pytest.raises(ValueError, match=message):
        BarrierSchedule(loss)


def test_a_t_out_of_range_raises():
    loss = GlobalConstraintLoss()
    loss.t = 0.0
    with pytest.raises(ValueError, match="got GlobalConstraintLoss with t = 0.0"):
        BarrierSchedule(loss)


@pytest.mark.parametrize("factor", [0.9, math.inf, math.nan])
def test_a_factor_out_of_range_raises(factor):
    with pytest.raises(ValueError, match=f"factor must be a finite number of at least 1, got {factor}"):
        BarrierSchedule(GlobalConstraintLoss(), factor)
