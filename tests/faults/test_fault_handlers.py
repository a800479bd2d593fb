# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
"""The handlers against faults, each by itself on engines of a few lines."""

from __future__ import annotations

import errno
import signal
import threading

import pytest
import torch
from ignite.engine import Engine, Events
from monai.data import DataLoader, Dataset
from monai.handlers import CheckpointLoader
from monai.transforms import RandGaussianNoise
from torch.utils.data import RandomSampler

from monai_bbox_mil.runs import (
    AtomicCheckpointSaver,
    StepSeeder,
    StopOnNaN,
    StopOnSignal,
    fault_advice,
    latest_checkpoint,
)
from monai_bbox_mil.runs.files import replacing


def files(folder):
    return sorted(path.name for path in folder.iterdir())


def trainer_with(step=lambda engine, batch: None):
    return Engine(step)


# --- checkpoints ------------------------------------------------------------------------------------------------------
def test_a_disk_that_is_full_costs_the_new_checkpoint_only(tmp_path, monkeypatch):
    save, saves = torch.save, []

    def save_on_a_small_disk(content, path):
        save(content, path)
        saves.append(path)
        if len(saves) == 3:  # of epoch 0, 1 and 2
            path.write_bytes(path.read_bytes()[:100])
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(torch, "save", save_on_a_small_disk)
    trainer = trainer_with()
    content = {"trainer": trainer, "network": torch.nn.Linear(1, 1)}
    AtomicCheckpointSaver(str(tmp_path), content, save_interval=1, n_saved=1).attach(trainer)
    with pytest.raises(OSError, match="No space left"):
        trainer.run([0], max_epochs=3)
    assert files(tmp_path) == ["checkpoint_epoch=1.pt"]
    assert torch.load(tmp_path / "checkpoint_epoch=1.pt", weights_only=True)["trainer"]["iteration"] == 1


def test_checkpoints_of_a_former_training_are_not_taken_for_the_latest(tmp_path):
    for name in ("checkpoint_epoch=2.pt", "checkpoint_epoch=60.pt", ".unfinished_checkpoint_epoch=61.pt", "model.pt"):
        torch.save({}, tmp_path / name)
    seen = []
    trainer = trainer_with(lambda *_: seen.append(files(tmp_path)))
    content = {"trainer": trainer, "network": torch.nn.Linear(1, 1)}
    AtomicCheckpointSaver(str(tmp_path), content, save_interval=1, n_saved=2).attach(trainer)
    trainer.run([0], max_epochs=3)
    former = ["checkpoint_epoch=2.pt", "checkpoint_epoch=60.pt"]
    assert seen[0] == ["checkpoint_epoch=0.pt", *former, "model.pt"]  # for who has begun by mistake
    assert seen[1] == ["checkpoint_epoch=0.pt", "checkpoint_epoch=1.pt", "model.pt"]
    assert files(tmp_path) == ["checkpoint_epoch=2.pt", "checkpoint_epoch=3.pt", "model.pt"]


def test_a_resumed_run_replaces_the_best_model_by_a_better_one_only(tmp_path):
    network = torch.nn.Linear(1, 1)

    def validate(losses, best=None):
        evaluator = Engine(lambda *_: None)
        evaluator.state.key_metric_name = "val_loss"
        evaluator.state.best_metric, evaluator.state.best_metric_epoch = best or (-1, -1)
        saver = AtomicCheckpointSaver(
            str(tmp_path),
            {"model": network},
            save_key_metric=True,
            key_metric_filename="model.pt",
            key_metric_negative_sign=True,
        )
        saver.attach(evaluator)
        saved = []
        for loss in losses:
            evaluator.state.metrics["val_loss"] = loss
            network.weight.data.fill_(loss)
            evaluator.run([0])
            saved.append(round(torch.load(tmp_path / "model.pt", weights_only=True)["weight"].item(), 3))
        return saved

    assert validate([3.0, 2.0, 4.0]) == [3.0, 2.0, 2.0]
    assert validate([5.0, 2.5, 1.0], best=(2.0, 2)) == [2.0, 2.0, 1.0]
    (tmp_path / "model.pt").unlink()  # nothing is there to be kept
    assert validate([5.0], best=(1.0, 6)) == [5.0]


def test_half_a_checkpoint_is_passed_over(tmp_path):
    for epoch in (1, 2):
        torch.save({"a": torch.zeros(1000)}, tmp_path / f"checkpoint_epoch={epoch}.pt")
    half = tmp_path / "checkpoint_epoch=2.pt"
    half.write_bytes(half.read_bytes()[:-100])
    with pytest.warns(UserWarning, match="epoch=2.pt is not complete"):
        assert latest_checkpoint(tmp_path).endswith("=1.pt")
    (tmp_path / "checkpoint_epoch=1.pt").unlink()
    with pytest.warns(UserWarning), pytest.raises(FileNotFoundError, match="to resume from that is complete"):
        latest_checkpoint(tmp_path)


