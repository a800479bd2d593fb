# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
"""Move what an earlier training left out of the way of a new one."""

from __future__ import annotations

import os
import shlex
import shutil
import time
from collections.abc import Sequence
from pathlib import Path

from monai_bbox_mil.runs.files import find_files, printable, replacing

__all__ = ["set_aside_earlier_run"]


def set_aside_earlier_run(
    ckpt_dir: str | os.PathLike[str],
    output_dir: str | os.PathLike[str],
    results: Sequence[str] = ("model.pt", "threshold.json", "image_settings.json", "model_card.json"),
    logs: Sequence[str] = ("events.out.tfevents.*",),
) -> Path | None:
    """Move checkpoints and curves of an earlier training to a place where it can still be resumed.

    Otherwise the curves of both trainings would be drawn as one. And if the new training were killed in its first
    epoch, a resume would go on with the earlier one. Both kinds of files go to ``earlier/TIME`` in their folder, where
    ``TIME`` is when the earlier training last wrote. Its results beside the checkpoints are copied there, because the
    new training will replace them but may start from them. A checkpoint of epoch 0 contains nothing learned and is
    deleted.

    Call it before the new training opens a log, while no other run uses the folders (:class:`RunLock`), and with
    several processes in only one of them.

    Args:
        ckpt_dir: folder with files named ``checkpoint_epoch=N.pt``, if there was an earlier training.
        output_dir: folder of the logs; may be the same folder.
        results: names of files in ``ckpt_dir``.
        logs: file name patterns in ``output_dir``.

    Returns:
        the folder of the earlier checkpoints, which is also printed with the options that resume them; ``None`` if
        there were none.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     _ = Path(folder, "checkpoint_epoch=0.pt").write_bytes(b"")
        ...     set_aside_earlier_run(folder, folder)
        ...     list(Path(folder).iterdir())
        []
    """
    ckpt_dir, output_dir = Path(ckpt_dir), Path(output_dir)
    (ckpt_dir / "checkpoint_epoch=0.pt").unlink(missing_ok=True)
    checkpoints = find_files(ckpt_dir, ["checkpoint_epoch=*.pt"])
    events = find_files(output_dir, logs)
    if not checkpoints and not events:
        return None
    written = max(path.stat().st_mtime for path in checkpoints + events)
    name, number = time.strftime("%Y-%m-%d_%H-%M-%S", time.localtime(written)), 1
    places = [folder / "earlier" / name for folder in (ckpt_dir, output_dir)]
    while any(place.exists() for place in places):  # two trainings that ended within one second
        number += 1
        places = [place.with_name(f"{name}_{number}") for place in places]
    # Wherever this is interrupted, a resume finds no checkpoint, or the complete earlier training at its old place.
    for result in find_files(ckpt_dir, results) if checkpoints else []:
        with replacing(places[0] / result.name) as copy:
            shutil.copy2(result, copy)
    for paths, place in ((checkpoints, places[0]), (events, places[1])):
        for path in paths:
            place.mkdir(parents=True, exist_ok=True)  # may be a link to another disk
            _move(path, place / path.name)
    if not checkpoints:
        print(printable(f"Curves of an earlier training are now in {places[1]}."))
        return None
    ckpt_option, output_option = (shlex.quote(str(place)) for place in places)
    print(
        printable(
            f"An earlier training is now in {places[0]}. Delete it, or go on with it: "
            f"--resume True --ckpt_dir {ckpt_option} --output_dir {output_option}"
        )
    )
    return places[0]


def _move(path: Path, target: Path) -> None:
    """Move a file, or a link to a file, which still leads to the same file afterwards."""
    if path.is_symlink():
        target.symlink_to(path.resolve())
        path.unlink()
    else:
        shutil.move(path, target)
