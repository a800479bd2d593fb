# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
"""What the tables of this folder share: files that are at fault on purpose, and what must be said of them."""

from __future__ import annotations

import json
import struct
from pathlib import Path

import nibabel
import numpy as np
from PIL import Image

SHAPE = (12, 10, 6)
VOXELS = np.random.default_rng(0).normal(100, 10, SHAPE).astype(np.float32)
RAW = VOXELS.tobytes()
AFFINE = np.diag([2.0, 2.0, 3.0, 1.0])


def nifti(name, voxels=VOXELS, affine=AFFINE, edit=None):
    """Maker of a NIfTI file, whose bytes ``edit`` changes."""

    def make(folder: Path) -> Path:
        path = folder / name
        nibabel.save(nibabel.Nifti1Image(voxels, affine, dtype=voxels.dtype), path)
        if edit is not None:
            path.write_bytes(edit(path.read_bytes()))
        return path

    return make


def metaimage(name="a.mhd", raw=RAW, **changes):
    """Maker of a MetaImage header and, unless ``raw`` is ``None``, its data file."""

    def make(folder: Path) -> Path:
        fields = {
            "ObjectType": "Image",
            "NDims": 3,
            "BinaryData": True,
            "ElementSpacing": "2 2 3",
            "DimSize": "12 10 6",
        }
        fields |= {"ElementType": "MET_FLOAT", **changes, "ElementDataFile": "a.raw"}
        (folder / name).write_text("".join(f"{key} = {value}\n" for key, value in fields.items()))
        if raw is not None:
            (folder / "a.raw").write_bytes(raw)
        return folder / name

    return make


def picture(name, *shape, cut=None):
    """Maker of a PNG or JPEG of this shape, cut short after some bytes."""

    def make(folder: Path) -> Path:
        path = folder / name
        Image.fromarray(np.full(shape, 90, dtype=np.uint8)).save(path)
        path.write_bytes(path.read_bytes()[:cut])
        return path

    return make


def array(name, voxels, allow_pickle=False):
    """Maker of a NumPy file."""

    def make(folder: Path) -> Path:
        np.save(folder / name, voxels, allow_pickle=allow_pickle)
        return folder / name

    return make


def content(name, data):
    """Maker of a file of text, bytes or JSON."""

    def make(folder: Path) -> Path:
        path = folder / name
        if isinstance(data, bytes):
            path.write_bytes(data)
        else:
            path.write_text(data if isinstance(data, str) else json.dumps(data))
        return path

    return make


def header_float(offset, value):
    """An edit of a NIfTI header's 4 bytes, whose spacing then counts alone: no qform, no sform."""
    return lambda b: b[:offset] + struct.pack("<f", value) + b[offset + 4 : 252] + struct.pack("<hh", 0, 0) + b[256:]


def causes(error) -> str:
    """All messages of an error and of what it came from."""
    found = []
    while error is not None:
        found.append(f"{type(error).__name__}: {error}")
        error = error.__cause__ or error.__context__
    return "\n".join(found)