def test_an_error_while_writing_leaves_the_former_file(tmp_path):
    path = tmp_path / "scores.csv"
    path.write_text("former")
    with pytest.raises(KeyboardInterrupt), replacing(path) as unfinished:
        unfinished.write_text("ne")
        raise KeyboardInterrupt
    assert files(tmp_path) == ["scores.csv"]
    assert path.read_text() == "former"


# --- randomness -------------------------------------------------------------------------------------------------------
class Noisy:
    """Sees which items come, with which noise, and what the step itself draws."""

    def __init__(self, folder=None, epoch_length=None, until=None, **loader_options):
        options = {"shuffle": True, "batch_size": 2, **loader_options}
        self.loader = DataLoader(Dataset(torch.arange(10.0)[:, None], RandGaussianNoise(prob=0.7)), **options)
        self.seen = []
        self.trainer = Engine(lambda engine, batch: self.seen.append((*batch.flatten().tolist(), torch.rand(1).item())))
        StepSeeder(seed=3).attach(self.trainer)
        content = {"trainer": self.trainer, "network": torch.nn.Linear(1, 1)}
        if folder is not None:
            if any(folder.iterdir()):
                CheckpointLoader(latest_checkpoint(folder), content).attach(self.trainer)
            AtomicCheckpointSaver(str(folder), content, save_interval=1, n_saved=1).attach(self.trainer)
        if until:
            event = Events.ITERATION_COMPLETED(once=until)
            self.trainer.add_event_handler(event, lambda engine: engine.terminate(skip_completed=True))
        self.trainer.run(self.loader, max_epochs=3, epoch_length=epoch_length)


@pytest.mark.parametrize("epoch_length", [None, 3, 7])  # 5 batches are in the loader
@pytest.mark.parametrize("until", [1, 4, 8])
def test_a_run_that_was_stopped_in_an_epoch_sees_what_it_would_have_seen(tmp_path, until, epoch_length):
    torch.manual_seed(5)
    whole = Noisy(epoch_length=epoch_length).seen
    torch.manual_seed(6)
    parts = [Noisy(tmp_path, epoch_length, until).seen, Noisy(tmp_path, epoch_length).seen]
    assert len(parts[0]) == until
    assert sum(parts, []) == whole
    assert len({draw for _, _, draw in whole}) == len(whole)
    assert whole[0] != whole[epoch_length or 5]


def test_a_loader_with_generators_and_one_with_workers_are_seeded_too(tmp_path):
    def seen():
        generator = torch.Generator().manual_seed(torch.seed() % 1000)
        sampler = RandomSampler(range(10), generator=generator)
        options = {"shuffle": False, "sampler": sampler, "generator": torch.Generator(), "num_workers": 1}
        return Noisy(**options).seen

    assert seen() == seen()


def test_workers_whose_randomness_no_checkpoint_holds_are_refused():
    with pytest.raises(ValueError, match="persistent_workers=False: .* Dataset has no seed_items"):
        Noisy(num_workers=1, persistent_workers=True)


# --- NaN --------------------------------------------------------------------------------------------------------------
def test_weights_that_are_no_numbers_are_not_saved(tmp_path):
    network = torch.nn.Linear(1, 1)

    def step(engine, _):
        if engine.state.epoch == 2:
            network.weight.data.fill_(float("inf"))
        return {"loss": torch.tensor(1.0)}

    trainer = trainer_with(step)
    StopOnNaN(network).attach(trainer)
    content = {"network": network, "trainer": trainer}
    AtomicCheckpointSaver(str(tmp_path), content, save_interval=1, n_saved=1).attach(trainer)
    with pytest.raises(FloatingPointError, match=r"1 weights of the network \(weight, ...\) are not finite after iter"):
        trainer.run([0], max_epochs=3)
    assert files(tmp_path) == ["checkpoint_epoch=1.pt"]


# --- signals ----------------------------------------------------------------------------------------------------------
def test_signals_are_heard_in_the_main_thread_and_given_back(tmp_path):
    received, heard = [], []

    def before(number, _):
        received.append(number)

    former = signal.signal(signal.SIGTERM, before)
    trainer = trainer_with(lambda *_: heard.append(signal.getsignal(signal.SIGTERM) is not before))
    StopOnSignal().attach(trainer)
    trainer.run([0])
    thread = threading.Thread(target=trainer.run, args=([0],))
    thread.start()
    thread.join()
    assert heard == [True, False]
    assert signal.getsignal(signal.SIGTERM) is before

    def step(*_):
        raise ValueError("of another kind")

    failing = trainer_with(step)
    StopOnSignal().attach(failing)
    with pytest.raises(ValueError, match="of another kind"):
        failing.run([0])
    signal.raise_signal(signal.SIGTERM)
    assert received == [signal.SIGTERM]
    assert signal.getsignal(signal.SIGTERM) is before
    signal.signal(signal.SIGTERM, former)


def test_unknown_signals_are_reported():
    with pytest.raises(ValueError, match=r"names such as SIGTERM, got \['SIGNOTHING'\]"):
        StopOnSignal(["SIGNOTHING"])


