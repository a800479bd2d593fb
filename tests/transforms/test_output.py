# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
"""Values and places of the masks that are written."""

from __future__ import annotations

import os
from pathlib import Path

import itk
import nibabel
import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from PIL import Image

from monai_bbox_mil.transforms import SaveLikeInput, ThresholdClasses, mask_path
from monai_bbox_mil.transforms.output import _same_voxels

LARGE = [(1006, 2035), (65535, 3), (70000, 2), (2**24 + 1, 5), (2**31 + 5, 7)]


def probabilities(path, shape=(6, 5, 4)):
    prob = torch.zeros(2, *shape)
    prob[0, 2:4, 1:3] = 0.9
    prob[1, 4:, 3:] = 0.9
    return MetaTensor(prob, affine=torch.diag(torch.tensor([2.0, 3, 4, 1])), meta={"filename_or_obj": str(path)})


def read(path):
    """Voxels of a mask in the axes of MONAI, by the library of its format."""
    if path.suffix == ".png":
        return np.asarray(Image.open(path)).T
    if ".nii" in path.name:
        return np.asanyarray(nibabel.load(path).dataobj)
    return itk.array_from_image(itk.imread(str(path))).T


def save(folder, path, values, shape=(6, 5, 4)):
    SaveLikeInput(folder / "masks")(ThresholdClasses(0.5, values)(probabilities(path, shape)))
    (written,) = (p for p in (folder / "masks").iterdir() if p.suffix != ".raw")
    return read(written)


def expected(values, shape):
    mask = np.zeros(shape, np.int64)
    mask[2:4, 1:3], mask[4:, 3:] = values
    return mask


@pytest.mark.parametrize("values", LARGE)
@pytest.mark.parametrize("extension", [".nii.gz", ".nii", ".mhd", ".mha", ".nrrd"])
def test_label_values_above_255_are_written_as_they_are(tmp_path, extension, values):
    found = save(tmp_path, tmp_path / f"a{extension}", values)
    smallest = next(t for t in (np.uint8, np.uint16, np.int32, np.uint32) if max(values) <= np.iinfo(t).max)
    assert found.dtype == smallest
    assert np.array_equal(found, expected(values, (6, 5, 4)))


@pytest.mark.parametrize("values", [(1, 255), (256, 1), (65535, 3)])
def test_png_holds_16_bits(tmp_path, values):
    found = save(tmp_path, tmp_path / "a.png", values, (6, 5))
    assert found.dtype == (np.uint8 if max(values) < 256 else np.uint16)
    assert np.array_equal(found, expected(values, (6, 5)))


def test_png_refuses_more_than_it_holds(tmp_path):
    with pytest.raises(ValueError, match=r"label_values: .* from 0 to 65535, which a file \.png can hold, .* 70000"):
        save(tmp_path, tmp_path / "a.png", (70000, 2), (6, 5))
    assert not list((tmp_path / "masks").glob("*")) if (tmp_path / "masks").exists() else True


@pytest.mark.parametrize("values", [(-1, 2), (1.5, 2), (1, 2**32), (), "12", 3, (True,), ("1",), (float("nan"),)])
def test_label_values_that_no_mask_can_hold_are_refused(values):
    with pytest.raises(ValueError, match="label_values: expected one whole number from 0 to 4294967295 per class"):
        ThresholdClasses(0.5, values)


@pytest.mark.parametrize("values", [[1, 2], (3.0, 7), np.array([5, 6]), [0, 1], range(2)])
def test_label_values_of_other_kinds_are_taken(values):
    prob = torch.tensor([[[0.9, 0.1]], [[0.1, 0.9]]])
    assert ThresholdClasses(0.5, values)(prob).tolist() == [[[int(value) for value in values]]]


def test_one_class_of_a_large_value_keeps_its_meta_data():
    mask = ThresholdClasses(0.5, [2035])(probabilities("a.nii")[:1])
    assert (mask.dtype, mask.max().item(), mask.meta["filename_or_obj"]) == (torch.int32, 2035, "a.nii")
    two = ThresholdClasses(0.5, [2035, 1])(probabilities("a.nii"))
    assert two.meta["filename_or_obj"] == "a.nii"


def test_a_file_is_compared_in_its_true_type():
    """As uint8, 256 and 0 were one."""
    assert not _same_voxels(torch.zeros(2, 2, dtype=torch.int32), torch.full((1, 2, 2), 256, dtype=torch.int32))
    assert _same_voxels(torch.full((2, 2), 1, dtype=torch.uint8), torch.ones(1, 2, 2, 1))


@pytest.mark.parametrize("value", [0.5, -1.0, 2.0**33, float("nan")])
def test_a_mask_of_no_labels_is_refused(tmp_path, value):
    mask = torch.zeros(1, 3, 3, 3)
    mask[0, 1, 1, 1] = value
    with pytest.raises(ValueError, match="expected a mask of whole numbers from 0 to 4294967295"):
        SaveLikeInput(tmp_path)(MetaTensor(mask, meta={"filename_or_obj": "a.nii"}))


@pytest.mark.parametrize("dtype", [torch.bool, torch.float32, torch.int64, torch.uint16, torch.float16])
def test_masks_of_any_type_are_written(tmp_path, dtype):
    mask = torch.zeros(1, 3, 4, 5).to(dtype)
    mask[0, 1, 2, 3] = 1
    SaveLikeInput(tmp_path)(MetaTensor(mask, meta={"filename_or_obj": "a.nii.gz"}))
    found = read(tmp_path / "a_segmentation.nii.gz")
    assert found.dtype == np.uint8
    assert np.argwhere(found).tolist() == [[1, 2, 3]]


def one_voxel(image):
    return MetaTensor(torch.ones(1, 2, 2, 2), meta={"filename_or_obj": str(image)})


