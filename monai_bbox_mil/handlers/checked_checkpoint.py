# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
"""Checkpoints that do not fit, told by their file's name."""

from __future__ import annotations

import pickle
import warnings
import zipfile
from pathlib import Path

import ignite.distributed as idist
from ignite.engine import Engine
from monai.handlers import CheckpointLoader

__all__ = ["CheckedCheckpointLoader"]


class CheckedCheckpointLoader(CheckpointLoader):
    """MONAI's ``CheckpointLoader``, which reads weights and never code, with errors that say what to do.

    The arguments are those of MONAI's handler.

    A trainer among what is loaded goes on with epochs of its own length. Where that is not the checkpoint's, because
    there are more or fewer processes, slices or slices a batch now, a warning tells so, and an epoch that had begun
    begins again: MONAI's own would go on with the former length, so that an epoch would be a part of the data, or more
    than all.

    Raises:
        FileNotFoundError: when there is no such file.
        ValueError: for a file that is no checkpoint, is cut short, holds more than weights, or holds those of another
            network.
    """

    def __call__(self, engine: Engine) -> None:
        path = Path(self.load_path)
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
        own_length = engine.state.epoch_length
        try:
            super().__call__(engine)
        except pickle.UnpicklingError as error:
            reason = " ".join(str(error).split()).partition("Unsupported ")[2] or str(error)
            raise ValueError(
                f"{path}: expected weights and nothing else, got a file that asks for more and was not loaded, since "
                f"it might run code: {reason:.160}"
            ) from error
        except (RuntimeError, ValueError, KeyError, TypeError) as error:
            said = " ".join(str(error).split())
            raise ValueError(
                f"{path}: expected the state of {', '.join(self._told())}, got another: {said:.400} ... Give the "
                "settings of the training that wrote it (network_def, in_channels, label_values, spatial_dims)."
            ) from error

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


def _is_whole(path: Path) -> bool:
    """Whether a file is an archive of torch whose parts match their checksums, which torch does not compare."""
    if not zipfile.is_zipfile(path):
        return False
    try:
        with zipfile.ZipFile(path) as archive:
            return any(name.endswith("/data.pkl") for name in archive.namelist()) and archive.testzip() is None
    except zipfile.BadZipFile:
        return False