def test_a_signal_in_the_last_step_of_an_epoch_lets_the_epoch_end(tmp_path):
    trainer = trainer_with(
        lambda engine, _: signal.raise_signal(signal.SIGUSR1) if engine.state.iteration == 4 else None
    )
    ended = []
    trainer.add_event_handler(Events.EPOCH_COMPLETED, lambda engine: ended.append(engine.state.epoch))
    AtomicCheckpointSaver(
        str(tmp_path), {"trainer": trainer, "network": torch.nn.Linear(1, 1)}, save_interval=5, n_saved=1
    ).attach(trainer)
    StopOnSignal(["SIGUSR1"]).attach(trainer)
    with pytest.raises(SystemExit) as leaving:
        trainer.run([0, 1], max_epochs=4)
    assert leaving.value.code == 128 + signal.SIGUSR1
    assert ended == [1, 2]
    assert files(tmp_path) == ["checkpoint_epoch=2.pt"]  # though only every fifth would have been saved


# --- advice -----------------------------------------------------------------------------------------------------------
def wrapped(error):
    outer = RuntimeError("applying transform <Spacingd>")
    outer.__cause__ = error
    return outer


@pytest.mark.parametrize(
    ("error", "what", "to_do"),
    [
        (torch.OutOfMemoryError("CUDA out of memory."), "GPU", "make batch_size (now 8) smaller; set amp (now False)"),
        (RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"), "GPU", "make batch_size"),
        (
            RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory"),
            "machine",
            "make cache_rate (now 1.0)",
        ),
        (wrapped(MemoryError()), "machine", "make cache_rate"),
        (RuntimeError("[gloo/transport/tcp/pair.cc:553] Connection closed by peer"), "another process", "resume"),
        (OSError(errno.ENOMEM, "Cannot allocate memory"), "machine", "make cache_rate"),
        (RuntimeError("DataLoader worker (pid 7) is killed by signal: Killed. "), "process", "num_workers (now 4)"),
        (RuntimeError("DataLoader worker (pid(s) 7) exited unexpectedly"), "process", "num_workers (now 4)"),
        (RuntimeError("DataLoader worker (pid 7) is killed by signal: Bus error."), "shared memory", "--shm-size"),
        (OSError(errno.ENOSPC, "No space left on device"), "disk", "Make room and resume. /no/such/folder: no such"),
        (
            RuntimeError("Caught OSError in DataLoader worker process 0.\nOSError: [Errno 28] No space left on device"),
            "shared memory",
            "num_workers (now 4)",
        ),
        (wrapped(FileNotFoundError(2, "No such file or directory", "a.nii")), "file", "a.nii"),
        (
            RuntimeError("Caught RuntimeError in DataLoader worker process 0.\nFileNotFoundError: a.nii"),
            "file",
            "a.nii",
        ),
    ],
)
def test_errors_of_other_libraries_are_reported_with_what_to_do(error, what, to_do):
    options = {"batch_size": 8, "image_size": [96, 96], "amp": False, "cache_rate": 1.0, "num_workers": 4}
    told = fault_advice(error, options, ["/no/such/folder"])
    assert told is not None
    assert what in told[0]
    assert to_do in told[1]


def test_nothing_is_advised_that_cannot_be_done():
    advice = fault_advice(torch.OutOfMemoryError("CUDA out of memory."), {"batch_size": 1, "amp": True})
    assert advice == ("the memory of the GPU is used up", "A machine with more memory is needed.")
    assert fault_advice(RuntimeError("shape mismatch")) is None


# --- advice that works ------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("options", "value", "told", "not_told"),
    [
        (
            {"learning_rate": 0.001, "amp": True, "checkpoint_interval": 1},
            1.0,
            "lower learning_rate (now 0.001) and turn half precision off. The latest checkpoint is older than this "
            "error: resume from it with --resume True --learning_rate 0.0001 --amp False",
            "start over",
        ),
        (
            {"learning_rate": 0.001, "amp": False, "checkpoint_interval": 0},
            1.0,
            "lower learning_rate (now 0.001). No checkpoint is kept (checkpoint_interval 0), so start over with "
            "--learning_rate 0.0001",
            "half precision",
        ),
        (
            {"learning_rate": 0.1, "amp": False, "checkpoint_interval": 1},  # the optimizer was given another one
            1.0,
            "lower the learning rate. The latest checkpoint is older than this error: resume from it with "
            "--resume True",
            "--learning_rate",
        ),
        ({"learning_rate": 0.001, "amp": True, "checkpoint_interval": 1}, float("nan"), "Repair these images", "--amp"),
        ({}, 1.0, "turn half precision off. No checkpoint was touched.", "--resume"),
    ],
)
def test_after_nan_only_what_works_is_advised(options, value, told, not_told):
    trainer = trainer_with(lambda engine, batch: {"loss": torch.tensor(float("nan"))})
    trainer.optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.001)
    StopOnNaN(case_names=lambda batch: ["a"], options=options).attach(trainer)
    with pytest.raises(FloatingPointError) as error:
        trainer.run([{"image": torch.full((1, 1, 2, 2), value)}])
    assert told in str(error.value)
    assert not_told not in str(error.value)
