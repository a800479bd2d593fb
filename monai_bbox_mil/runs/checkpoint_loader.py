# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
"""Checkpoints that do not fit, told by their file's name."""

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
    """MONAI's ``CheckpointLoader``, which reads weights and never code, with errors that say what to do.

    The arguments are those of MONAI's handler.

    A trainer among what is loaded goes on with epochs of its own length. Where that is not the checkpoint's, because
    there are more or fewer processes, slices or slices a batch now, a warning tells so, and an epoch that had begun
    begins again: MONAI's own would go on with the former length, so that an epoch would be a part of the data, or more
    than all.

    An optimizer and its scheduler go on with the learning rate and other options that they were made with, see
    :class:`ResumedSchedule`.

    Raises:
        FileNotFoundError: when there is no such file.
        ValueError: for a file that is no checkpoint, is cut short, holds more than weights, or holds those of another
            network.
    """

    def __call__(self, engine: Engine) -> None:
        path, given = Path(self.load_path), self.load_dict
        records = [target for target in given.values() if isinstance(target, SettingsRecord)]
        if records:
            held = read_checkpoint(path)  # those of earlier versions hold no settings
            self.load_dict = {n: t for n, t in given.items() if n in held or not isinstance(t, SettingsRecord)}
            if absent := [repr(name) for name in self.load_dict if name not in held]:
                self.load_dict = given
                raise ValueError(
                    f"{path}: expected a checkpoint of this training, got a file without {', '.join(absent)}. Give the "
                    "settings of the training that wrote it, or begin anew with --resume False."
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
                f"{path}: expected the state of {', '.join(self._told())}, got another: {said:.400} ... Give the "
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
                f"{self.load_path}: written by a training with {former} steps an epoch, and this one has {length}, as "
                "with another number of processes, batch_size or number of slices. It goes on "
                f"{f'from the beginning of epoch {epoch + 1}' if steps else f'after epoch {epoch}'}, to other weights "
                "than the training that wrote it would have come to.",
                stacklevel=2,
            )
        state.epoch_length, state.epoch, state.iteration = length, epoch, epoch * length

    def _told(self) -> list[str]:
        return [f"{name!r} ({type(target).__name__})" for name, target in self.load_dict.items()]


def _check_whole(path: Path) -> None:
    """Refuse what is no complete file of torch.

    Raises:
        FileNotFoundError, ValueError: naming the file.
    """
    if not path.is_file():
        raise FileNotFoundError(
            f"{path}: expected a checkpoint, got no such file; train first, or give its folder as ckpt_dir."
        )
    # torch.load would read what is no archive as a bare pickle, as torch before 1.6 wrote it.
    if not _is_whole(path):
        raise ValueError(
            f"{path}: expected a checkpoint as torch.save writes it, got {path.stat().st_size} bytes that are none,"
            " were cut short or altered."
        )


def read_checkpoint(path: str | os.PathLike[str]) -> Any:
    """What a checkpoint holds: weights, which are read from the file only when they are used, and never code.

    Args:
        path: of the file.

    Raises:
        FileNotFoundError: when there is no such file.
        ValueError: for a file that is no checkpoint, is cut short, or holds more than weights.
    """
    _check_whole(Path(path))
    try:
        return torch.load(path, map_location="cpu", mmap=True, weights_only=True)
    except pickle.UnpicklingError as error:
        raise _might_run_code(Path(path), error) from error


def _might_run_code(path: Path, error: Exception) -> ValueError:
    reason = " ".join(str(error).split()).partition("Unsupported ")[2] or str(error)
    return ValueError(
        f"{path}: expected weights and nothing else, got a file that asks for more and was not loaded, since it might "
        f"run code: {reason:.160}"
    )


def _is_whole(path: Path) -> bool:
    """Whether a file is an archive of torch whose parts match their checksums, which torch does not compare."""
    if not zipfile.is_zipfile(path):
        return False
    try:
        with zipfile.ZipFile(path) as archive:
            return any(name.endswith("/data.pkl") for name in archive.namelist()) and archive.testzip() is None
    except zipfile.BadZipFile:
        return False
