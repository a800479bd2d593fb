# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
"""Runs in processes of their own, to be killed, and what two runs must have in common to count as the same."""

from __future__ import annotations

import faulthandler
import io
import json
import multiprocessing
import os
import resource
import shutil
import signal
import sys
import time
from multiprocessing.process import BaseProcess
from pathlib import Path

import torch
import torch._dynamo
from monai.bundle import run
from monai.data import ITKWriter
from monai.transforms import LoadImage
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from monai_bbox_mil.data import get_datalist
from monai_bbox_mil.losses import BoxSelfTrainingLoss
from monai_bbox_mil.runs.files import UNFINISHED

CONFIGS = Path(__file__).parents[2] / "bundle" / "configs"
EPOCHS = 3
# All that is drawn at random is in use: order, flips, rotations; and the teacher teaches from the second epoch on.
TRAINING = {
    "image_size": [32, 32],
    "network_def#features": [4, 4, 8, 8, 16, 4],
    "progress": False,
    "batch_size": 8,
    "max_epochs": EPOCHS,
    "self_training_weight": 1.0,  # so that there is a teacher to go on with
    "self_training_start": 1,
    "flip_prob": [0.5, 0.5],
    "rotate_deg": 10.0,
}
# The server imports everything once and forks a process for each run.
SERVER = multiprocessing.get_context("forkserver")
SERVER.set_forkserver_preload(
    ["itk", "nibabel", "matplotlib.backends.backend_agg", "monai.apps.detection.transforms.dictionary", "monai.engines",
     "monai.handlers", "monai.inferers", "monai.losses", "monai.networks.nets", "torch.utils.tensorboard",
     "monai_bbox_mil.handlers", "monai_bbox_mil.networks", __name__]
)  # fmt: skip


def train(folder, phantom, names=("train",), **overrides):
    """Train in this process; where there is a checkpoint, go on from it."""
    places = {"dataset_dir": str(phantom), "ckpt_dir": str(folder / "models"), "output_dir": str(folder / "eval")}
    resume = any((folder / "models").glob("checkpoint_epoch=*.pt"))
    files = [str(CONFIGS / f"{name}.yaml") for name in names]
    run(config_file=files, **{**TRAINING, "resume": resume, **places, **overrides})


def start(target, folder, *arguments, **options) -> BaseProcess:
    """Start a process that runs ``target(folder, *arguments, **options)`` and writes its output to ``log.txt``."""
    process = SERVER.Process(target=_enter, args=(target, folder, arguments, options))
    process.start()
    return process


def finish(process: BaseProcess, timeout: float = 300) -> int | None:
    process.join(timeout)
    code = process.exitcode
    kill(process)
    return code


def kill(process: BaseProcess) -> None:
    process.kill()
    process.join()


