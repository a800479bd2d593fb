# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
"""Errors and warnings, before the first epoch, about data with nothing to learn from."""

from __future__ import annotations

import re
import warnings

import nibabel
import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from monai.transforms import Compose

from monai_bbox_mil.data import SliceDataset, check_objects, images_of_part
from monai_bbox_mil.transforms import (
    CropWithCountd,
    EnsureVolumed,
    LabelToChannelsd,
    LoadBoxesd,
    LoadCheckedImaged,
    MaskToBoxTensord,
    PackBoxesd,
)


def boxes(*rows):
    return torch.tensor(rows, dtype=torch.float32).reshape(-1, 7)


def dataset(*labels, **options):
    items = [{"image": torch.zeros(1, 8, 8, 2), "label": label} for label in labels]
    return SliceDataset(items, progress=False, **options)


A, B, IGNORED = [1, 1, 0, 3, 3, 1, 0], [1, 1, 1, 3, 3, 2, 1], [1, 1, 0, 3, 3, 1, -2]
NAMES = ["organ", "tumour"]


def silent(*arguments, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_objects(*arguments, **options)


@pytest.mark.parametrize("cache_rate", [1.0, 0.5, 0.0])
def test_sound_data_give_no_warning(cache_rate):
    read = []
    items = [{"image": torch.zeros(1, 8, 8, 2), "label": label} for label in (boxes(A), boxes(), boxes(B, IGNORED))]
    counted = SliceDataset(items, lambda x: read.append(1) or x, cache_rate=cache_rate, progress=False)
    reads = len(read)
    silent(counted, dataset(boxes(A, B)), NAMES)
    assert len(read) == reads
    masks = torch.zeros(2, 8, 8, 2)
    masks[:, 2, 2, 1] = 1
    silent(dataset(masks, torch.zeros(2, 8, 8, 2)), dataset(masks), NAMES)


@pytest.mark.parametrize("slice_dim", [-1, None])
@pytest.mark.parametrize("label", [boxes(), boxes(IGNORED), torch.zeros(2, 8, 8, 2)])
def test_training_without_an_object_raises(label, slice_dim):
    empty = dataset(label, label, label, slice_dim=slice_dim)
    message = r"^list\.json, training: expected an object to learn from, got none in 3 images \(organ: 0, tumour: 0\)\."
    for required in (True, False):
        with pytest.raises(ValueError, match=message):
            check_objects(empty, None, NAMES, "list.json", require_objects=required, report=False)


def test_one_error_reports_both_parts():
    with pytest.raises(
        ValueError, match="d, training: .* d, validation: expected an object to choose model and thresh"
    ):
        check_objects(dataset(boxes()), dataset(boxes()), NAMES, "d")


def test_the_error_for_a_class_without_training_images_names_it():
    part = dataset(boxes(A), boxes(A, A), boxes())
    message = (
        r"d, training: expected an object of each class, got none of tumour in 3 images, 2 of them with an object "
    )
    message += r"\(organ: 2, tumour: 0\)\. .*--require_objects False"
    with pytest.raises(ValueError, match=message):
        check_objects(part, dataset(boxes(A, B)), NAMES, "d")
    with pytest.warns(UserWarning, match="training: expected an object of each class, got none of tumour"):
        check_objects(part, dataset(boxes(A, B)), NAMES, "d", require_objects=False)
    silent(part, dataset(boxes(A, B)), NAMES, "d", require_objects=False, report=False)


def test_a_class_without_validation_images_is_a_warning():
    with pytest.warns(UserWarning, match=r"d, validation: no object of tumour in 1 image, .* its threshold stays 0\.5"):
        check_objects(dataset(boxes(A, B)), dataset(boxes(A)), NAMES, "d")


def test_validation_without_an_object_raises_if_objects_are_required():
    parts = dataset(boxes(A, B)), dataset(boxes(IGNORED))
    with pytest.raises(
        ValueError, match=r"d, validation: expected an object .* got none in 1 image .*min_size=5 pixels"
    ):
        check_objects(*parts, NAMES, "d", min_size=5)
    with pytest.warns(UserWarning, match="d, validation: expected an object"):
        check_objects(*parts, NAMES, "d", require_objects=False)


def test_the_warning_for_no_validation_part_states_the_consequences():
    with pytest.warns(UserWarning, match=r"d: no validation part.* the last epoch.* threshold 0\.5, not calibrated"):
        check_objects(dataset(boxes(A, B)), None, NAMES, "d")


def volumes(folder, values, size=(40, 24, 2), place=(2, 2), label_values=(1,), image_size=(32, 32), **item):
    """Make a data set of files; each value fills a block of 6 x 4 pixels in the first slice of one mask."""
    items = []
    for number, value in enumerate(values):
        mask = np.zeros(size, dtype=np.uint8)
        mask[place[0] : place[0] + 6, place[1] : place[1] + 4, 0] = value
        for name, voxels in (("image", mask.astype(np.float32)), ("mask", mask)):
            nibabel.save(nibabel.Nifti1Image(voxels, np.diag([1, 1, 4, 1.0])), folder / f"{number}_{name}.nii")
        paths = {name: str(folder / f"{number}_{name}.nii") for name in ("image", "mask")}
        items.append({"image": paths["image"], **(item or {"mask": paths["mask"]})})
    keys = ["image", "mask"]
    steps = [
        LoadCheckedImaged(keys, allow_missing_keys=True),
        LabelToChannelsd("mask", label_values, allow_missing_keys=True),
        EnsureVolumed(keys, allow_missing_keys=True),
        CropWithCountd(keys, (*image_size, -1), slice_dim=-1, allow_missing_keys=True),
        MaskToBoxTensord("mask", slice_dim=-1, allow_missing_keys=True),
        LoadBoxesd("box", allow_missing_keys=True),
        PackBoxesd("box", allow_missing_keys=True),
    ]
    return SliceDataset(items, Compose(steps), keys=["image", "label"], progress=False)


@pytest.mark.filterwarnings("ignore:.*it counts as empty")
@pytest.mark.parametrize(
    ("values", "label_values", "advice"),
    [
        ([255, 255], [1], 'label_values is [1], and masks hold the values 0, 255: give --label_values "[255]", if'),
        ([2, 3], [1], 'label_values is [1], and masks hold the values 0, 2, 3: give --label_values "[2]", if'),
        ([2, 4], [1, 3], 'and masks hold the values 0, 2, 4: give --label_values "[2,4]", if'),
        ([0, 0], [1], "label_values is [1], and masks hold the values 0."),
    ],
)
def test_the_error_for_masks_of_other_values_says_what_to_type(tmp_path, values, label_values, advice):
    part = volumes(tmp_path, values, label_values=label_values, place=(10, 10))
    with pytest.raises(ValueError, match=re.escape(advice)):
        check_objects(part, None, [f"class {v}" for v in label_values], label_values=label_values)


def test_one_line_reports_cut_and_lost_boxes_with_the_size_that_fits_them(tmp_path):
    """Crop 40 x 24 pixels to the central 32 x 16: x from 4 to 36, y from 4 to 20."""
    training = volumes(tmp_path, [1, 1, 0], place=(6, 2), image_size=(32, 16))  # cut in y
    inside = volumes(tmp_path, [1], place=(6, 6), image_size=(32, 16))
    outside = volumes(tmp_path, [1], place=(16, 20), image_size=(32, 16))  # lost
    with pytest.warns(UserWarning) as caught:
        check_objects(training, inside, ["a"], "d", image_size=[32, 16])
    assert [str(each.message) for each in caught] == [
        "d: image_size=[32, 16] is smaller than some images. training: of 2 boxes 2 are cut and 0 lost, in "
        "2 of 3 images. "
        "A cut box is learned from as if it ended where the image does, a lost one not at all. "
        '--image_size "[32,32]" would hold them all.'
    ]
    with pytest.warns(UserWarning, match=r"training: of 2 .*; validation: of 1 boxes 0 are cut and 1 lost") as caught:
        check_objects(training, outside, ["a"], "d", image_size=[32, 16], require_objects=False)
    assert len(caught) == 2
    with pytest.raises(ValueError, match=r"Boxes outside of the part that image_size=\[32, 16\] leaves: 1"):
        check_objects(inside, outside, ["a"], "d", image_size=[32, 16])
    silent(inside, inside, ["a"], "d", image_size=[32, 16])


def test_boxes_of_annotations_are_counted_too(tmp_path):
    """Unlike masks, boxes of annotations are placed after the crop. One of the three is cut, and one is lost."""
    box = {"box": [[10, 10, 0, 12, 12, 1], [0, 8, 0, 6, 12, 1], [37, 8, 0, 40, 12, 1]], "label": [0, 0, 0]}
    with pytest.warns(UserWarning, match="are dropped"):
        part = volumes(tmp_path, [0], box=box, image_size=(32, 32))
    for square, size in ((False, "[48,32]"), (True, "[48,48]")):
        with pytest.warns(UserWarning, match=r"training: of 3 boxes 1 are cut and 1 lost, in 1 of 1 images") as caught:
            check_objects(part, part, ["a"], "d", image_size=[32, 32], square=square)
        assert f'--image_size "{size}" would hold' in str(caught[0].message)


def test_the_recommended_size_fits_all_boxes(tmp_path):
    """Check objects in any place and odd and even sizes: with the recommended size, nothing is cut."""
    rng = np.random.default_rng(0)
    for number in range(12):
        size = (*rng.integers(30, 61, 2).tolist(), 2)
        place = [int(rng.integers(0, n - 5)) for n in size[:2]]
        folder = tmp_path / str(number)
        folder.mkdir()
        part = volumes(folder, [1], size=size, place=place, image_size=(16, 16))
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            try:
                check_objects(part, part, ["a"], image_size=[16, 16])
            except ValueError:  # the only object is lost
                named = [-(-n // 16) * 16 for n in part.objects[0].crop.size[:2]]
            else:
                found = re.search(r'"\[(\d+),(\d+)\]"', str(caught[0].message)) if caught else None
                named = [16, 16] if found is None else [int(n) for n in found.groups()]
        assert all(n % 16 == 0 for n in named)
        whole = volumes(folder, [1], size=size, place=place, image_size=named)
        assert whole.objects[0].crop is None and whole.objects[0].boxes == 1


def test_voxels_that_are_boxes_are_not_counted_as_objects(tmp_path):
    part = volumes(tmp_path, [1], place=(2, 8), image_size=(32, 32))
    with pytest.warns(UserWarning, match="training: boxes cut: 1, lost: 0, in 1 of 1"):
        check_objects(part, part, ["a"], image_size=[32, 32], whole_boxes=False)


def test_masks_that_are_labels_are_counted_by_class():
    label = MetaTensor(torch.zeros(2, 8, 8, 2))
    label[1, 2, 2, 0] = 1
    assert [o.channels for o in dataset(label, boxes(A, B, IGNORED)).objects] == [{1}, {0, 1}]


def test_a_part_without_images_is_named_with_the_data_list():
    parts = {"training": [], "test": [{"image": "a"}]}
    assert images_of_part(parts, "validation", "d", required=False) == []
    with pytest.raises(
        ValueError, match=r"^d/list.json: .* in the part 'training', got none \(training: 0, test: 1\)\. Do"
    ):
        images_of_part(parts, "training", "d/list.json", "Do this.")
