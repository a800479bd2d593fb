# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
"""Which checkpoint to go on from."""

from __future__ import annotations

import os
import re
from pathlib import Path

__all__ = ["latest_checkpoint"]


def latest_checkpoint(folder: str | os.PathLike) -> str:
    """The checkpoint of the highest epoch that MONAI's ``CheckpointSaver`` left in a folder.

    Args:
        folder: holds files named ``checkpoint_epoch=N.pt``.

    Raises:
        FileNotFoundError: when there is none.
    """
    found = {
        int(match[1]): path
        for path in Path(folder).glob("checkpoint_epoch=*.pt")
        if (match := re.fullmatch(r"checkpoint_epoch=(\d+)\.pt", path.name))
    }
    if not found:
        raise FileNotFoundError(f"{folder}: no checkpoint_epoch=N.pt to resume from; train without --resume first.")
    return str(found[max(found)])