def _enter(target, folder, arguments, options):
    folder.mkdir(parents=True, exist_ok=True)
    log = os.open(folder / "log.txt", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(log, 1)
    os.dup2(log, 2)
    torch.set_num_threads(1)
    multiprocessing.set_start_method(None, force=True)  # as in a run from the command line, see the experiments' worker
    faulthandler.dump_traceback_later(240, exit=True, file=log)  # where a run hangs is then in its log
    target(folder, *arguments, **options)
    sys.stdout.flush()


def train_with_slow_saves(folder, phantom, seconds, **overrides):
    """Each file of weights takes ``seconds`` to write, half of it before the first byte of its second half."""
    _patch_save(lambda _: time.sleep(seconds))
    train(folder, phantom, **overrides)


def train_until_the_save(folder, phantom, number, **overrides):
    """Stop for good in the middle of writing the ``number``-th file of weights."""
    saves = []

    def halt(_):
        saves.append(0)
        if len(saves) == number:
            (folder / "halted").touch()
            time.sleep(600)

    _patch_save(halt)
    train(folder, phantom, **overrides)


def train_and_signal(folder, phantom, iteration, number=signal.SIGTERM, **overrides):
    """Send a signal to this process while a step is computed."""

    def send(loss):
        os.kill(os.getpid(), number)
        return loss

    _change_loss_of(iteration, send)
    train(folder, phantom, **overrides)


def train_with_nan(folder, phantom, iteration, **overrides):
    """The loss of one step is no number."""
    _change_loss_of(iteration, lambda loss: loss * float("nan"))
    train(folder, phantom, **overrides)


def _change_loss_of(iteration, change):
    calls, forward = [], BoxSelfTrainingLoss.forward

    def forward_and_change(self, input, target):
        loss = forward(self, input, target)
        if not torch.is_grad_enabled():  # in validation
            return loss
        calls.append(0)
        return change(loss) if len(calls) == iteration else loss

    BoxSelfTrainingLoss.forward = forward_and_change


def train_with_fault(folder, phantom, fault, *arguments, **overrides):
    """Let ``fault(*arguments)`` happen while the checkpoint of the second epoch is written."""
    save, saves = torch.save, []

    def save_and_fail(content, path):
        save(content, path)
        saves.append(0)
        if len(saves) == 3:  # of epochs 0, 1 and 2
            fault(*arguments)

    torch.save = save_and_fail
    train(folder, phantom, **overrides)


def lose_file(path):
    path.rename(path.with_name(f"{path.name}.lost"))


def kill_loader_processes():
    for process in multiprocessing.active_children():
        process.kill()


def return_from_now_on(value):
    """The loss is ``value``, or where that is an exception, raises it."""

    def forward(self, input, target):
        if isinstance(value, Exception):
            raise value
        return input.sum() * value

    BoxSelfTrainingLoss.forward = forward


def limit_memory(megabytes):
    """Of the address space: so much more than is in use."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    limit = pages * os.sysconf("SC_PAGE_SIZE") + megabytes * 2**20
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))


def train_with_little_memory(folder, phantom, **overrides):
    LoadImage()(get_datalist(phantom)["training"][0]["image"])  # ITK's libraries are loaded before memory is short
    limit_memory(400)
    train(folder, phantom, **overrides)


def predict(folder, images, models, **overrides):
    """Masks of a folder of images, to ``masks``."""
    places = {"dataset_dir": str(images), "ckpt_dir": str(models), "output_dir": str(folder / "masks")}
    shape = {name: TRAINING[name] for name in ("image_size", "network_def#features", "progress")}
    run(config_file=str(CONFIGS / "inference.yaml"), **{**shape, **places, **overrides})


def predict_until_the_mask(folder, images, models, number):
    """Stop for good when the data of the ``number``-th mask is written and its header is not."""
    writes, write = [], ITKWriter.write

    def write_and_halt(self, filename, *arguments, **options):
        write(self, filename, *arguments, **options)
        writes.append(0)
        if len(writes) == number:
            Path(filename).write_text("half")
            (folder / "halted").touch()
            time.sleep(600)

    ITKWriter.write = write_and_halt
    predict(folder, images, models)


def _patch_save(in_the_middle):
    save = torch.save

    def save_in_halves(content, path):
        buffer = io.BytesIO()
        save(content, buffer)
        data = buffer.getvalue()
        with open(path, "wb") as file:
            file.write(data[: len(data) // 2])
            file.flush()
            in_the_middle(path)
            file.write(data[len(data) // 2 :])

    torch.save = save_in_halves


def wait_for(path: Path, process: BaseProcess, timeout: float = 120) -> None:
    end = time.monotonic() + timeout
    while not path.exists():
        assert time.monotonic() < end, f"{path.name} did not come"
        assert process.is_alive(), (path.parent / "log.txt").read_text()[-3000:]
        time.sleep(0.01)


def clear(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)


def unfinished(folder: Path) -> list[str]:
    return [path.name for path in folder.rglob(f"{UNFINISHED}*")]


def scalars(folder: Path) -> dict[str, list[tuple[int, float]]]:
    """All that was logged, by its tag: steps and values in their order, of all event files together."""
    found: dict[str, list[tuple[int, float]]] = {}
    for path in (folder / "eval").glob("events.out.tfevents.*"):
        events = EventAccumulator(str(path), size_guidance={"scalars": 0}).Reload()
        for tag in events.Tags()["scalars"]:
            found.setdefault(tag, []).extend((event.step, event.value) for event in events.Scalars(tag))
    return {tag: sorted(series) for tag, series in found.items()}


def assert_same_run(folder: Path, reference: Path) -> None:
    """Bit for bit the same weights, states, threshold and curves, and nothing left behind."""
    for name in ("model.pt", f"checkpoint_epoch={EPOCHS}.pt"):
        mine, its = (torch.load(path / "models" / name, weights_only=True) for path in (folder, reference))
        mine.pop("logs", None), its.pop("logs", None)  # names of event files hold the time
        assert_equal(mine, its, name)
    thresholds = [json.loads((path / "models" / "threshold.json").read_text()) for path in (folder, reference)]
    for found in thresholds:
        found.pop("model_sha256")  # of the file, in which equal weights may be written in other words
    assert thresholds[0] == thresholds[1]
    assert scalars(folder) == scalars(reference)
    assert {path.name for path in (folder / "models").iterdir()} == {
        path.name for path in (reference / "models").iterdir()
    }
    assert unfinished(folder) == []


def assert_equal(mine, its, where):
    if torch.is_tensor(mine):
        assert torch.equal(mine, its), where
    elif isinstance(mine, dict):
        assert mine.keys() == its.keys(), where
        for key in mine:
            assert_equal(mine[key], its[key], f"{where} {key}")
    elif isinstance(mine, (list, tuple)):
        assert len(mine) == len(its), where
        for number, (a, b) in enumerate(zip(mine, its)):
            assert_equal(a, b, f"{where} {number}")
    else:
        assert mine == its, where
