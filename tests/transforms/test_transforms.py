# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import nibabel
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from monai.apps.detection.transforms.dictionary import RandFlipBoxd, RandRotateBox90d, ZoomBoxd
from monai.data import MetaTensor
from monai.transforms import Compose, LoadImage, SaveImaged
from PIL import Image
from scipy import ndimage

from monai_bbox_mil import transforms
from monai_bbox_mil.transforms import (
    BoxTensorToMaskd,
    EnsureVolume,
    EnsureVolumed,
    LabelToChannels,
    LoadBoxesd,
    MaskToBoxTensor,
    MaskToBoxTensord,
    PackBoxes,
    PackBoxesd,
    SaveLikeInput,
    SaveLikeInputd,
    ThresholdClasses,
    UnpackBoxesd,
)
from tests.strategies import random_object, seeds, tight_box


def scene():
    """Two objects of class 1, one of class 2 that touches a corner of the first, in 8x9 pixels."""
    mask = torch.zeros(1, 8, 9, dtype=torch.uint8)
    mask[0, 1:3, 1:4] = 1
    mask[0, 5:8, 6:9] = 1
    mask[0, 3:5, 4:6] = 2
    return mask


def rows(box_tensor):
    return sorted(box_tensor.tolist())


def test_boxes_of_a_label_map_and_of_its_one_hot():
    expected = [[1, 1, 3, 4, 0], [3, 4, 5, 6, 1], [5, 6, 8, 9, 0]]
    assert rows(MaskToBoxTensor(label_values=(1, 2))(scene())) == expected
    one_hot = LabelToChannels((1, 2))(scene())
    assert rows(MaskToBoxTensor()(one_hot)) == expected
    assert rows(MaskToBoxTensor(label_values=(2,))(scene())) == [[3, 4, 5, 6, 0]]


def test_the_mask_is_left_as_it_was():
    mask = scene()
    MaskToBoxTensor(label_values=(1, 2), margin=2, min_size=5)(mask)
    assert torch.equal(mask, scene())


def test_connectivity_decides_whether_a_diagonal_joins():
    mask = (scene() > 0).float()
    assert len(MaskToBoxTensor(connectivity=1)(mask)) == 3
    assert rows(MaskToBoxTensor(connectivity=2)(mask)) == [[1, 1, 8, 9, 0]]


@pytest.mark.parametrize("slice_dim", [None, 0, 2])
def test_at_connectivity_zero_each_voxel_has_its_box(slice_dim):
    mask = (torch.rand(2, 4, 5, 3, generator=torch.Generator().manual_seed(0)) > 0.6).to(torch.uint8)
    found = MaskToBoxTensor(connectivity=0, slice_dim=slice_dim)(mask)
    assert torch.equal(found[:, 3:6], found[:, :3] + 1)
    assert rows(found[:, [6, 0, 1, 2]]) == mask.nonzero().tolist()
    assert MaskToBoxTensor(connectivity=0, slice_dim=slice_dim)(torch.zeros(2, 4, 5, 3)).shape == (0, 7)


def test_margin_is_clipped_and_small_components_are_ignored():
    loose = MaskToBoxTensor(label_values=(1, 2), margin=(2, 1), min_size=6)(scene())
    assert rows(loose) == [[0, 0, 5, 5, 0], [1, 3, 7, 7, -3], [3, 5, 8, 9, 0]]


def test_random_margins_are_each_sides_own_and_always_the_same():
    mask = torch.zeros(1, 64, 64)
    mask[0, 10:20, 10:20] = mask[0, 40:50, 30:50] = 1
    tight, fixed = MaskToBoxTensor()(mask), MaskToBoxTensor(margin=4)(mask)
    loose = MaskToBoxTensor(margin=4, margin_seed=0)(mask)
    drawn = (tight - loose).abs()[:, :-1]
    assert len(drawn.unique()) == 8
    assert ((drawn > 0) & (drawn < 4)).all()
    assert (loose[:, :2] < tight[:, :2]).all()
    assert (loose[:, 2:4] > tight[:, 2:4]).all()
    assert (loose[:, :2] > fixed[:, :2]).all()
    mask[0, 40:50] = 0
    assert torch.equal(MaskToBoxTensor(margin=4, margin_seed=0)(mask), loose[:1])
    assert not torch.equal(MaskToBoxTensor(margin=4, margin_seed=1)(mask), loose[:1])
    volume = MaskToBoxTensor(margin=4, margin_seed=0, slice_dim=-1)(mask[..., None])
    assert volume[0, [2, 5]].tolist() == [0, 1]
    assert MaskToBoxTensor(margin=4, margin_seed=0)(mask * 0).shape == (0, 5)


