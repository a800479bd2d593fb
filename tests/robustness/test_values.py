# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
"""Numbers as their files hold them: byte orders, label ids of any size, voxels at both ends of a type."""

from __future__ import annotations

import nibabel
import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from monai.transforms import NormalizeIntensity

from monai_bbox_mil.transforms import (
    EnsureVolumed,
    LabelToChannels,
    LabelToChannelsd,
    LoadCheckedImage,
    LoadCheckedImaged,
    MaskToBoxTensor,
    NormalizeAnyIntensity,
    ThresholdClasses,
)
from tests.robustness.cases import array

SHAPE = (6, 5, 4)
RANDOM = np.random.default_rng(0)
MET_TYPES = {np.int16: "MET_SHORT", np.uint16: "MET_USHORT", np.int32: "MET_INT", np.float32: "MET_FLOAT"}
NRRD_TYPES = {np.int16: "short", np.uint16: "ushort", np.int32: "int", np.float32: "float"}


def metaimage(path, data, dtype, order, key="BinaryDataByteOrderMSB"):
    size, msb = " ".join(map(str, SHAPE)), order == ">"
    local = path.suffix == ".mha"
    header = (
        f"ObjectType = Image\nNDims = 3\nBinaryData = True\n{key} = {msb}\nDimSize = {size}\nElementSpacing = 1 1 2\n"
    )
    header += f"ElementType = {MET_TYPES[dtype]}\nElementDataFile = {'LOCAL' if local else 'a.raw'}\n"
    path.write_bytes(header.encode() + (data if local else b""))
    if not local:
        path.with_name("a.raw").write_bytes(data)


def nrrd(path, data, dtype, order):
    head = f"NRRD0004\ntype: {NRRD_TYPES[dtype]}\ndimension: 3\nsizes: {' '.join(map(str, SHAPE))}\n"
    head += f"endian: {'big' if order == '>' else 'little'}\nencoding: raw\n\n"
    path.write_bytes(head.encode() + data)


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("dtype", MET_TYPES)
@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz", "a.mhd", "a.mha", "a.nrrd", "a.npy"])
def test_either_byte_order(tmp_path, order, dtype, name):
    low, high = (0, 60_000) if dtype is np.uint16 else (-30_000, 30_000)
    voxels = RANDOM.integers(low, high, SHAPE).astype(dtype)
    stored, path = voxels.astype(voxels.dtype.newbyteorder(order)), tmp_path / name
    data = stored.tobytes(order="F")
    if name.endswith(".npy"):
        np.save(path, stored)
    elif name.startswith("a.nii"):
        header = nibabel.Nifti1Header(endianness=order)
        header.set_data_dtype(dtype)
        nibabel.save(nibabel.Nifti1Image(voxels, np.diag([1.0, 1, 2, 1]), header), path)
        assert nibabel.load(path).header.endianness == order
    elif name == "a.nrrd":
        nrrd(path, data, dtype, order)
    else:
        metaimage(path, data, dtype, order, "ElementByteOrderMSB" if name == "a.mhd" else "BinaryDataByteOrderMSB")
    assert np.array_equal(LoadCheckedImage(1)(path)[0], voxels)
    assert np.array_equal(LoadCheckedImage(1, label_map=True)(path)[0], voxels)


@pytest.mark.parametrize("dtype", [np.int32, np.uint32, np.int64, np.float64])
def test_labels_above_2_to_the_24(tmp_path, dtype):
    """As in the Allen mouse brain atlas, whose ids differ by 4; float32 takes steps of 32 there."""
    mask = np.zeros((16, 16, 1), dtype)
    mask[2:6, 2:6], mask[9:14, 9:13] = 312782546, 312782550
    path = tmp_path / "mask.nii.gz"
    nibabel.save(nibabel.Nifti1Image(mask, np.eye(4), dtype=dtype), path)
    load = [LoadCheckedImaged(["mask"], label_map=True), EnsureVolumed("mask")]
    item = {"mask": path}
    for step in (*load, LabelToChannelsd("mask", (312782546, 312782550))):
        item = step(item)
    assert item["mask"].flatten(1).sum(1).tolist() == [16, 20]
    boxes = MaskToBoxTensor((312782546, 312782550))(LoadCheckedImage(label_map=True)(path))
    assert boxes[:, [0, 3, 6]].tolist() == [[2, 6, 0], [9, 14, 1]]
    with pytest.raises(
        ValueError, match=r"mask\.nii\.gz must come in a type that holds .*got torch.float32.*label_map"
    ):
        LabelToChannels((312782546,))(LoadCheckedImage()(path))


def test_labels_that_a_float_file_has_lost(tmp_path):
    for value, dtype, fits in (
        (2.0**24, np.float32, True),
        (2.0**24 + 2, np.float32, False),
        (2.0**53 + 2, float, False),
    ):
        path = array("a.npy", np.full((4, 4), value, dtype))(tmp_path)
        if fits:
            assert int(LoadCheckedImage(label_map=True)(path).max()) == value
        else:
            with pytest.raises(
                ValueError, match=r"a\.npy: expected labels up to \d+, which torch.float\d+ can tell apart"
            ):
                LoadCheckedImage(label_map=True)(path)


