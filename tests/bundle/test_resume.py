# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
"""Trainings that go on with other settings, or from a checkpoint that is not theirs."""

from __future__ import annotations

import math
import shutil
import warnings

import pytest
import torch
from torch.optim import SGD, Adam, lr_scheduler

from monai_bbox_mil.runs import ResumedSchedule, SettingsRecord, changed_settings, check_resume
from tests.bundle.conftest import TINY, places, run_bundle
from tests.robustness.cases import causes


def resume(trained, phantom, folder, change=None, **overrides):
    """Go on from the second epoch of ``trained`` to the third; the checkpoint that is left."""
    shutil.copytree(trained, folder)
    if change is not None:
        path = folder / "models" / "checkpoint_epoch=2.pt"
        torch.save(change(torch.load(path, weights_only=True)), path)
    run_bundle("train", **{**places(folder, phantom), **TINY, "max_epochs": 3, "resume": True, **overrides})
    return torch.load(folder / "models" / "checkpoint_epoch=3.pt", weights_only=True)


def test_a_resumed_training_has_the_rate_and_the_length_that_it_is_given(trained, phantom, tmp_path, capsys):
    checkpoint = resume(trained, phantom, tmp_path / "run", learning_rate=1e-6)
    (group,) = checkpoint["optimizer"]["param_groups"]
    assert group["initial_lr"] == 1e-6
    assert group["lr"] == pytest.approx(0, abs=1e-12)  # the cosine of 3 epochs is at its end, not that of 2
    assert checkpoint["lr_scheduler"]["T_max"] == 3
    assert checkpoint["settings"]["learning_rate"] == 1e-6
    # The third epoch is at a quarter of the cosine: the weights move by no more than that for each of its steps.
    before = torch.load(trained / "models" / "checkpoint_epoch=2.pt", weights_only=True)
    steps = checkpoint["trainer"]["iteration"] - before["trainer"]["iteration"]
    weights = [(before["network"][name], value) for name, value in checkpoint["network"].items()]
    moved = max(float((one - other).abs().max()) for one, other in weights)
    assert 0 < moved < 10 * steps * 1e-6 * 0.5 * (1 + math.cos(math.pi * 2 / 3))
    message = "Resumes from checkpoint_epoch=2.pt with settings that differ from its training's: "
    assert f"{message}max_epochs 3 (it had 2), learning_rate 1e-06 (it had 0.001)." in capsys.readouterr().out


def test_a_checkpoint_of_an_earlier_version_goes_on_with_one_warning(trained, phantom, tmp_path):
    with pytest.warns(UserWarning, match="saved no settings in its checkpoints") as record:
        checkpoint = resume(trained, phantom, tmp_path / "run", lambda c: {k: c[k] for k in c if k != "settings"})
    assert len([w for w in record if "saved no settings" in str(w.message)]) == 1
    assert checkpoint["settings"]["image_size"] == TINY["image_size"]


def test_half_a_checkpoint_is_refused_by_what_is_absent(trained, phantom, tmp_path):
    with pytest.raises(RuntimeError) as error:
        resume(trained, phantom, tmp_path / "run", lambda c: {k: c[k] for k in c if k != "optimizer"})
    assert "got a file without 'optimizer'." in causes(error.value)


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        ({"image_size": [48, 48]}, ["image_size [48, 48] (it had [32, 32])", '--image_size "[32,32]"']),
        ({"spacing_mm": [2, 2]}, ["spacing_mm [2, 2] (it had None)", "--spacing_mm None"]),
        ({"network_def#act": "RELU"}, ["network_def#act 'RELU' (it had None)", "leave out network_def#act"]),
        ({"box_loss#unary": "bce"}, ["box_loss#unary 'bce' (it had 'focal')", "--box_loss#unary focal"]),
        ({"max_epochs": 1}, ["max_epochs: expected at least 2", "got 1. Type --max_epochs 2"]),
    ],
)
def test_what_decides_what_is_learned_is_refused_before_an_image_is_read(
    trained, phantom, tmp_path, monkeypatch, overrides, expected
):
    monkeypatch.setattr("monai_bbox_mil.data.SliceDataset.__init__", None)
    with pytest.raises(RuntimeError) as error:
        resume(trained, phantom, tmp_path / "run", **overrides)
    for part in (*expected, "start over with --resume False"):
        assert part in causes(error.value)


# --- the record -------------------------------------------------------------------------------------------------------
NOW = {"image_size": [32, 32], "batch_size": 8, "max_epochs": 5, "network_def#act": "RELU"}


def checkpoint(folder, **content):
    state = {"trainer": {"iteration": 12, "epoch_length": 4, "max_epochs": 5}, "settings": NOW, **content}
    torch.save(state, folder / "checkpoint_epoch=3.pt")
    return folder


@pytest.mark.parametrize("name", ["image_size", "network_def#act"])
def test_settings_that_decide(tmp_path, name):
    with pytest.raises(ValueError, match=rf"resume: .*got {name} 'other' \(it had "):
        check_resume(checkpoint(tmp_path), SettingsRecord({**NOW, name: "other"}))


def test_settings_that_do_not(tmp_path, capsys):
    check_resume(checkpoint(tmp_path), SettingsRecord({**NOW, "batch_size": 4, "max_epochs": 3}))
    assert "batch_size 4 (it had 8), max_epochs 3 (it had 5)." in capsys.readouterr().out
    check_resume(tmp_path, SettingsRecord(NOW))
    check_resume(tmp_path, SettingsRecord({}))  # of a configuration that runs in no workflow
    assert capsys.readouterr().out == ""


