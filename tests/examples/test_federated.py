# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
"""Two sites with half of the patients each, three rounds of federated averaging."""

from __future__ import annotations

import json
import pickle

import pandas as pd
import pytest
import torch
from monai.fl.utils.constants import FlStatistics, WeightType
from monai.fl.utils.exchange_object import ExchangeObject
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from monai_bbox_mil.data import get_datalist, make_phantom
from tests.bundle.conftest import TINY, places, run_bundle
from tests.examples import federated

ROUNDS, LOCAL_EPOCHS = 3, 8
OPTIONS = {**TINY, "learning_rate": 0.01}


class Watched:
    """A client whose messages to the server are kept."""

    def __init__(self, site):
        self.site = site
        self.sent = []

    def train(self, data):
        self.site.train(data)

    def get_weights(self):
        self.sent.append(self.site.get_weights())
        return self.sent[-1]


@pytest.fixture(scope="module")
def phantom(tmp_path_factory):
    folder = tmp_path_factory.mktemp("phantom")
    make_phantom(folder, num_patients=8, seed=1, image_size=(48, 56), num_slices=(6, 7), progress=False)
    return folder


@pytest.fixture(scope="module")
def datalists(phantom, tmp_path_factory):
    return federated.write_site_datalists(get_datalist(phantom), 2, tmp_path_factory.mktemp("sites"))


@pytest.fixture(scope="module")
def federation(datalists, tmp_path_factory):
    """Folder, clients, first weights, and the server's weights after each round."""
    return federate(datalists, tmp_path_factory.mktemp("federation"), OPTIONS, LOCAL_EPOCHS)


def federate(datalists, folder, options, local_epochs):
    sites = [
        Watched(
            federated.make_site(
                path.stem,
                local_epochs,
                federated.site_overrides(path, folder / path.stem, ROUNDS * local_epochs, options),
            )
        )
        for path in datalists
    ]
    first = federated.initial_weights(options)
    return folder, sites, first, federated.federate(sites, first, ROUNDS)


def dice(weights, phantom, folder):
    """Mean 3D Dice over the validation patients of both sites."""
    (folder / "models").mkdir(parents=True)
    torch.save(weights, folder / "models" / "model.pt")
    run_bundle("train", "evaluate", threshold=0.5, **places(folder, phantom), **TINY)
    return pd.read_csv(folder / "eval" / "cases.csv")["dice"].mean()


def test_sites_share_no_patient(datalists, phantom):
    parts = [json.loads(path.read_text()) for path in datalists]
    for name, items in get_datalist(phantom).items():
        first, second = ([item["patient"] for item in part[name]] for part in parts)
        assert len(first) == len(second) == len(items) / 2
        assert sorted(first + second) == sorted(item["patient"] for item in items)


def test_the_shared_model_is_no_worse_than_that_of_one_site(federation, datalists, phantom, tmp_path):
    """One site alone trains as many epochs as in the federation."""
    _, _, first, history = federation
    shared = dice(history[-1], phantom, tmp_path / "shared")
    alone = []
    for path in datalists:
        folder = tmp_path / path.stem
        run_bundle("train", **federated.site_overrides(path, folder, ROUNDS * LOCAL_EPOCHS, OPTIONS))
        alone.append(dice(torch.load(folder / "models" / "model.pt"), phantom, tmp_path / f"{path.stem} alone"))
    assert shared > dice(first, phantom, tmp_path / "first") + 0.3
    assert shared > max(alone) - 0.05


def test_the_server_averages_by_steps(federation):
    _, sites, first, history = federation
    before = first
    for number, after in enumerate(history):
        updates = [site.sent[number] for site in sites]
        steps = [update.statistics[FlStatistics.NUM_EXECUTED_ITERATIONS] for update in updates]
        assert min(steps) > 0
        for name in before:
            change = (steps[0] * updates[0].weights[name] + steps[1] * updates[1].weights[name]) / sum(steps)
            torch.testing.assert_close(after[name], before[name] + change)
        assert max((after[name] - before[name]).abs().max().item() for name in before) > 1e-3
        before = after


def test_only_weights_and_counts_leave_a_site(federation):
    _, sites, first, _ = federation
    for site in sites:
        for message in site.sent:
            assert message.weight_type == WeightType.WEIGHT_DIFF
            assert message.optim is None
            assert message.metrics is None
            assert {name: w.shape for name, w in message.weights.items()} == {n: w.shape for n, w in first.items()}
            assert all(isinstance(value, int) for value in message.statistics.values())
            content = pickle.dumps(dict(message))
            assert not any(patient in content for patient in (b"Case", b"phantom"))


def test_self_training_begins_at_the_sites_too(datalists, tmp_path):
    """Its part of the schedule counts the epochs of all rounds: two of six are past when it begins."""
    options = {**OPTIONS, "self_training_weight": 1.0, "self_training_start": 2}
    federate(datalists[:1], tmp_path, options, 2)
    scalars = []
    for path in (tmp_path / "site-1" / "eval").glob("events.out.tfevents.*"):
        events = EventAccumulator(str(path), size_guidance={"scalars": 0}).Reload()
        if "train_self_training" in events.Tags()["scalars"]:
            scalars += events.Scalars("train_self_training")
    assert len(scalars) == ROUNDS * 2 - 2


def test_an_update_that_is_no_difference_is_refused():
    update = ExchangeObject(weights={"w": torch.zeros(1)}, weight_type=WeightType.WEIGHTS)
    with pytest.raises(ValueError, match="must hold differences of weights, got"):
        federated.federated_average({"w": torch.zeros(1)}, [update])


def test_the_example_runs(datalists, tmp_path):
    lists = [f"--datalist={path}" for path in datalists]
    tiny = [f"{name}={value}" for name, value in TINY.items()]
    federated.main([f"--out={tmp_path}", "--rounds=1", "--local_epochs=1", *lists, *tiny])
    assert {path.name for path in (tmp_path / "server").iterdir()} == {"model.pt", "threshold.json"}
