# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
"""Boxes from files after transforms of their image: where its mask says, or refused by the transform's name."""

from __future__ import annotations

import json

import nibabel
import numpy as np
import pytest
import torch
from monai.data import CacheDataset, MetaTensor, PersistentDataset
from monai.transforms import (
    Affined,
    BorderPadd,
    CenterSpatialCropd,
    Compose,
    CropForegroundd,
    DivisiblePadd,
    EnsureTyped,
    Flipd,
    GridDistortiond,
    Lambdad,
    LoadImaged,
    NormalizeIntensityd,
    OneOf,
    Orientationd,
    Rand2DElasticd,
    Rand3DElasticd,
    RandAffined,
    RandAxisFlipd,
    RandFlipd,
    RandGaussianNoised,
    RandGridDistortiond,
    RandRotate90d,
    RandSmoothDeformd,
    RandSpatialCropd,
    RandZoomd,
    ResampleToMatchd,
    Resized,
    ResizeWithPadOrCropd,
    Rotate90d,
    ScaleIntensityd,
    Spacingd,
    SpatialCropd,
    SpatialPadd,
    Transposed,
    Zoomd,
)

from monai_bbox_mil.annotations import boxes_to_world, read_boxes
from monai_bbox_mil.transforms import BoxTensorToMaskd, LoadBoxesd, MaskToBoxTensord, PackBoxesd
from tests.annotations.annotations import AFFINE, BOX, SHAPE, make_image, tight_box

BOTH = ["image", "mask"]
NEAREST = {"mode": ["bilinear", "nearest"]}
SOUND = {
    "orientation": (Orientationd(BOTH, "PIR", labels=None), 0),
    "flip": (Flipd(BOTH, [0, 2]), 0),
    "random flip": (RandFlipd(BOTH, 1.0, 1), 0),
    "random axis": (RandAxisFlipd(BOTH, 1.0), 0),
    "quarter turn": (Rotate90d(BOTH, 1, (0, 2)), 0),
    "random quarter turn": (RandRotate90d(BOTH, 1.0), 0),
    "crop": (SpatialCropd(BOTH, roi_start=(2, 1, 1), roi_end=(19, 12, 9)), 0),
    "crop at the far end": (SpatialCropd(BOTH, roi_start=(0, 0, 0), roi_end=(12, 12, 9)), 0),
    "centre crop": (CenterSpatialCropd(BOTH, (12, 12, 10)), 0),
    "foreground": (CropForegroundd(BOTH, source_key="mask", margin=1), 0),
    "random crop": (RandSpatialCropd(BOTH, (18, 14, 10), random_size=False), 0),
    "pad": (SpatialPadd(BOTH, (24, 24, 24)), 0),
    "border": (BorderPadd(BOTH, [1, 2, 3, 0, 5, 4]), 0),
    "divisible": (DivisiblePadd(BOTH, 8), 0),
    "pad or crop": (ResizeWithPadOrCropd(BOTH, (16, 20, 12)), 0),
    "resize": (Resized(BOTH, (40, 32, 24), **NEAREST), 1),
    "spacing": (Spacingd(BOTH, (1.0, 1.5, 1.0), **NEAREST), 1),
    "zoom": (Zoomd(BOTH, 1.4, **NEAREST), 1),
    "random zoom": (RandZoomd(BOTH, 1.0, 0.8, 0.8, keep_size=False, **NEAREST), 1),
    "affine": (Affined(BOTH, translate_params=(2.0, -1.0, 0.0), **NEAREST), 1),
    "random affine": (RandAffined(BOTH, prob=1.0, rotate_range=(0, 0, 0.2), translate_range=(2, 2, 1), **NEAREST), 2),
    "intensity": (Compose([ScaleIntensityd("image"), NormalizeIntensityd("image"), Lambdad("image", lambda x: -x)]), 0),
}


@pytest.fixture(scope="module")
def item(tmp_path_factory):
    """A file whose voxels are ones in BOX and little noise elsewhere, its mask, and its box in voxels and in mm."""
    folder = tmp_path_factory.mktemp("item")
    mask = make_image(box=BOX)[0].numpy()
    image = mask + 0.01 * np.random.default_rng(0).random(SHAPE, dtype=np.float32)
    for name, array in (("image", image), ("mask", mask)):
        nibabel.save(nibabel.Nifti1Image(array, AFFINE.numpy()), folder / f"{name}.nii.gz")
    (folder / "index.json").write_text(json.dumps({"box": [BOX]}))
    world = boxes_to_world(torch.tensor([BOX]), AFFINE).tolist()
    (folder / "world.json").write_text(json.dumps({"box": world, "space": "world"}))
    return {key: str(folder / f"{key}.nii.gz") for key in BOTH} | {"box": str(folder / "index.json")}


