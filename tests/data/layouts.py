# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
"""Folders in the layouts of data sets, with files that are empty or hold one box."""

from __future__ import annotations

import json
from pathlib import Path

from monai_bbox_mil.data import annotated_datalist
from tests.annotations.annotations import roi


def touch(*paths: Path) -> None:
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def write_cases(folder: Path, numbers) -> None:
    for number in numbers:
        touch(
            *(folder / f"Case{number:02d}{end}" for end in (".mhd", ".raw", "_segmentation.mhd", "_segmentation.raw"))
        )


def write_list(folder: Path, content: object, name: str = "datalist.json") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(content if isinstance(content, str) else json.dumps(content))
    return folder


def patients(items) -> list[str]:
    return [item["patient"] for item in items]


BOXES = {"box": [[1, 2, 5, 6]]}


def fill(folder: Path, *names: str) -> Path:
    """Write files: ROIs, boxes, YOLO lines or masks by their names, and images of no content."""
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        content = {".mrk.json": json.dumps(roi()), ".json": json.dumps(BOXES), ".txt": "0 .5 .5 .5 .5\n"}
        content[".csv"] = "x_min,y_min,x_max,y_max\n1,2,5,6\n"
        path.write_text(next((text for end, text in content.items() if name.endswith(end)), ""))
    return folder


def found(folder: Path) -> dict[str, object]:
    """Annotation by image, relative to the folder."""

    def relative(value):
        return [relative(v) for v in value] if isinstance(value, list) else Path(value).relative_to(folder).as_posix()

    (items,) = (annotated_datalist(folder) or {"": []}).values()
    return {relative(item["image"]): relative(item.get("box") or item.get("mask")) for item in items}