def link(folder, target):
    try:
        folder.symlink_to(target, target_is_directory=True)
    except OSError:
        pytest.skip("links cannot be made here")
    return folder


@pytest.mark.parametrize("way", ["plain", "dots", "link", "underscore"])
def test_a_mask_does_not_replace_its_image(tmp_path, way):
    image = tmp_path / "images" / "a.nii.gz"
    image.parent.mkdir()
    image.write_bytes(b"the image")
    folder = {
        "dots": tmp_path / "images" / ".." / "images",
        "link": link(tmp_path / "link", image.parent) if way == "link" else None,
    }.get(way, image.parent)
    with pytest.raises(ValueError, match="output_dir .*, output_postfix .*: expected another file than the image"):
        SaveLikeInput(folder, "_" if way == "underscore" else "")(one_voxel(image))
    assert image.read_bytes() == b"the image"


def test_a_mask_does_not_replace_what_its_image_is_a_link_to(tmp_path):
    (tmp_path / "store").mkdir()
    (tmp_path / "store" / "a_segmentation.nii").write_bytes(b"the image")
    link(tmp_path / "a.nii", tmp_path / "store" / "a_segmentation.nii")
    with pytest.raises(ValueError, match="which its mask would replace"):
        SaveLikeInput(tmp_path / "store")(one_voxel(tmp_path / "a.nii"))


def test_two_images_do_not_write_one_mask(tmp_path):
    saver = SaveLikeInput(tmp_path / "masks")
    saver(one_voxel("x/a.nii"))
    saver(one_voxel("x/a.nii"))  # again, as on a server
    with pytest.raises(ValueError, match=r"would hold the masks of two images, x/a\.nii and y/a\.nii"):
        saver(one_voxel("y/a.nii"))
    (tmp_path / "masks" / "a_segmentation.nii").rename(tmp_path / "kept.nii")
    saver(one_voxel("y/a.nii"))  # the first one was taken away


@pytest.mark.parametrize(
    ("image", "root", "below"),
    [
        ("/data/images/a.nii", "/data/images", "a_seg.nii"),
        ("/data/images/x/y/a.nii", "/data/images/", "x/y/a_seg.nii"),
        ("/data/images/x/../a.nii", "/data/images", "a_seg.nii"),
        ("/data/images/a.nii", "/data/other/../images", "a_seg.nii"),
        ("/data/images/..a.nii", "/data/images", "..a_seg.nii"),
        ("/data/images/x/a.B.NII.GZ", "/data/images", "x/a.B_seg.nii.gz"),
        ("/data/images/a.JPEG", "", "a_seg.png"),
        ("/a.nii", "/", "a_seg.nii"),
    ],
)
@pytest.mark.parametrize("postfix", ["_seg", "seg"])
def test_masks_lie_below_output_dir(image, root, below, postfix):
    assert mask_path(image, "/out/masks", postfix, root) == Path("/out/masks") / below


@pytest.mark.parametrize("root", ["/data/images", "/data/other/images", "/data/othe", "other"])
def test_an_image_outside_of_the_root_is_refused(root):
    with pytest.raises(ValueError, match=r"data_root_dir .*: expected a folder that holds the image .*x\.nii\.gz"):
        mask_path("/data/other/x.nii.gz", "/out/masks", data_root_dir=root)


def test_a_root_that_is_a_link_holds_its_images(tmp_path):
    (tmp_path / "real" / "x").mkdir(parents=True)
    link(tmp_path / "link", tmp_path / "real")
    for image, root in ((tmp_path / "real", tmp_path / "link"), (tmp_path / "link", tmp_path / "real")):
        assert mask_path(image / "x" / "a.nii", "m", data_root_dir=root) == Path("m/x/a_segmentation.nii")


def test_a_series_in_the_root_and_below(tmp_path):
    (tmp_path / "one.two").mkdir()
    assert mask_path(tmp_path / "one.two", "m", data_root_dir=tmp_path) == Path("m/one.two_segmentation.nii.gz")
    assert mask_path(tmp_path / "one.two", "m", data_root_dir=tmp_path / "one.two").name.startswith("one.two_seg")


@pytest.mark.parametrize("postfix", ["/x", "../x", "..\\x", "a/b", "\0", 2, None])
def test_a_postfix_names_no_folder(postfix):
    with pytest.raises(ValueError, match="output_postfix .*: expected a part of a file's name"):
        mask_path("a.nii", "m", postfix)


ODD_NAMES = ["$(rm x)", "-rf", "a b", "new\nline", "äöü", "名前", "#1@%", os.fsdecode(b"caf\xe9")]


@pytest.mark.skipif(os.name != "posix", reason="these names are POSIX's")
@pytest.mark.parametrize("name", ODD_NAMES)
@pytest.mark.parametrize("extension", [".nii.gz", ".mhd", ".mha", ".nrrd", ".png"])
def test_masks_of_odd_names(tmp_path, name, extension):
    mask = torch.zeros((1, 4, 5) if extension == ".png" else (1, 4, 5, 3))
    mask[0, 1:3, 2:4] = 1
    mask = MetaTensor(mask, meta={"filename_or_obj": f"{name}{extension}"})
    if (name == ODD_NAMES[-1] and extension in (".mhd", ".mha", ".nrrd")) or (
        name == "new\nline" and extension == ".mhd"
    ):
        with pytest.raises(ValueError, match="expected a name without line breaks, in UTF-8"):
            SaveLikeInput(tmp_path)(mask)
        return
    SaveLikeInput(tmp_path)(mask)
    written = {path.name for path in tmp_path.iterdir()} - {f"{name}_segmentation.raw"}
    assert written == {f"{name}_segmentation{extension}"}
