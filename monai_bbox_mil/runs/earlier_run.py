# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
"""What an earlier training left in the folders of a new one."""

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
    """Move checkpoints and curves of an earlier training out of the way of a new one, to where it can be resumed.

    Left where they are, curves of both trainings would be drawn as one; and had the new one been killed in its first
    epoch, a resume would go on with the earlier one. They go to ``earlier/TIME`` in either folder, where ``TIME`` is
    when the earlier training last wrote. Its results beside the checkpoints, which the new training is going to
    replace, are copied there, and stay for who wants to begin with them. A checkpoint of epoch 0 holds nothing learned
    and is deleted.

    Call it before the new training opens a log, and when no other is at work there (:class:`RunLock`); with several
    processes in one of them.

    Args:
        ckpt_dir: holds files named ``checkpoint_epoch=N.pt``, if there was an earlier training.
        output_dir: holds logs; may be the same folder.
        results: names of files in ``ckpt_dir``.
        logs: patterns of names of files in ``output_dir``.

    Returns:
        the folder of the earlier checkpoints, which is printed with what to do to go on with them; ``None`` where there
        were none.

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
    while any(place.exists() for place in places):  # two that ended within one second
        number += 1
        places = [place.with_name(f"{name}_{number}") for place in places]
    # Whatever moment this is stopped at, a resume finds no checkpoint, or all of the earlier training is in its place.
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
    """Move a file, or a link to one, which leads to the same file afterwards."""
    if path.is_symlink():
        target.symlink_to(path.resolve())
        path.unlink()
    else:
        shutil.move(path, target)
