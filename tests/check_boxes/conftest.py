# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import nibabel
import numpy as np
import pytest

from monai_bbox_mil.check_boxes import CheckOptions, CheckResult, check_items
from monai_bbox_mil.data import get_datalist

# Voxels are 2 mm wide and x runs to the left, with an offset: numbers in mm are no voxels.
AFFINE = np.array([[-2.0, 0, 0, 100], [0, 2, 0, -300], [0, 0, 2, 40], [0, 0, 0, 1]])


class DataSet:
    """Images, masks and a data list in a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.parts: dict[str, list[dict]] = {"training": [], "validation": []}

    def add(self, name="a", shape=(40, 30, 1), part="training", objects=None, seed=None, **entry) -> dict:
        """One image of noise, with a mask where ``objects`` (boxes that are filled) are given, and its entry."""
        rng = np.random.default_rng([ord(letter) for letter in name] if seed is None else seed)
        self.save(f"{name}.nii.gz", rng.integers(0, 200, shape).astype(np.int16))
        item = {"image": f"{name}.nii.gz", "patient": f"patient {name}", **entry}
        if objects is not None:
            mask = np.zeros(shape, dtype=np.uint8)
            for x0, y0, z0, x1, y1, z1, *value in objects:
                mask[x0:x1, y0:y1, z0:z1] = value[0] if value else 1
            self.save(f"{name}_mask.nii.gz", mask)
            item["mask"] = f"{name}_mask.nii.gz"
        self.parts[part].append(item)
        return item

    def save(self, name: str, voxels: np.ndarray) -> Path:
        nibabel.Nifti1Image(voxels, AFFINE).to_filename(self.folder / name)
        return self.folder / name

    def write(self, name: str = "datalist.json") -> Path:
        path = self.folder / name
        path.write_text(json.dumps(self.parts))
        return path

    def check(self, **options) -> CheckResult:
        self.write()
        return check_items(get_datalist(self.folder, check=False), CheckOptions(**options))


@pytest.fixture
def data(tmp_path: Path) -> DataSet:
    return DataSet(tmp_path)


@pytest.fixture
def clean(data: DataSet) -> Callable[[], DataSet]:
    """A data set without defect: boxes alone, boxes with a mask, a mask alone."""

    def make() -> DataSet:
        data.add("a", box=[[5, 6, 15, 20]])
        data.add("b", box=[[5, 6, 15, 20], [20, 3, 30, 9]], objects=[(5, 6, 0, 15, 20, 1), (20, 3, 0, 30, 9, 1)])
        data.add("c", part="validation", objects=[(5, 6, 0, 15, 20, 1)])
        return data

    return make
