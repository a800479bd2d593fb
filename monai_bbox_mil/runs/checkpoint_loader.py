# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
"""Load checkpoints, with errors that name the file and say what to do."""

from __future__ import annotations

import os
import pickle
import warnings
import zipfile
from pathlib import Path
from typing import Any

import ignite.distributed as idist
import torch
from ignite.engine import Engine
from monai.handlers import CheckpointLoader

from monai_bbox_mil.runs.resumed_schedule import ResumedSchedule
from monai_bbox_mil.runs.settings import SettingsRecord, changed_settings

__all__ = ["CheckedCheckpointLoader"]


class CheckedCheckpointLoader(CheckpointLoader):
    """MONAI's ``CheckpointLoader`` for weights only, never code, with errors that say what to do.

    The arguments are those of MONAI's handler.

    A trainer in ``load_dict`` goes on with epochs of its own length. The length may differ from the checkpoint's,
    because there are now more or fewer processes, slices or slices per batch. A warning then says so, and an unfinished
    epoch starts again. MONAI's own loader would keep the old length, so that an epoch would be a part of the data, or
    more than all of it.

    An optimizer and its scheduler keep the learning rate and other options that they were made with, see
    :class:`ResumedSchedule`.

    Raises:
        FileNotFoundError: when there is no such file.
        ValueError: when the file is not a checkpoint, is truncated, contains more than weights, or contains those of
            another network.
    """

    def __call__(self, engine: Engine) -> None:
        path, given = Path(self.load_path), self.load_dict
        records = [target for target in given.values() if isinstance(target, SettingsRecord)]
        if records:
            held = read_checkpoint(path)  # earlier versions saved no settings
            self.load_dict = {n: t for n, t in given.items() if n in held or not isinstance(t, SettingsRecord)}
            if absent := [repr(name) for name in self.load_dict if name not in held]:
                self.load_dict = given
                raise ValueError(
                    f"{path}: expected a checkpoint of this training, got a file without {', '.join(absent)}. Give the "
                    "settings of the training that wrote it, or start over with --resume False."
                )
        else:
            _check_whole(path)
        own_length = engine.state.epoch_length
        made = ResumedSchedule(given.values())
        try:
            super().__call__(engine)
        except pickle.UnpicklingError as error:
            raise _might_run_code(path, error) from error
        except (RuntimeError, ValueError, KeyError, TypeError) as error:
            said = " ".join(str(error).split())
            raise ValueError(
                f"{path}: expected the state of {', '.join(self._contents())}, got another: {said:.400} ... Give the "
                "settings of the training that wrote it (network_def, in_channels, label_values, spatial_dims)."
            ) from error
        finally:
            self.load_dict = given
        made.obey(any("learning_rate" in changed_settings(each.former, each.values) for each in records))
        if own_length and engine in self.load_dict.values():
            self._keep_length(engine, own_length)

    def _keep_length(self, engine: Engine, length: int) -> None:
        state, former = engine.state, engine.state.epoch_length
        if former in (None, length):
            return
        epoch, steps = divmod(state.iteration, former)
        if idist.get_rank() == 0:
            warnings.warn(
                f"{self.load_path}: written by a training with {former} steps per epoch, but this one has {length}, "
                "because of another number of processes, batch_size or number of slices. It goes on "
                f"{f'from the beginning of epoch {epoch + 1}' if steps else f'after epoch {epoch}'}, and its weights "
                "will differ from those of an uninterrupted training.",
                stacklevel=2,
            )
        state.epoch_length, state.epoch, state.iteration = length, epoch, epoch * length

    def _contents(self) -> list[str]:
        return [f"{name!r} ({type(target).__name__})" for name, target in self.load_dict.items()]


def _check_whole(path: Path) -> None:
    """Refuse a file that is not a complete checkpoint of torch.

    Raises:
        FileNotFoundError, ValueError: naming the file.
    """
    if not path.is_file():
        raise FileNotFoundError(
            f"{path}: expected a checkpoint, got no such file; train first, or give its folder as ckpt_dir."
        )
    # torch.load would read anything but an archive as a bare pickle, as torch before 1.6 wrote it.
    if not _is_whole(path):
        raise ValueError(
            f"{path}: expected a checkpoint as torch.save writes it, got {path.stat().st_size} bytes that are "
            "not one, or were cut short or altered."
        )


def read_checkpoint(path: str | os.PathLike[str]) -> Any:
    """Read a checkpoint without ever running its code. Weights are read from the file only when they are used.

    Args:
        path: of the file.

    Raises:
        FileNotFoundError: when there is no such file.
        ValueError: when the file is not a checkpoint, is truncated, or contains more than weights.
    """
    _check_whole(Path(path))
    try:
        return torch.load(path, map_location="cpu", mmap=True, weights_only=True)
    except pickle.UnpicklingError as error:
        raise _might_run_code(Path(path), error) from error


def _might_run_code(path: Path, error: Exception) -> ValueError:
    reason = " ".join(str(error).split()).partition("Unsupported ")[2] or str(error)
    return ValueError(
        f"{path}: expected weights and nothing else, got a file that asks for more. It was not loaded, because it "
        f"might run code: {reason:.160}"
    )


def _is_whole(path: Path) -> bool:
    """Return whether a file is a torch archive whose parts match their checksums, which torch itself does not check."""
    if not zipfile.is_zipfile(path):
        return False
    try:
        with zipfile.ZipFile(path) as archive:
            return any(name.endswith("/data.pkl") for name in archive.namelist()) and archive.testzip() is None
    except zipfile.BadZipFile:
        return False
