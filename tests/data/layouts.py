# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
"""Folders in the layouts of data sets, with empty files."""

from __future__ import annotations

import json
from pathlib import Path


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
