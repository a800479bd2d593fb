# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
"""Check whether a checkpoint can be resumed, before anything else is read."""

from __future__ import annotations

import os
import warnings
from pathlib import Path

import ignite.distributed as idist

from monai_bbox_mil.runs.checkpoint_files import latest_checkpoint
from monai_bbox_mil.runs.checkpoint_loader import read_checkpoint
from monai_bbox_mil.runs.settings import SettingsRecord, as_typed, changed_settings, refuse_changes

__all__ = ["check_resume"]


def check_resume(folder: str | os.PathLike[str], settings: SettingsRecord) -> None:
    """Compare the settings of a run with those of the checkpoint that it is going to resume from.

    Changed settings that a resumed run may have are printed. If the checkpoint has no settings, because an earlier
    version wrote it, a warning says so.

    Args:
        folder: folder with files ``checkpoint_epoch=N.pt``; the latest one is used.
        settings: of the new run; an empty record is not compared.

    Raises:
        FileNotFoundError: when there is no checkpoint.
        ValueError: for changed settings that decide what is learned, for fewer epochs than the training has done, and
            for a file that is not a checkpoint of a training.
    """
    path = latest_checkpoint(folder)
    content = read_checkpoint(path)
    if not isinstance(content, dict) or not isinstance(content.get("trainer"), dict):
        raise ValueError(f"{path}: expected a checkpoint of a training, got a file without the state of a trainer.")
    state, former = content["trainer"], content.get("settings")
    if not settings.values:
        return
    length, max_epochs = state.get("epoch_length") or 1, settings.values.get("max_epochs")
    reached = state["epoch"] if "epoch" in state else state.get("iteration", 0) // length
    if max_epochs is not None and max_epochs < reached:
        raise ValueError(
            f"max_epochs: expected at least {reached}, the epochs that the training which wrote {path} has done, "
            f"got {max_epochs}. Type {as_typed('max_epochs', reached)} or more, or start over with --resume False."
        )
    if not former:
        if idist.get_rank() == 0:
            warnings.warn(
                f"{path}: written by a version that saved no settings in its checkpoints, so they cannot be compared "
                "with those of this run. Give the same data, image, network and loss settings as that training.",
                stacklevel=2,
            )
        return
    obeyed = refuse_changes(changed_settings(former, settings.values), str(path))
    if obeyed and idist.get_rank() == 0:
        changes = ", ".join(f"{name} {new} (it had {old})" for name, (old, new) in obeyed.items())
        print(f"Resumes from {Path(path).name} with settings that differ from its training's: {changes}.")