def load(*transforms, keys=("image", "mask"), **options):
    return Compose([LoadImaged(keys, ensure_channel_first=True), *transforms, LoadBoxesd(), PackBoxesd()], **options)


@pytest.mark.parametrize("space", ["index", "world"])
@pytest.mark.parametrize("lazy", [False, True])
@pytest.mark.parametrize("name", SOUND)
def test_boxes_lie_where_the_mask_does(item, name, lazy, space):
    transform, tolerance = SOUND[name]
    pipeline = load(transform, lazy=lazy).set_random_state(0)
    data = pipeline({**item, "box": item["box"].replace("index", space)})
    found, expected = data["label"][0, :-1], torch.tensor(tight_box(data["mask"])).float()
    assert (torch.as_tensor(found) - expected).abs().max() <= tolerance
    # A voxel of the mask outside of its box is one too many to learn from.
    assert (found[:3] <= expected[:3]).all() and (found[3:] >= expected[3:]).all()


def test_boxes_follow_to_another_images_grid(item):
    target = MetaTensor(torch.zeros(1, 24, 20, 14), affine=torch.diag(torch.tensor([-1.5, 2.0, 2.5, 1])) + 0)
    target.affine[:3, 3] = torch.tensor([36.0, -12.0, 3.0], dtype=torch.float64)
    pipeline = load(ResampleToMatchd(BOTH, "target", mode=["bilinear", "nearest"]))
    data = pipeline({**item, "box": item["box"].replace("index", "world"), "target": target})
    found, expected = data["label"][0, :-1], torch.tensor(tight_box(data["mask"])).float()
    assert (torch.as_tensor(found) - expected).abs().max() <= 1


@pytest.mark.parametrize(
    "deformation",
    [
        Rand3DElasticd("image", (3, 4), (50, 100), prob=1.0),
        GridDistortiond(BOTH, 2, [(1.1, 1.2, 1.0)] * 3),
        RandGridDistortiond("image", prob=0.5),
        RandSmoothDeformd("image", SHAPE, (4, 4, 4), prob=1.0),
        OneOf([RandGridDistortiond("image", prob=0.5), RandFlipd("image", 1.0)]),
        Compose([Flipd("image", 0), Compose([RandGridDistortiond("image", prob=1.0)])]),
    ],
    ids=["elastic", "grid", "random grid", "smooth", "one of", "nested"],
)
def test_a_deformation_before_the_boxes_is_named(item, deformation):
    with pytest.raises(RuntimeError) as error:
        load(deformation)(item)
    assert "boxes from files cannot follow 'image' through" in str(error.value.__cause__)
    with pytest.raises(RuntimeError) as error:  # after them it is no better
        Compose([*load().transforms, deformation])(item)
    assert "which comes later and deforms it" in str(error.value.__cause__)


def test_a_deformation_in_the_plane_is_named(tmp_path):
    nibabel.save(nibabel.Nifti1Image(np.eye(16, dtype=np.float32), np.eye(4)), tmp_path / "flat.nii")
    elastic = Rand2DElasticd("image", (8, 8), (1, 2), prob=1.0)
    with pytest.raises(RuntimeError) as error:
        load(elastic, keys="image")({"image": str(tmp_path / "flat.nii"), "box": [[1, 2, 5, 6]]})
    assert "'image' through Rand2DElasticd" in str(error.value.__cause__)


def test_deformations_that_no_box_needs_to_follow_are_let_be(item):
    deformation = RandGridDistortiond(BOTH, prob=1.0, mode=["bilinear", "nearest"])
    off = RandGridDistortiond("image", prob=0.0)
    other = RandGridDistortiond("mask", prob=1.0, mode="nearest")
    assert len(load(off, other)(item)["label"]) == 1
    masks = [LoadImaged(BOTH, ensure_channel_first=True), deformation, MaskToBoxTensord("mask")]
    data = Compose(masks)({key: item[key] for key in BOTH})
    assert tight_box(data["mask"]) == data["label"][0, :-1].tolist()
    # Boxes that become a mask follow it.
    filled = [BoxTensorToMaskd(mask_keys="region"), RandGridDistortiond(["image", "region"], prob=1.0, mode="nearest")]
    data = Compose([*load().transforms, *filled, MaskToBoxTensord("region")])(item)
    assert tight_box(data["region"]) == data["label"][0, :-1].tolist()


