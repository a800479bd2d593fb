# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
"""Keep what exports know about images, for a run that goes on later or is split over several machines."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path

from monai_bbox_mil.exports.interface import Export, OneFile
from monai_bbox_mil.runs.files import replacing

__all__ = ["load_records", "save_records"]


def save_records(exports: Sequence[Export], path: str | os.PathLike[str]) -> None:
    """Write to a JSON file what exports with one file for all images have collected.

    Args:
        exports: of :func:`.make_exports`. Those with a file per image need nothing and are left out.
        path: of the file; its folder is created if needed.

    Raises:
        OSError: when the file cannot be written.
    """
    found = {each.name: {"class_names": each.class_names, "records": each.records} for each in _with_one_file(exports)}
    with replacing(path) as unfinished:
        unfinished.write_text(json.dumps(found), encoding="utf-8")


def load_records(exports: Sequence[Export], path: str | os.PathLike[str]) -> None:
    """Add to exports what :func:`save_records` wrote, except for images that they already have.

    Args:
        exports: of :func:`.make_exports`, for the same classes. Formats that only the file has are left out.
        path: of the file.

    Raises:
        FileNotFoundError: when there is no such file.
        ValueError: when it is no such file, lacks one of the exports, or is about other classes.

    Example:
        >>> import tempfile
        >>> import numpy as np
        >>> from monai_bbox_mil.exports import Prediction, make_exports
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     first, second = (make_exports("csv", folder, ["lesion"]) for _ in range(2))
        ...     first[0].add(Prediction(np.ones((1, 4, 4)), [1], ["lesion"], "a.png"))
        ...     save_records(first, f"{folder}/part1.json")
        ...     load_records(second, f"{folder}/part1.json")
        ...     [record[0]["voxels"] for record in second[0].records.values()]
        [16]
    """
    try:
        found = json.loads(Path(path).read_text(encoding="utf-8"))
        known = {name: (tuple(part["class_names"]), dict(part["records"])) for name, part in found.items()}
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise ValueError(f"{path}: expected records of exports, got something else ({error}).") from error
    for each in _with_one_file(exports):
        if each.name not in known:
            raise ValueError(
                f"{path}: expected records of the export {each.name}, got those of {', '.join(known) or 'none'}. "
                "Predict these images again with this export."
            )
        class_names, records = known[each.name]
        if class_names != each.class_names:
            raise ValueError(f"{path}: expected the classes {list(each.class_names)}, got {list(class_names)}.")
        each.records = records | each.records


def _with_one_file(exports: Sequence[Export]) -> list[OneFile]:
    return [each for each in exports if isinstance(each, OneFile)]
