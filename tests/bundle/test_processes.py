# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
"""Training and evaluation by two processes, against the same by one."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys

import pandas as pd
import pytest
import torch

from monai_bbox_mil.data import get_datalist, make_phantom
from tests.bundle.conftest import CONFIGS, TINY, places, run_bundle

LEARNING = {"max_epochs": 20, "learning_rate": 0.01, "self_training_weight": 1.0}
# Standard deviation of a patient's Dice over eight trainings of one process that differ in their seed: 0.07 to 0.11 for
# the three patients, about means of 0.64 to 0.69. This lies between; two runs differ by sqrt(2) times as much.
NOISE = 0.10


def start(names, options, agents=1):
    """One ``torchrun`` with two processes, or two with one each that find one another by their address."""
    if agents == 1:
        places_of_agents = [["--standalone", "--nproc_per_node=2"]]
    else:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            address = ["--master_addr=127.0.0.1", f"--master_port={free.getsockname()[1]}", "--nproc_per_node=1"]
        places_of_agents = [[f"--nnodes={agents}", f"--node_rank={n}", *address] for n in range(agents)]
    environment = {
        **os.environ, "PYTHONPATH": str(CONFIGS.parents[1]), "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""
    }  # fmt: skip
    files = [str(CONFIGS / f"{name}.yaml") for name in names]
    bundle = ["-m", "monai.bundle", "run", f"--config_file={files}", *(f"--{k}={v}" for k, v in options.items())]
    runs = [
        subprocess.Popen([sys.executable, "-m", "torch.distributed.run", *place, *bundle],
                         env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        for place in places_of_agents
    ]  # fmt: skip
    try:
        printed = [run.communicate(timeout=300)[0] for run in runs]
    finally:
        for run in runs:
            run.kill()
    for run, text in zip(runs, printed):
        assert run.returncode == 0, text
    return "".join(printed)


@pytest.fixture(scope="module")
def even_phantom(tmp_path_factory):
    """36 slices to train, 12 to validate."""
    folder = tmp_path_factory.mktemp("even")
    make_phantom(folder, num_patients=8, seed=1, image_size=(48, 56), num_slices=(6, 6), progress=False)
    return folder


@pytest.fixture(scope="module")
def odd_phantom(tmp_path_factory, phantom):
    """A data list with an odd number of volumes and of slices to validate."""
    folder = tmp_path_factory.mktemp("odd")
    listed = get_datalist(phantom)
    items = listed["training"] + listed["validation"]
    depths = [(item, get_depth(item["image"])) for item in items]
    odd = [item for item, depth in depths if depth % 2][:1] + [item for item, depth in depths if not depth % 2][:2]
    parts = {"training": [item for item in items if item not in odd], "validation": odd}
    for part in parts.values():
        part[:] = [{"image": i["image"], "label": i["mask"], "patient": i["patient"]} for i in part]
    (folder / "datalist.json").write_text(json.dumps(parts))
    return folder


def get_depth(image):
    with open(image) as header:
        (line,) = [line for line in header if line.startswith("DimSize")]
    return int(line.split()[-1])


@pytest.fixture(scope="module")
def two_processes(odd_phantom, tmp_path_factory):
    """Folder of a training by two processes with half of the batch each."""
    folder = tmp_path_factory.mktemp("two")
    start(("train", "multi_gpu_train"), {**TINY, **LEARNING, **places(folder, odd_phantom), "batch_size": 4})
    return folder


def dice_of(folder, dataset_dir):
    run_bundle("train", "evaluate", **places(folder, dataset_dir), **TINY)
    return pd.read_csv(folder / "eval" / "cases.csv").set_index("patient")["dice"]


def test_two_processes_reach_the_dice_of_one(two_processes, odd_phantom, tmp_path):
    run_bundle("train", **LEARNING, **places(tmp_path, odd_phantom), **TINY)
    one, two = dice_of(tmp_path, odd_phantom), dice_of(two_processes, odd_phantom)
    assert len(one) == 3
    assert min(one.min(), two.min()) > 0.4
    assert (two - one).abs().max() < 2 * 2**0.5 * NOISE


def test_only_rank_0_writes(two_processes):
    models = {path.name for path in (two_processes / "models").iterdir()}
    checkpoint = f"checkpoint_epoch={LEARNING['max_epochs']}.pt"
    assert models == {"model.pt", "image_settings.json", "model_card.json", "threshold.json", checkpoint}
    processes = {path.name.split(".")[-2] for path in (two_processes / "eval").glob("events.out.tfevents.*")}
    assert len(processes) == 1  # the names end in process and number


def test_weights_have_the_names_of_one_process(two_processes, trained):
    state = torch.load(two_processes / "models" / "model.pt", weights_only=True)
    assert state.keys() == torch.load(trained / "models" / "model.pt", weights_only=True).keys()
    checkpoint = torch.load(
        two_processes / "models" / f"checkpoint_epoch={LEARNING['max_epochs']}.pt", weights_only=True
    )
    for part in ("network", "mean_teacher"):
        assert not any(key.startswith("module.") for key in checkpoint[part])


def test_each_validation_slice_counts_once(two_processes, odd_phantom):
    found = json.loads((two_processes / "models" / "threshold.json").read_text())
    slices = sum(get_depth(item["image"]) for item in get_datalist(odd_phantom)["validation"])
    assert slices % 2 == 1
    assert found["num_images"] == slices


def test_two_processes_evaluate_as_one(two_processes, odd_phantom, tmp_path):
    """Every case once, in the same order, with the same scores."""
    dice_of(two_processes, odd_phantom)
    one = pd.read_csv(two_processes / "eval" / "cases.csv")
    options = {**TINY, **places(two_processes, odd_phantom), "output_dir": str(tmp_path)}
    printed = start(("train", "evaluate", "multi_gpu_evaluate"), options)
    pd.testing.assert_frame_equal(pd.read_csv(tmp_path / "cases.csv"), one, rtol=1e-3)
    assert printed.count("Scores of each case") == 1


def test_two_machines_go_on_from_a_checkpoint(two_processes, odd_phantom, tmp_path):
    """Each with an agent of its own, as on two nodes."""
    shutil.copytree(two_processes / "models", tmp_path / "models")
    epochs = LEARNING["max_epochs"]
    options = {**TINY, **LEARNING, **places(tmp_path, odd_phantom), "batch_size": 4, "max_epochs": epochs + 1}
    start(("train", "multi_gpu_train"), {**options, "resume": True}, agents=2)
    before, after = (
        torch.load(folder / "models" / f"checkpoint_epoch={epoch}.pt", weights_only=True)
        for folder, epoch in ((two_processes, epochs), (tmp_path, epochs + 1))
    )
    assert after["trainer"]["iteration"] * epochs == before["trainer"]["iteration"] * (epochs + 1) > 0
    assert after["lr_scheduler"]["last_epoch"] == epochs + 1


def test_with_one_normalizer_two_processes_take_the_steps_of_one(even_phantom, tmp_path):
    """A batch of all slices each epoch, so that the order in which they come does not matter."""
    still = {"flip_prob": [0.0, 0.0], "optimizer#_target_": "torch.optim.SGD", "learning_rate": 0.1, "max_epochs": 3}
    still |= {"self_training_weight": 0.0, "keep_best": False}
    states = {}
    for folder, batch, options in ((tmp_path / "one", 36, {}), (tmp_path / "two", 18, {"sync_normalizer": True})):
        options = {**TINY, **still, **places(folder, even_phantom), **options, "batch_size": batch}
        if batch == 36:
            run_bundle("train", **options)
        else:
            start(("train", "multi_gpu_train"), options)
        states[batch] = torch.load(folder / "models" / "model.pt", weights_only=True)
    for name, weights in states[36].items():
        torch.testing.assert_close(states[18][name], weights, atol=1e-5, rtol=1e-4)


def test_two_processes_make_the_same_pseudo_labels_and_go_on(even_phantom, tmp_path):
    names = ("train", "pseudo_labels", "multi_gpu_train")
    options = {**TINY, "batch_size": 4, "max_epochs": 4}
    printed = start(names, {**options, **places(tmp_path, even_phantom)})
    assert printed.count("PseudoLabelRounds after 2 epochs") == 1
    state = torch.load(tmp_path / "models" / "checkpoint_epoch=4.pt", weights_only=True)["pseudo_labels"]
    assert state["labels"].any()
    first = tmp_path / "first"
    start(names, {**options, **places(first, even_phantom), "max_epochs": 3, "epochs_per_round": 2})
    start(names, {**options, **places(first, even_phantom), "resume": True, "epochs_per_round": 2})
    resumed = torch.load(first / "models" / "checkpoint_epoch=4.pt", weights_only=True)["pseudo_labels"]
    assert torch.equal(resumed["labels"], state["labels"])