@pytest.mark.parametrize(
    ("transform", "message"),
    [
        (Transposed("image", (0, 2, 1, 3)), "cannot follow an image through Transposed"),
        (Lambdad("image", lambda x: x.rot90(1, (1, 2))), r"of \(16, 20, 12\) voxels whose file has \(20, 16, 12\)"),
        (Lambdad("image", lambda x: x[:, ::2, ::2, ::2]), r"of \(10, 8, 6\) voxels .* left no trace"),
    ],
    ids=["transposed", "untraced turn", "untraced zoom"],
)
def test_moves_without_an_affine_are_refused(item, transform, message):
    with pytest.raises(RuntimeError) as error:
        load(transform)(item)
    assert "image.nii.gz: boxes cannot" in str(error.value.__cause__)
    with pytest.raises(ValueError, match=message):
        read_boxes([BOX], transform({"image": make_image(box=BOX)})["image"])


def test_a_slice_of_a_volume_may_keep_its_affine():
    image = make_image(box=BOX)
    assert read_boxes([[4, 3, 0, 10, 8, 6]], image[..., :1])[0].tolist() == [[4, 3, 0, 10, 8, 1]]


@pytest.mark.parametrize("space", ["index", "world"])
@pytest.mark.parametrize(
    "draw", [RandGaussianNoised("image", 1.0, std=0.01), RandFlipd("image", 1.0, 1), RandAffined("image", prob=1.0)]
)
def test_a_cache_without_meta_data_is_refused(item, tmp_path, space, draw):
    """MONAI's PersistentDataset keeps none by default: the first epoch is right, the second has no affine."""
    pipeline = load(Orientationd("image", "RAS", labels=None), draw, keys="image")
    items = [{"image": item["image"], "box": item["box"].replace("index", space)}]
    cached = PersistentDataset(items, pipeline, tmp_path / "bare")
    first = cached[0]["label"]
    assert len(first) == 1
    for again in (cached, PersistentDataset(items, pipeline, tmp_path / "bare")):
        with pytest.raises(RuntimeError) as error:
            again[0]
        assert "'image' was loaded from a file, but has lost its name and affine" in str(error.value.__cause__)
        assert "track_meta=True" in str(error.value.__cause__)


def test_caches_that_keep_meta_data_are_right_in_every_epoch(item, tmp_path):
    pipeline = load(Orientationd(BOTH, "RAS", labels=None), RandFlipd(BOTH, 0.5, 1))
    boxed_first = Compose([*load(Orientationd(BOTH, "RAS", labels=None)).transforms, RandGaussianNoised("image", 1.0)])
    for data in (
        PersistentDataset([item], pipeline, tmp_path / "kept", track_meta=True, weights_only=False),
        PersistentDataset([item], boxed_first, tmp_path / "bare"),
        CacheDataset([item], pipeline, progress=False),
    ):
        for _ in range(4):
            found = data[0]
            assert found["label"][0, :-1].tolist() == tight_box(found["mask"])


def test_meta_data_lost_within_a_pipeline_are_refused(item):
    forget = EnsureTyped("image", track_meta=False)
    with pytest.raises(RuntimeError) as error:
        load(Flipd("image", 0), forget, RandGaussianNoised("image", 1.0))(item)
    assert "has lost its name and affine" in str(error.value.__cause__)


def test_world_boxes_need_an_affine_of_somebodys(tmp_path):
    path = tmp_path / "world.json"
    path.write_text(json.dumps({"box": [[0.5, 1.5, -0.5, 4.5, 5.5, 0.5]], "space": "world"}))
    bare = MetaTensor(torch.zeros(1, 8, 8, 1))
    with pytest.raises(ValueError, match="world boxes need the image's affine"):
        read_boxes(path, bare)
    with pytest.raises(ValueError, match="world boxes need the image's affine"):
        read_boxes(json.loads(path.read_text()), Flipd("image", 0)({"image": bare})["image"])
    placed = MetaTensor(torch.zeros(1, 8, 8, 1), meta={"original_affine": torch.eye(4)})
    named = MetaTensor(torch.zeros(1, 8, 8, 1), meta={"filename_or_obj": "a.png"})
    for image in (placed, named):
        assert read_boxes(path, image)[0].tolist() == [[1, 2, 0, 5, 6, 1]]
    assert read_boxes(json.loads(path.read_text()), bare)[0].tolist() == [[1, 2, 0, 5, 6, 1]]
