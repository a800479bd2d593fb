# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest
import torch
from monai.data import DataLoader, DistributedSampler, MetaTensor
from monai.transforms import Compose, Lambdad, RandFlipd

from monai_bbox_mil.data import SharedLabels, SliceDataset, pad_box_collate


def volumes():
    """Make two volumes of 3 and 2 slices with voxels 10 * volume + slice, and one box in slice 1 of the first."""
    items = []
    for number, slices in enumerate((3, 2)):
        image = torch.arange(slices).expand(1, 4, 5, slices) + 10.0 * number
        box = torch.tensor([[1.0, 1, 1, 3, 4, 2, 0]]) if number == 0 else torch.empty(0, 7)
        items.append({"image": image, "label": box, "patient": f"p{number}"})
    return items


def test_every_slice_appears_once():
    slices = SliceDataset(volumes(), progress=False)
    assert [int(item["image"].unique()) for item in slices] == [0, 1, 2, 10, 11]
    assert [item["slice_index"] for item in slices] == [0, 1, 2, 0, 1]
    assert [item["patient"] for item in slices] == ["p0"] * 3 + ["p1"] * 2
    assert [item["label"].tolist() for item in slices] == [[], [[1, 1, 3, 4, 0]], [], [], []]
    assert slices[-1]["image"].unique().tolist() == [11]
    with pytest.raises(IndexError, match="index 5 is out of range for 5 slices"):
        slices[5]


@pytest.mark.parametrize("cache_rate", [0.0, 0.5, 1.0])
def test_caching_changes_only_how_often_volumes_are_loaded(cache_rate):
    calls = []

    def count(image):
        calls.append(1)
        return image + 1

    slices = SliceDataset(volumes(), Compose([Lambdad("image", count)]), cache_rate=cache_rate, progress=False)
    assert [int(item["image"].unique()) for item in slices] == [1, 2, 3, 11, 12]
    assert len(calls) == {1.0: 2, 0.5: 1 + 1 + 2, 0.0: 2 + 5}[cache_rate]


def test_changing_a_slice_does_not_change_its_volume():
    slices = SliceDataset(volumes(), Compose([Lambdad("image", lambda image: image + 0)]), progress=False)
    slices[0]["image"] += 100
    assert int(slices[0]["image"].unique()) == 0


def test_masks_under_label_are_cut():
    items = [{"image": torch.zeros(1, 4, 5, 3), "label": torch.arange(3.0).expand(2, 4, 5, 3)}]
    assert [int(item["label"].unique()) for item in SliceDataset(items, progress=False)] == [0, 1, 2]


def test_other_axes_and_2d_images():
    items = [{"image": torch.arange(4.0)[None, :, None, None].expand(1, 4, 5, 3)}]
    slices = SliceDataset(items, slice_dim=0, progress=False)
    assert len(slices) == 4
    assert slices[2]["image"].shape == (1, 5, 3)
    assert int(slices[2]["image"].unique()) == 2
    flat = SliceDataset([{"image": torch.ones(1, 4, 5), "label": torch.ones(1, 5)}], progress=False)
    assert len(flat) == 1
    assert flat[0]["label"].shape == (1, 5)


def test_a_slice_keeps_its_file_name_and_affine():
    affine = torch.tensor([[2.0, 0, 0, 10], [0, 3, 0, 20], [0, 0, 4, 30], [0, 0, 0, 1]], dtype=torch.float64)
    image = MetaTensor(torch.zeros(1, 4, 5, 3), affine=affine, meta={"filename_or_obj": "case.nii"})
    cut = SliceDataset([{"image": image}], progress=False)[2]["image"]
    assert cut.meta["filename_or_obj"] == "case.nii"
    assert cut.affine[:3, 3].tolist() == [10, 20, 38]


@pytest.mark.parametrize(
    ("items", "message"),
    [
        ([], "data must hold at least one item"),
        ([{"picture": torch.zeros(1, 2, 2)}], r"data\[0\] must hold an image under one of the keys .*'picture'"),
        (
            [{"image": torch.zeros(1, 4, 5, 3), "label": torch.zeros(1, 4, 5, 2)}],
            r"data\[0\] must hold images of one size, got .*\(4, 5, 3\).*\(4, 5, 2\)",
        ),
        ([{"image": torch.zeros(1, 2, 2, 2, 2)}], r"data\[0\] must hold 2D or 3D images"),
    ],
)
def test_an_item_without_images_of_one_size_raises(items, message):
    with pytest.raises(ValueError, match=message):
        SliceDataset(items, progress=False)


@pytest.mark.parametrize("num_workers", [0, 2])
def test_loader_with_workers_and_padding(num_workers):
    loader = DataLoader(
        SliceDataset(volumes(), progress=False), batch_size=3, num_workers=num_workers, collate_fn=pad_box_collate
    )
    first, second = loader
    assert first["image"].shape == (3, 1, 4, 5)
    assert first["label"].tolist() == [[[0, 0, 0, 0, -1]], [[1, 1, 3, 4, 0]], [[0, 0, 0, 0, -1]]]
    assert second["label"].shape == (2, 1, 5)