def test_boxes_of_a_volume_per_slice_and_in_3d():
    mask = torch.zeros(1, 6, 6, 4)
    mask[0, 1:3, 1:3, 0] = 1
    mask[0, 2:5, 1:3, 1] = 1
    mask[0, 5, 5, 3] = 1
    assert rows(MaskToBoxTensor()(mask)) == [[1, 1, 0, 5, 3, 2, 0], [5, 5, 3, 6, 6, 4, 0]]
    per_slice = [[1, 1, 0, 3, 3, 1, 0], [2, 1, 1, 5, 3, 2, 0], [5, 5, 3, 6, 6, 4, 0]]
    assert rows(MaskToBoxTensor(slice_dim=-1)(mask)) == per_slice
    assert rows(MaskToBoxTensor(slice_dim=-1, margin=1)(mask))[0] == [0, 0, 0, 4, 4, 1, 0]
    assert len(MaskToBoxTensor(slice_dim=0)(mask)) == 5


@given(seed=seeds, size=st.one_of(st.tuples(st.integers(1, 9), st.integers(1, 9)), st.tuples(*[st.integers(1, 5)] * 3)))
def test_an_object_gets_its_tight_box(seed, size):
    voxels = random_object(seed, size)
    mask = torch.zeros(1, *size)
    for voxel in voxels:
        mask[(0, *voxel)] = 1
    assert MaskToBoxTensor()(mask).tolist() == [[*tight_box(voxels), 0]]


def test_no_object_no_box():
    assert MaskToBoxTensor()(torch.zeros(1, 4, 4)).shape == (0, 5)
    assert MaskToBoxTensor(slice_dim=2)(torch.zeros(2, 4, 4, 3)).shape == (0, 7)


@pytest.mark.parametrize(
    ("options", "mask", "message"),
    [
        ({}, torch.zeros(4, 4), r"mask must have the shape \(C, H, W\) or \(C, H, W, Z\), got \(4, 4\)"),
        ({}, scene(), r"mask must hold only 0 and 1 unless label_values .* got the values \[0, 1, 2\] in 1 channel"),
        ({}, torch.full((1, 2, 2), torch.nan), "mask must hold finite numbers"),
        ({"slice_dim": 0}, scene(), "slice_dim needs a mask with three spatial axes"),
        ({"connectivity": 0, "min_size": 2}, None, "min_size must be 0 with connectivity 0.*got 2"),
        ({"connectivity": -1}, None, "connectivity must be at least 0, got -1"),
        ({"margin": -1}, None, "margin must be at least 0 voxels, got -1"),
        ({"min_size": -1}, None, "min_size must be at least 0 voxels, got -1"),
    ],
)
def test_bad_masks_and_options_are_told(options, mask, message):
    with pytest.raises(ValueError, match=message):
        MaskToBoxTensor(**options)(mask)


@pytest.mark.parametrize("seed", range(8))
def test_boxes_follow_flips_and_quarter_turns_exactly(seed):
    moves = [
        RandFlipBoxd("image", "box", "image", prob=0.5, spatial_axis=0),
        RandFlipBoxd("image", "box", "image", prob=0.5, spatial_axis=1),
        RandRotateBox90d("image", "box", "image", prob=1.0),
    ]
    pipeline = Compose([UnpackBoxesd("label"), *moves, PackBoxesd("box")]).set_random_state(seed)
    mask = scene().float()
    moved = pipeline({"image": mask, "label": MaskToBoxTensor(label_values=(1, 2), min_size=6)(mask)})
    assert set(moved) == {"image", "label"}
    assert rows(moved["label"]) == rows(MaskToBoxTensor(label_values=(1, 2), min_size=6)(moved["image"]))


def test_boxes_follow_a_zoom():
    zoom = ZoomBoxd("image", "box", "image", zoom=[2.0, 2.0], mode="nearest", padding_mode="constant", keep_size=False)
    data = Compose([MaskToBoxTensord("image", label_values=(1, 2)), UnpackBoxesd("label"), zoom, PackBoxesd("box")])(
        {"image": scene().float()}
    )
    assert rows(data["label"]) == rows(MaskToBoxTensor(label_values=(1, 2))(data["image"]))


