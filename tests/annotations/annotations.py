# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
"""Annotations of one box in one image, which tests of their reading share."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import torch
from monai.data import MetaTensor

FILES = Path(__file__).parent / "files"
CLASSES = ("prostate", "tumour")
SHAPE = (20, 16, 12)
BOX = [4, 3, 2, 10, 8, 6]
WHOLE = [0, 0, 0, 20, 16, 12]
# Left-handed, unequal spacings (mm) and an offset, so that a mixed-up axis, sign or half voxel shows.
AFFINE = torch.tensor([[-2, 0, 0, 38], [0, 2, 0, -10], [0, 0, 3, 5], [0, 0, 0, 1]], dtype=torch.float64)
FLAT = {"shape": (20, 16), "affine": torch.eye(4, dtype=torch.float64), "name": "/data/train/slice1.png"}
EXAMPLES = {
    "detection.json": ({}, [BOX, WHOLE]),
    "roi.mrk.json": ({}, [BOX, WHOLE]),
    "table.csv": ({}, [BOX, WHOLE]),
    "coco.json": (FLAT, [[4, 3, 10, 8], [0.5, 1, 20, 15.5]]),
    "yolo.txt": (FLAT, [[4, 3, 10, 8], [0.5, 1, 20, 15.5]]),
    "cvat.xml": (FLAT, [[4, 3, 10, 8], [0.5, 1, 20, 15.5]]),
    "label_studio.json": (FLAT, [[4, 3, 10, 8], [0.5, 1, 20, 15.5]]),
}
CSV_HEADER = "x_min,y_min,x_max,y_max,z_min,z_max\n"


def make_image(shape=SHAPE, box=None, affine=AFFINE, name="/data/case1.nii.gz", **meta) -> MetaTensor:
    """A mask as ``LoadImage`` would give it: ones in a box."""
    mask = torch.zeros(1, *shape)
    if box is not None:
        mask[(0, *(slice(a, b) for a, b in zip(box[: len(shape)], box[len(shape) :], strict=True)))] = 1
    meta = {"filename_or_obj": name, "original_affine": affine.numpy(), "spatial_shape": np.array(shape), **meta}
    return MetaTensor(mask, affine=affine, meta={key: value for key, value in meta.items() if value is not None})


def tight_box(mask: torch.Tensor) -> list[int]:
    """Half-open box of what is above a half in a mask."""
    where = (mask[0] > 0.5).nonzero()
    return [*where.amin(dim=0).tolist(), *(where.amax(dim=0) + 1).tolist()]


def write(path: Path, content: object) -> Path:
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def roi(**changes) -> dict:
    """A markups file of one ROI that is BOX; a value of None takes the key away."""
    markup = {"type": "ROI", "coordinateSystem": "RAS", "center": [25, 0, 15.5], "size": [12, 10, 12], **changes}
    return {"markups": [{key: value for key, value in markup.items() if value is not None}]}


def coco(bbox=(4, 3, 6, 5), category_id=0, **changes) -> dict:
    """A COCO file of one image and one box."""
    annotation = {"image_id": 1, "bbox": list(bbox), "category_id": category_id}
    return {"images": [{"id": 1, "file_name": "case1.nii.gz"}], "annotations": [annotation], **changes}


def rotation(degrees: float) -> torch.Tensor:
    c, s = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    matrix = torch.eye(4, dtype=torch.float64)
    matrix[:2, :2] = torch.tensor([[c, -s], [s, c]])
    return matrix