def test_a_setting_that_a_later_version_brings_is_no_other_one():
    assert changed_settings({"seed": 0}, {"seed": 0, "new": 1}) == {}


@pytest.mark.parametrize("content", [{"trainer": None}, {"trainer": 3}])
def test_a_file_of_weights_is_no_checkpoint_of_a_training(tmp_path, content):
    with pytest.raises(ValueError, match=r"checkpoint_epoch=3\.pt: expected a checkpoint of a training"):
        check_resume(checkpoint(tmp_path, **content), SettingsRecord(NOW))


def test_fewer_epochs_than_it_has_behind_it(tmp_path):
    with pytest.raises(ValueError, match="max_epochs: expected at least 3, .* got 2. Type --max_epochs 3 or more"):
        check_resume(checkpoint(tmp_path), SettingsRecord({**NOW, "max_epochs": 2}))


# --- the schedule -----------------------------------------------------------------------------------------------------
SCHEDULES = {
    "cosine": lambda o, n: lr_scheduler.CosineAnnealingLR(o, T_max=n),
    "restarts": lambda o, n: lr_scheduler.CosineAnnealingWarmRestarts(o, T_0=n),
    "steps": lambda o, n: lr_scheduler.StepLR(o, step_size=n, gamma=0.5),
    "cycle": lambda o, n: lr_scheduler.OneCycleLR(o, max_lr=0.1, total_steps=4 * n),
    "both": lambda o, n: lr_scheduler.SequentialLR(
        o, [lr_scheduler.LinearLR(o, total_iters=2), lr_scheduler.CosineAnnealingLR(o, T_max=n)], milestones=[2]
    ),
}


def make(schedule, rate=0.1, length=10, kind=Adam, **options):
    torch.manual_seed(0)
    weight = torch.nn.Parameter(torch.randn(3))
    optimizer = kind([weight], lr=rate, **options)
    return weight, optimizer, SCHEDULES[schedule](optimizer, length)


def train(weight, optimizer, scheduler, epochs):
    rates = []
    for _ in range(epochs):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.zero_grad()
        weight.square().sum().backward()
        optimizer.step()
        scheduler.step()
    return rates


def go_on(former, new, **options):
    made = ResumedSchedule(new[1:])
    with torch.no_grad():
        new[0].copy_(former[0])
    for mine, its in zip(new[1:], former[1:]):
        mine.load_state_dict(its.state_dict())
    return made.obey(**options)


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("epochs", [0, 1, 4])
def test_without_a_change_it_goes_on_bit_for_bit(schedule, epochs):
    whole, former, resumed = make(schedule), make(schedule), make(schedule)
    expected = train(*whole, epochs + 5)
    train(*former, epochs)
    assert not go_on(former, resumed)
    assert resumed[1].state_dict()["param_groups"] == former[1].state_dict()["param_groups"]
    assert train(*resumed, 5) == expected[epochs:]
    assert torch.equal(resumed[0], whole[0])


@pytest.mark.parametrize("schedule", ["cosine", "restarts", "steps", "both"])
@pytest.mark.parametrize("change", [{"rate": 0.001}, {"length": 7}, {"rate": 0.3, "length": 23}])
@pytest.mark.parametrize("epochs", [0, 3, 4])
def test_a_change_gives_the_rates_of_a_run_that_had_it_from_the_start(schedule, change, epochs):
    whole, former, resumed = make(schedule, **change), make(schedule), make(schedule, **change)
    expected = train(*whole, epochs + 6)
    train(*former, epochs)
    assert go_on(former, resumed)
    assert train(*resumed, 6) == expected[epochs:]


def test_other_options_of_the_optimizer_are_obeyed_and_its_averages_stay():
    former = make("cosine")
    train(*former, 3)
    resumed = make("cosine", weight_decay=0.5, betas=(0.8, 0.9))
    assert go_on(former, resumed)
    (group,) = resumed[1].param_groups
    assert (group["weight_decay"], group["betas"]) == (0.5, (0.8, 0.9))
    (mine,), (its,) = resumed[1].state.values(), former[1].state.values()
    assert torch.equal(mine["exp_avg"], its["exp_avg"])


def test_a_rate_that_something_else_has_lowered_is_no_change_of_settings():
    former, resumed = make("cosine"), make("cosine")
    train(*former, 3)
    former[1].param_groups[0]["lr"] = 0.007
    assert not go_on(former, resumed)
    assert resumed[1].param_groups[0]["lr"] == 0.007


def test_a_schedule_that_follows_a_metric_stays_or_refuses(monkeypatch):
    monkeypatch.setitem(SCHEDULES, "plateau", lambda o, n: lr_scheduler.ReduceLROnPlateau(o, patience=0, factor=0.5))
    former, resumed = make("plateau", kind=SGD), make("plateau", kind=SGD, weight_decay=0.5)
    for _ in range(3):
        former[2].step(1.0)
    assert not go_on(former, resumed)
    (group,) = resumed[1].param_groups
    assert (group["lr"], group["weight_decay"]) == (0.025, 0.5)
    with pytest.raises(ValueError, match=r"learning_rate: expected the one that .*ReduceLROnPlateau"):
        go_on(former, make("plateau", rate=0.001, kind=SGD), rate_changed=True)


def test_nothing_is_said_of_steps_that_no_optimizer_made():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        former, resumed = make("cosine"), make("cosine", rate=0.01)
        train(*former, 3)
        go_on(former, resumed)
