# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
"""Image files that are at fault, through the first transforms of training and inference."""

from __future__ import annotations

import re

import numpy as np
import pytest
import torch
from monai.transforms import Compose

from monai_bbox_mil.transforms import EnsureVolumed, LoadCheckedImaged, NormalizeAnyIntensityd
from tests.robustness.cases import AFFINE, SHAPE, VOXELS, array, content, header_float, metaimage, nifti, picture

LOAD = Compose(
    [LoadCheckedImaged("image", 1), EnsureVolumed("image"), NormalizeAnyIntensityd("image", channel_wise=True)]
)
UNREADABLE = r"expected an image that can be read, got \w+"


def spoilt(value):
    voxels = VOXELS.copy()
    voxels[1, 2, 3] = value
    return voxels


EXTENSIONS = (".nii", ".nii.gz", ".mhd", ".mha", ".nrrd", ".png", ".jpg", ".bmp", ".tif", ".npy")
REFUSED = {
    **{f"empty file {e}": (content("a" + e, b""), UNREADABLE) for e in EXTENSIONS},
    **{f"text named {e}": (content("a" + e, "this is no image"), UNREADABLE) for e in EXTENSIONS},
    "nifti cut short": (nifti("a.nii", edit=lambda b: b[:1000]), "OSError: Expected 2880 bytes, got 648"),
    "nifti cut in its header": (nifti("a.nii", edit=lambda b: b[:200]), UNREADABLE),
    "gzip cut short": (nifti("a.nii.gz", edit=lambda b: b[: len(b) // 2]), "EOFError"),
    "gzip with a wrong byte": (nifti("a.nii.gz", edit=lambda b: b[:900] + b"\0\0\0\0" + b[904:]), UNREADABLE),
    "png cut short": (picture("a.png", 9, 9, cut=50), UNREADABLE),
    "png without its head": (content("a.png", b"\x89PNG"), UNREADABLE),
    "nifti named png": (content("a.png", b"\x5c\x01\0\0" + b"\0" * 400), UNREADABLE),
    "png named nifti": (content("a.nii", b"\x89PNG\r\n\x1a\n" + b"\0" * 400), UNREADABLE),
    "nifti named gzip": (content("a.nii.gz", b"\x5c\x01\0\0" + b"\0" * 400), "BadGzipFile"),
    "mhd without raw": (metaimage(raw=None), "data file of its header beside it"),
    "mhd with short raw": (metaimage(raw=b"\0" * 500), UNREADABLE),
    "mhd with empty raw": (metaimage(raw=b""), UNREADABLE),
    "mhd larger than its raw": (metaimage(DimSize="12 10 60"), UNREADABLE),
    "mhd of unknown type": (metaimage(ElementType="MET_FOO"), UNREADABLE),
    "mhd without voxels": (metaimage(DimSize="0 10 6"), r"at least one voxel, got the shape \(1, 0, 10, 6\)"),
    "mhd with zero spacing": (metaimage(ElementSpacing="0 2 3"), "Zero-valued spacing"),
    "mhd with NaN spacing": (metaimage(ElementSpacing="nan 2 3"), "Zero-valued spacing"),
    "NaN spacing": (nifti("a.nii", edit=header_float(80, float("nan"))), r"an affine with a spacing above 0 .*nan"),
    "infinite spacing": (nifti("a.nii", edit=header_float(84, float("inf"))), "an affine with a spacing above 0"),
    "NaN voxel": (nifti("a.nii", spoilt(np.nan)), "expected finite voxels, got 1 of 720"),
    "infinite voxel": (nifti("a.nii", spoilt(np.inf)), "expected finite voxels, got 1 of 720"),
    "all NaN": (nifti("a.nii", VOXELS * np.nan), "expected finite voxels, got 720 of 720"),
    "too large for float32": (nifti("a.nii", VOXELS.astype(np.float64) * 1e300), "too large for float32"),
    "time series": (nifti("a.nii", np.stack([VOXELS] * 3, -1)), r"expected 1 channel\(s\), got 3 .*in_channels"),
    "rgb": (picture("a.png", 9, 8, 3), r"expected 1 channel\(s\), got 3 of \(8, 9\) voxels; a colour image"),
    "rgba": (picture("a.png", 9, 8, 4), "expected an opaque picture, got 72 of 72 pixels"),
    "rgb jpeg": (picture("a.jpg", 9, 8, 3), r"expected 1 channel\(s\), got 3"),
    "complex": (array("a.npy", VOXELS.astype(np.complex64)), "expected real voxels, got .*complex64"),
    "strings": (array("a.npy", np.array([["a"]])), "expected real voxels|can be read"),
    "pickled objects": (array("a.npy", np.array([{}], dtype=object), True), "can be read.*pickle"),
    "no voxels": (array("a.npy", VOXELS[:0]), "expected at least one voxel"),
    "one axis": (array("a.npy", VOXELS[:, 0, 0]), "2 or 3 spatial axes"),
    "a folder": (lambda folder: folder, "expected DICOM slices in the folder, got none"),
    "unknown extension": (content("a.xyz", "a"), UNREADABLE),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refused_by_name(tmp_path, case):
    make, message = REFUSED[case]
    path = make(tmp_path)
    with pytest.raises(RuntimeError) as error:  # MONAI's, which names the transform
        LOAD({"image": str(path)})
    cause = error.value.__cause__
    assert isinstance(cause, ValueError)
    assert str(cause).startswith(str(path))
    assert re.search(message, str(cause))


def test_a_missing_file_is_a_missing_file(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"none\.nii: expected an image file, got nothing there"):
        LoadCheckedImaged("image")({"image": str(tmp_path / "none.nii")})


def spacing(expected):
    return lambda image: torch.allclose(image.affine.diagonal()[:3].abs(), torch.tensor(expected, dtype=torch.float64))


ACCEPTED = {
    "constant": (nifti("a.nii", VOXELS * 0 + 7), lambda image: torch.equal(image, torch.zeros_like(image))),
    "one slice": (nifti("a.nii", VOXELS[..., :1]), lambda image: image.shape == (1, 12, 10, 1)),
    "two axes": (nifti("a.nii", VOXELS[..., 0]), lambda image: image.shape == (1, 12, 10, 1)),
    "one voxel": (nifti("a.nii", VOXELS[:1, :1, :1]), lambda image: image.shape == (1, 1, 1, 1)),
    "one time point": (nifti("a.nii", VOXELS[..., None]), lambda image: image.shape == (1, *SHAPE)),
    "bool": (array("a.npy", VOXELS > 100), lambda image: len(image.unique()) == 2),
    "uint16": (nifti("a.nii", (VOXELS * 600).astype(np.uint16)), lambda image: len(image.unique()) > 700),
    "uint32 beyond int32": (nifti("a.nii", (VOXELS * 2e7).astype(np.uint32)), lambda image: image.std() > 0.9),
    "int64 beyond float32's whole numbers": (
        array("a.npy", (VOXELS * 1e15).astype(np.int64)),
        lambda image: image.std() > 0.9,
    ),
    "zero spacing is 1 mm in nifti": (nifti("a.nii", edit=header_float(80, 0.0)), spacing([1.0, 2, 3])),
    "negative spacing is positive in nifti": (nifti("a.nii", edit=header_float(80, -2.0)), spacing([2.0, 2, 3])),
    "negative spacing mirrors a MetaImage": (metaimage(ElementSpacing="-2 2 3"), spacing([2.0, 2, 3])),
    "raw longer than its header says": (metaimage(DimSize="12 10 3"), lambda image: image.shape == (1, 12, 10, 3)),
    "mirrored affine": (nifti("a.nii", affine=AFFINE * [-1, 1, 1, 1]), spacing([2.0, 2, 3])),
}


@pytest.mark.parametrize("case", ACCEPTED)
def test_accepted_as_documented(tmp_path, case):
    make, holds = ACCEPTED[case]
    image = LOAD({"image": str(make(tmp_path))})["image"]
    assert torch.isfinite(image).all()
    assert holds(image)


def test_a_colour_image_for_a_network_of_three_channels(tmp_path):
    assert LoadCheckedImaged("image", 3)({"image": picture("a.png", 9, 8, 3)(tmp_path)})["image"].shape == (3, 8, 9)


def test_channels_and_kinds_are_one_per_key():
    with pytest.raises(ValueError, match=r"num_channels must be one number per key \(2\), got \[1\]"):
        LoadCheckedImaged(["image", "mask"], [1])
    with pytest.raises(ValueError, match=r"label_map must be one bool per key \(2\), got \[True\]"):
        LoadCheckedImaged(["image", "mask"], label_map=[True])