def test_an_image_without_boxes_goes_the_same_way():
    flip = RandFlipBoxd("image", "box", "image", prob=1.0, spatial_axis=0)
    data = {"image": torch.zeros(1, 4, 4), "label": torch.empty(0, 5)}
    assert Compose([UnpackBoxesd("label"), flip, PackBoxesd("box")])(data)["label"].shape == (0, 5)


def test_pack_snaps_clips_and_drops():
    boxes = [[0.2, -1, 2, 2], [9, 9, 10, 10], [1, 1, 3, 3]]
    packed = PackBoxes()(np.array(boxes, dtype=np.float32), np.array([0, 1, 1]), (4, 4), ignored=[False, False, True])
    assert packed.tolist() == [[0, 0, 2, 2, 0], [1, 1, 3, 3, -3]]
    assert PackBoxes()(torch.empty(0, 4), torch.empty(0), (4, 4)).shape == (0, 5)


def test_boxes_from_a_file_to_a_mask_and_back(tmp_path):
    path = tmp_path / "boxes.csv"
    path.write_text("x_min,y_min,x_max,y_max,label\n1,2,3,5,lesion\n4,4,6,6,lesion\n")
    data = {"image": MetaTensor(torch.zeros(1, 8, 8)), "box": str(path)}
    data = Compose([LoadBoxesd(classes=["organ", "lesion"]), PackBoxesd(), BoxTensorToMaskd(num_classes=2)])(data)
    assert rows(data["label"]) == [[1, 2, 3, 5, 1], [4, 4, 6, 6, 1]]
    assert data["box_mask"].shape == (2, 8, 8)
    assert rows(MaskToBoxTensor()(data["box_mask"])) == rows(data["label"])


def test_missing_keys_are_told_or_passed_over():
    for wrapper in (MaskToBoxTensord("mask"), LoadBoxesd(), PackBoxesd(), UnpackBoxesd(), BoxTensorToMaskd()):
        with pytest.raises(KeyError, match="Key `.*` of transform"):
            wrapper({})
    for wrapper in (MaskToBoxTensord("mask", allow_missing_keys=True), PackBoxesd(allow_missing_keys=True)):
        assert wrapper({"image": 1}) == {"image": 1}
    with pytest.raises(ValueError, match="box_keys must name one key for each of"):
        MaskToBoxTensord(["a", "b"], box_keys="label")


@pytest.mark.parametrize("name", [n for n in transforms.__all__ if n.endswith("d") and n[:-1] in transforms.__all__])
def test_every_wrapper_has_monais_aliases(name):
    wrapper = getattr(transforms, name)
    assert getattr(transforms, name[:-1] + "D") is getattr(transforms, name[:-1] + "Dict") is wrapper


def test_files_of_one_class_are_joined():
    files = torch.stack([scene()[0] == 1, scene()[0] == 2]).to(torch.uint8)
    assert torch.equal(LabelToChannels((1,))(files)[0] > 0, scene()[0] > 0)
    assert torch.equal(LabelToChannels(None)(files * 254), LabelToChannels((1,))(files))
    with pytest.raises(ValueError, match="mask must be a label map of one channel for the values"):
        LabelToChannels((1, 2))(files)
    with pytest.raises(ValueError, match="label_values must name at least one value"):
        LabelToChannels(())


def test_a_mask_without_the_named_values_is_told():
    mask = MetaTensor(scene() * 100, meta={"filename_or_obj": "mask.png"})
    with pytest.warns(UserWarning, match=r"mask.png holds none of the label_values \(1, 2\), but the values \[0.*100"):
        assert not LabelToChannels((1, 2))(mask).any()


def test_image_and_mask_of_different_size_are_told():
    named = {k: MetaTensor(torch.zeros(1, 4, n), meta={"filename_or_obj": f"{k}.png"}) for k, n in zip("ab", (5, 6))}
    with pytest.raises(
        ValueError, match=r"must be of one size, got a \(a.png\) of \(4, 5, 1\) voxels, b \(b.png\) of \(4, 6"
    ):
        EnsureVolumed(["a", "b"])(named)