def test_ranks_split_the_slices():
    slices = SliceDataset(volumes(), progress=False)
    seen = []
    for rank in range(2):
        sampler = DistributedSampler(slices, even_divisible=False, num_replicas=2, rank=rank, shuffle=True, seed=1)
        seen += [int(slices[i]["image"].unique()) for i in sampler]
    assert sorted(seen) == [0, 1, 2, 10, 11]


def test_random_transforms_are_reproducible():
    def run(seed):
        flips = Compose([RandFlipd("image", prob=0.5, spatial_axis=1)]).set_random_state(seed)
        items = [{"image": torch.arange(5.0).expand(1, 4, 5)[..., None].expand(1, 4, 5, 8)}]
        slices = SliceDataset(items, slice_transform=flips, progress=False)
        return [int(item["image"][0, 0, 0]) for item in slices]

    assert run(3) == run(3)
    assert len({tuple(run(seed)) for seed in range(5)}) > 1


def test_collation_leaves_other_keys_to_monai():
    batch = pad_box_collate([{"label": torch.zeros(1, 4, 4), "boxes": torch.ones(n, 7)} for n in (0, 2)], ("boxes",))
    assert batch["label"].shape == (2, 1, 4, 4)
    assert batch["boxes"].shape == (2, 2, 7)


def mask_volumes():
    """Make two volumes of 3 and 2 slices of different sizes, with masks of 10 * volume + slice."""
    return [
        {"image": torch.zeros(1, *size, n), "label": torch.arange(n).expand(2, *size, n).to(torch.uint8) + 10 * number}
        for number, (n, size) in enumerate(((3, (4, 5)), (2, (6, 7))))
    ]


def values(items):
    return [sorted(set(item["label"].flatten().tolist())) for item in items]


@pytest.mark.parametrize("cache_rate", [0.0, 0.5, 1.0])
def test_a_new_label_replaces_the_old_one(cache_rate):
    identity = Compose([Lambdad("image", lambda image: image + 0)])
    double = Lambdad("label", lambda label: label * 2)
    slices = SliceDataset(mask_volumes(), identity, double, cache_rate=cache_rate, progress=False)
    first = slices.allow_relabelling()
    assert [int(first[i].unique()) for i in range(len(first))] == [0, 1, 2, 10, 11]
    slices.relabel(1, torch.full((2, 4, 5), 7.0))
    slices.relabel(4, torch.arange(2 * 6 * 7).reshape(2, 6, 7))
    assert values(slices)[:4] == [[0], [14], [4], [20]]
    assert slices.plain(4)["label"].tolist() == torch.arange(84).reshape(2, 6, 7).tolist()
    assert slices.plain(-4)["label"].dtype == torch.uint8
    slices[1]["label"] += 100  # changing a slice must not change its label
    assert values([slices.plain(1)]) == [[7]]
    assert slices.allow_relabelling() is first
    assert values([slices.plain(1)]) == [[7]]


@pytest.mark.parametrize(
    "options", [{"num_workers": 0}, {"num_workers": 2}, {"num_workers": 2, "persistent_workers": True}]
)
def test_workers_see_new_labels_in_their_next_epoch(options):
    slices = SliceDataset(mask_volumes()[:1], progress=False)
    slices.allow_relabelling()
    loader = DataLoader(slices, batch_size=1, **options)
    assert values(loader) == [[0], [1], [2]]
    slices.relabel(1, torch.full((2, 4, 5), 7))
    assert values(loader) == [[0], [7], [2]]


def test_a_label_that_does_not_fit_raises():
    slices = SliceDataset(mask_volumes(), progress=False)
    with pytest.raises(RuntimeError, match="allow_relabelling must be called before relabel"):
        slices.relabel(0, torch.zeros(2, 4, 5))
    with pytest.raises(ValueError, match="slice 0 must hold a tensor under 'mask', got NoneType"):
        slices.allow_relabelling("mask")
    slices.allow_relabelling()
    with pytest.raises(ValueError, match=r"label 0 must keep its shape \(2, 4, 5\), got \(1, 4, 5\)"):
        slices.relabel(0, torch.zeros(1, 4, 5))
    with pytest.raises(ValueError, match="labels must hold at least one tensor"):
        SharedLabels([])


def test_volumes_may_stay_whole():
    volumes = [{"image": torch.rand(1, 4, 5, 3), "label": torch.tensor([[0.0, 0, 0, 2, 2, 3, 0]])} for _ in range(2)]
    whole = SliceDataset(volumes, slice_dim=None, progress=False)
    assert len(whole) == 2
    assert torch.equal(whole[1]["image"], volumes[1]["image"])
    assert torch.equal(whole[1]["label"], volumes[1]["label"])
