# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
"""Find the checkpoint to resume from."""

from __future__ import annotations

import os
import re
import warnings
import zipfile
from pathlib import Path

__all__ = ["latest_checkpoint"]


def latest_checkpoint(folder: str | os.PathLike[str]) -> str:
    """Return the complete checkpoint of the highest epoch that MONAI's ``CheckpointSaver`` left in a folder.

    A truncated file, left by a killed saver or a full disk, is skipped with a warning. :class:`AtomicCheckpointSaver`
    never leaves one.

    Args:
        folder: folder with files named ``checkpoint_epoch=N.pt``.

    Raises:
        FileNotFoundError: when there is none.
    """
    found = {
        int(match[1]): path
        for path in Path(folder).glob("checkpoint_epoch=*.pt")
        if (match := re.fullmatch(r"checkpoint_epoch=(\d+)\.pt", path.name))
    }
    for epoch in sorted(found, reverse=True):
        # torch.save writes a ZIP archive, whose table of contents comes last.
        if zipfile.is_zipfile(found[epoch]):
            return str(found[epoch])
        warnings.warn(f"{found[epoch]} is not complete and is skipped.", stacklevel=2)
    raise FileNotFoundError(
        f"{folder}: no checkpoint_epoch=N.pt to resume from"
        f"{' that is complete' if found else ''}; train without --resume first."
    )