def test_images_become_volumes():
    assert EnsureVolume()(torch.zeros(1, 4, 5, 3)).shape == (1, 4, 5, 3)
    flat = EnsureVolume()(MetaTensor(torch.zeros(1, 4, 5), meta={"filename_or_obj": "a.png"}))
    assert flat.shape == (1, 4, 5, 1)
    assert flat.meta["filename_or_obj"] == "a.png"
    with pytest.raises(
        ValueError, match=r"b.nii must be channel-first with 2 or 3 spatial axes, got the shape \(1, 2, 2, 2, 2\)"
    ):
        EnsureVolume()(MetaTensor(torch.zeros(1, 2, 2, 2, 2), meta={"filename_or_obj": "b.nii"}))


def test_thresholds_of_classes():
    prob = torch.tensor([[[0.29, 0.3, 0.9, 0.9]], [[0.7, 0.5, 0.6, 0.99]]])
    assert ThresholdClasses([0.3, 0.6])(prob).tolist() == [[[0, 1, 1, 1]], [[1, 0, 1, 1]]]
    assert ThresholdClasses([0.3, 0.6], label_values=(3, 7))(prob).tolist() == [[[7, 3, 3, 7]]]
    assert ThresholdClasses(0.5, label_values=(1, 2))(torch.tensor([[1.0], [0.0]])).tolist() == [[1]]
    with pytest.raises(ValueError, match=r"threshold must lie in \(0, 1\), got 1"):
        ThresholdClasses(1)
    with pytest.raises(ValueError, match="pred has 2 channels, threshold .* must hold one value each"):
        ThresholdClasses([0.1, 0.2, 0.3])(prob)


def test_thresholds_of_a_function_are_asked_for_each_time():
    thresholds = iter([[0.5], [0.9], [2.0]])
    convert = ThresholdClasses(lambda: next(thresholds))
    assert [convert(torch.tensor([[0.7]])).item() for _ in range(2)] == [1, 0]
    with pytest.raises(ValueError, match=r"threshold must lie in \(0, 1\), got \[2.0\]"):
        convert(torch.tensor([[0.7]]))


def write_image(path, array):
    if path.suffix in (".png", ".jpg"):
        Image.fromarray(array[..., 0].T.astype(np.uint8)).save(path)
    elif path.suffix in (".gz", ".nii"):
        affine = np.array([[0, -2.0, 0, 5], [1.5, 0, 0, -3], [0, 0, 4, 7], [0, 0, 0, 1]])
        nibabel.save(nibabel.Nifti1Image(array.astype(np.int16), affine), path)
    else:
        import itk

        image = itk.image_from_array(np.ascontiguousarray(array.T.astype(np.int16)))
        image.SetSpacing([1.5, 2.0, 4.0])
        image.SetOrigin([3.0, -4.0, 5.0])
        itk.imwrite(image, str(path))


@pytest.mark.parametrize("extension", [".nii.gz", ".nii", ".mhd", ".mha", ".nrrd", ".png", ".jpg"])
def test_masks_are_saved_like_their_images(tmp_path, extension):
    array = np.random.default_rng(0).integers(0, 200, (5, 6, 1 if extension in (".png", ".jpg") else 4))
    path = tmp_path / f"case.v1{extension}"
    write_image(path, array)
    image = EnsureVolume()(LoadImage(ensure_channel_first=True)(path))
    mask = (image > 100).to(torch.uint8)
    save = SaveLikeInputd("pred", tmp_path / "out")
    assert isinstance(save, SaveImaged)  # as which MONAI Label leaves it out
    assert save({"pred": mask})["pred"] is mask
    saved = tmp_path / "out" / f"case.v1_segmentation{extension.replace('jpg', 'png')}"
    again = EnsureVolume()(LoadImage(ensure_channel_first=True)(saved))
    assert torch.equal(torch.as_tensor(again), torch.as_tensor(mask).float())
    assert torch.allclose(again.affine, image.affine, atol=1e-5)


def test_masks_of_unnamed_or_odd_images_are_told(tmp_path):
    with pytest.raises(ValueError, match="mask must be a MetaTensor that knows its image's file"):
        SaveLikeInput(tmp_path)(torch.zeros(1, 2, 2))
    with pytest.raises(ValueError, match="x.tif: masks can be written for .nii.gz"):
        SaveLikeInput(tmp_path)(MetaTensor(torch.zeros(1, 2, 2), meta={"filename_or_obj": "x.tif"}))


def test_a_label_map_of_components_agrees_with_scipy():
    rng = np.random.default_rng(1)
    mask = (rng.random((30, 30)) > 0.6).astype(np.uint8)
    _, count = ndimage.label(mask)
    assert len(MaskToBoxTensor()(mask[None])) == count