@pytest.mark.parametrize(("dtype", "stored", "value"), [(np.uint8, 44, 300), (np.uint8, 0, 256), (np.int16, 4, 65540)])
def test_values_beyond_the_type_of_a_mask_are_not_in_it(tmp_path, dtype, stored, value):
    """Torch alone wraps them into the type, where they equal others."""
    mask = LoadCheckedImage(label_map=True)(array("a.npy", np.full((4, 4), stored, dtype))(tmp_path))
    assert not LabelToChannels((value, 7))(mask).any()
    assert LabelToChannels((stored,))(mask).all()


@pytest.mark.parametrize("dtype", [bool, np.uint8, np.int8, np.uint16, np.int64, np.uint64, np.float16, np.float64])
def test_label_maps_are_whole_numbers_of_any_type(tmp_path, dtype):
    values = RANDOM.integers(0, 2, (4, 5)).astype(dtype)
    mask = LoadCheckedImage(label_map=True)(array("a.npy", values)(tmp_path))
    assert not mask.is_floating_point() and mask.dtype != torch.bool
    assert np.array_equal(mask[0], values)


def test_label_maps_with_fractions_stay_as_they_are(tmp_path):
    mask = LoadCheckedImage(label_map=True)(array("a.npy", np.array([[0.0, 0.25], [1.0, 2.0]]))(tmp_path))
    assert mask.tolist() == [[[0.0, 0.25], [1.0, 2.0]]]
    with pytest.raises(ValueError, match=r"a\.npy must hold whole numbers .*got 0\.25"):
        LabelToChannels((1,))(mask)
    assert LabelToChannels(None)(mask).sum() == 3


CONTRAST = RANDOM.integers(0, 100, SHAPE)


@pytest.mark.parametrize("voxels", [CONTRAST + 10**9, CONTRAST + 1e9, CONTRAST.astype(np.int32) + 2**30], ids=str)
def test_contrast_that_float32_loses_beside_an_offset(tmp_path, voxels):
    with pytest.raises(ValueError, match=r"a\.npy: expected grey levels that float32 can tell apart.*subtract"):
        LoadCheckedImage()(array("a.npy", voxels)(tmp_path))


def test_contrast_that_float32_loses_beside_the_offset_of_a_header(tmp_path):
    image = nibabel.Nifti1Image(CONTRAST.astype(np.int16), np.eye(4))
    image.header.set_slope_inter(0.01, 1e6)
    nibabel.save(image, tmp_path / "a.nii")
    with pytest.raises(ValueError, match=r"a\.nii: expected grey levels that float32 can tell apart"):
        LoadCheckedImage()(tmp_path / "a.nii")


@pytest.mark.parametrize(
    "voxels",
    [
        CONTRAST * 10**6 + 10**9,
        np.full(SHAPE, 10**9 + 1),
        100 + 1e-13 * CONTRAST,  # rounding errors of a constant image
        np.float64(np.float32(0.1)) + CONTRAST * 2.0**-27,  # float32 by origin: nothing is lost
        (CONTRAST * 2**40).astype(np.uint64) + np.uint64(2**63),
        CONTRAST.astype(np.float16),
    ],
    ids=lambda voxels: f"{voxels.dtype} from {voxels.min()}",
)
def test_offsets_that_leave_enough_levels(tmp_path, voxels):
    image = LoadCheckedImage()(array("a.npy", voxels)(tmp_path))
    assert np.allclose(image[0].numpy(), voxels.astype(np.float64), rtol=1e-7)


@pytest.mark.parametrize("scale", [1e-36, 1e-30, 1e-3, 1.0, 1e10, 1e19, 1e25, 3.4e36])
@pytest.mark.parametrize("channel_wise", [False, True])
def test_normalised_voxels_of_any_size(scale, channel_wise):
    image = torch.as_tensor(np.stack([CONTRAST - 50, CONTRAST**2 / 100]) * scale, dtype=torch.float32)
    expected = image.double()
    axes = (1, 2, 3) if channel_wise else (0, 1, 2, 3)
    expected = (expected - expected.mean(axes, keepdim=True)) / expected.std(axes, keepdim=True, unbiased=False)
    found = NormalizeAnyIntensity(channel_wise=channel_wise)(MetaTensor(image))
    assert isinstance(found, MetaTensor)
    assert torch.allclose(found.as_tensor().double(), expected, atol=1e-4)
    if scale < 1e19:
        assert torch.equal(found, NormalizeIntensity(channel_wise=channel_wise)(MetaTensor(image)))


def test_one_large_channel_leaves_the_others_as_they_are():
    image = torch.stack([3e38 * torch.linspace(-1, 1, 24), torch.linspace(0, 1, 24)])
    found = NormalizeAnyIntensity(channel_wise=True)(image.clone())
    assert torch.allclose(found[0], NormalizeIntensity()(torch.linspace(-1, 1, 24)), atol=1e-5)
    assert torch.equal(found[1], NormalizeIntensity(channel_wise=True)(image.clone())[1])
    with pytest.raises(ValueError, match="subtrahend and divisor must not be given"):
        NormalizeAnyIntensity(subtrahend=1.0)


def test_a_prediction_of_nan_names_its_image_and_what_it_may_come_from():
    pred = MetaTensor(torch.full((1, 2, 2), torch.nan), meta={"filename_or_obj": "case7.nii"})
    with pytest.raises(
        ValueError, match=r"pred of case7\.nii must .*Where every image .* weights .*Where only some .*--amp"
    ):
        ThresholdClasses()(pred)
    with pytest.raises(ValueError, match=r"got 2 to 2\.$"):
        ThresholdClasses()(torch.full((1, 2, 2), 2.0))
