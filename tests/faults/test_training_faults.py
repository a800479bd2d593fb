# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
"""Faults from outside raise an error that says what to do, and the training resumes as if it had never stopped."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest
import torch

from monai_bbox_mil.data import get_datalist
from monai_bbox_mil.runs import latest_checkpoint
from tests.faults import runs


def log_of(folder):
    return (folder / "log.txt").read_text()


def assert_goes_on(folder, phantom, reference, **overrides):
    """The checkpoint before the fault is there, and from it the training comes to the same end."""
    assert latest_checkpoint(folder / "models").endswith("=1.pt") or latest_checkpoint(folder / "models").endswith(
        "=2.pt"
    )
    assert runs.finish(runs.start(runs.train, folder, phantom, **overrides)) == 0, log_of(folder)[-3000:]
    runs.assert_same_run(folder, reference.folder)


def test_an_image_that_vanishes_is_named_and_put_back(phantom, reference, tmp_path):
    image = Path(get_datalist(phantom)["training"][0]["image"])
    lost = image.with_name(f"{image.name}.lost")
    process = runs.start(runs.train_with_fault, tmp_path, phantom, runs.lose_file, image, cache_rate=0.0)
    try:
        assert runs.finish(process) == 1, log_of(tmp_path)[-3000:]
    finally:
        lost.rename(image)
    assert re.search(rf"AdvisedError: a file cannot be read .*Put it back.*{re.escape(image.name)}", log_of(tmp_path))
    assert_goes_on(tmp_path, phantom, reference)


def test_a_loader_process_that_dies_is_reported(phantom, reference, tmp_path):
    process = runs.start(runs.train_with_fault, tmp_path, phantom, runs.kill_loader_processes, num_workers=2)
    assert runs.finish(process) == 1, log_of(tmp_path)[-3000:]
    assert "AdvisedError: a process of the data loader died" in log_of(tmp_path)
    assert "make num_workers (now 2) smaller" in log_of(tmp_path)
    assert_goes_on(tmp_path, phantom, reference)


def test_a_loss_that_is_no_number_ends_the_run_with_the_names_of_its_cases(phantom, reference, tmp_path):
    process = runs.start(runs.train_with_fault, tmp_path, phantom, runs.return_from_now_on, float("nan"))
    assert runs.finish(process) == 1, log_of(tmp_path)[-3000:]
    (told,) = set(re.findall(r"FloatingPointError: the loss is .*", log_of(tmp_path)))
    cases = re.search(r"with a batch of (.*?)\. Look", told)[1].split(", ")
    names = {item["image"].rsplit("/", 1)[1] for item in get_datalist(phantom)["training"]}
    assert 1 <= len(cases) <= runs.TRAINING["batch_size"]
    assert {re.sub(r" slice \d+$", "", case) for case in cases} <= names
    assert not (tmp_path / "models" / "model.pt").exists()
    assert_goes_on(tmp_path, phantom, reference)


def test_a_gpu_without_memory_is_reported_with_the_settings_that_need_it(phantom, reference, tmp_path):
    error = torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB.")
    process = runs.start(runs.train_with_fault, tmp_path, phantom, runs.return_from_now_on, error)
    assert runs.finish(process) == 1, log_of(tmp_path)[-3000:]
    assert re.search(
        r"AdvisedError: the memory of the GPU is used up at iteration \d+ \(epoch 3\)\. To need less: "
        r"make batch_size \(now 8\) smaller; set amp \(now False\) to True; "
        r"make image_size \(now \[32, 32\]\) smaller, in a new training\.",
        log_of(tmp_path),
    )
    assert_goes_on(tmp_path, phantom, reference)


@pytest.mark.skipif(sys.platform != "linux", reason="the limit of the address space is Linux's")
def test_a_machine_without_memory_is_reported_with_the_settings_that_need_it(phantom, tmp_path):
    large = {"image_size": [1024, 1024], "batch_size": 24, "cache_rate": 0.0, "max_epochs": 1}
    process = runs.start(runs.train_with_little_memory, tmp_path, phantom, **large)
    assert runs.finish(process) == 1, log_of(tmp_path)[-3000:]
    assert "AdvisedError: the memory of this machine is used up" in log_of(tmp_path)
    assert "make batch_size (now 24) smaller; make image_size (now [1024, 1024]) smaller" in log_of(tmp_path)
