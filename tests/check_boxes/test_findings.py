# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
"""Each defect gives its own finding, and nothing else."""

from __future__ import annotations

import json
import shutil

import nibabel
import numpy as np
import pytest
import torch
import yaml
from PIL import Image

from monai_bbox_mil.check_boxes import KINDS, CheckOptions, Finding, check_items
from monai_bbox_mil.data import get_datalist

NAN = float("nan")
TABLE = "x_min,y_min,x_max,y_max,label\n"


def kinds(result) -> list[str]:
    return [finding.kind for _, finding in result.all_findings]


def only(result) -> Finding:
    assert len(result.all_findings) == 1, result.all_findings
    return result.all_findings[0][1]


def test_a_clean_data_set_has_no_finding(clean):
    result = clean().check()
    assert kinds(result) == []
    assert [len(image.boxes) for image in result.images] == [1, 2, 1]
    assert [image.drawn for image in result.images] == [True, True, False]
    assert result.images[1].margins[:, [0, 1, 3, 4]].abs().max() == 0


# An entry of one image of 40 x 30 pixels, the kind of the one finding, and what it says of box and fault.
BOXES = [
    ([[5, 6, 15, 20], [NAN, 1, 5, 6]], "not_finite", "box[1]", "finite numbers"),
    ([["five", 6, 15, 20]], "not_finite", "box[0]", "five"),
    ([[5, 6, 15, 20], [15, 6, 5, 20]], "min_not_below_max", "box[1]", "min [15.0, 6.0] and max [5.0, 20.0]"),
    ([[5, 6, 5, 20]], "min_not_below_max", "box[0]", "min < max"),
    ([[5, 6, 15]], "malformed_box", "box[0]", "expected 4 or 6 numbers, got 3"),
    ([[5, 6, 15, 20], [12, 6, 22, 20], [41, 2, 50, 9]], "outside", "box[2]: (41, 2, 0) to (50, 9, 1)", "40 x 30 x 1"),
    ([[35, 6, 45, 20]], "partly_outside", "box[0]: (35, 6, 0) to (45, 20, 1)", "up to 5 voxels, 50% of the box"),
    ([[-0.5, 6, 9.5, 20]], "partly_outside", "box[0]: (-0.5, 6, 0)", "up to 0.5 voxels, 5% of the box"),
    ([[5, 6, 15, 20], [5, 6, 15, 20]], "duplicate", "box[1]", "same corners as box[0]"),
    ([[5, 6, 15, 26], [5, 6, 15, 25]], "near_duplicate", "box[1]", "(IoU) of 0.95 with box[0]"),
    ([[5, 6, 6, 20]], "tiny", "box[0]", "1 x 14 voxels"),
    ([[0, 1, 40, 30]], "covers_image", "box[0]", "97% of the slice"),
    ([], "no_box", "", "the annotation is empty"),
    ({"box": [[5, 6, 15, 20]], "label": ["tumour"]}, "unknown_class", "box[0]", "'tumour'"),
    ({"box": [[5, 6, 15, 20]], "label": [1]}, "unknown_class", "box[0]", "a channel 0 to 0, got 1"),
    ({"boxes": []}, "unreadable_boxes", "", "expected the key 'box'"),
    # All of the numbers fit once they mean something else.
    ([[2, 31, 9, 39], [20, 32, 28, 38]], "axis_swap", "", "2 of 2 boxes lie outside"),
    ([[60, -280, 80, -260]], "wrong_space", "", "if the numbers are taken as mm in RAS"),
    ([[-80, 260, -60, 280]], "wrong_space", "", "if the numbers are taken as mm in LPS"),
    ({"box": [[-80, 260, -60, 280]], "space": "world"}, "wrong_space", "", "LPS mistaken for RAS"),
    ({"box": [[5, 6, 15, 20]], "space": "world"}, "wrong_space", "", "if the numbers are taken as voxels"),
]  # fmt: skip


@pytest.mark.parametrize("box, kind, place, detail", BOXES)
def test_a_wrong_box(data, clean, box, kind, place, detail):
    clean()
    item = data.add("d")
    # In a file, so that a mapping without boxes gets as far.
    item["box"] = "d.json"
    (data.folder / "d.json").write_text(json.dumps(box))
    finding = only(data.check())
    assert (finding.kind, finding.severity) == (kind, KINDS[kind].severity)
    assert finding.box.startswith(place) and bool(finding.box) == bool(place)
    assert detail in finding.detail


FILES = [
    ("d.csv", TABLE + "5,6,15,20,0\n5,6,15,20,2\n", "unknown_class", "got 2"),
    ("d.csv", TABLE + "5,6,15,20,0\n,6,15,20,0\n", "not_finite", "finite numbers"),
    ("d.csv", "a,b\n1,2\n", "unreadable_boxes", "expected the columns x_min"),
    ("d.txt", "0 0.5 0.5 0.25 0.25\n0 20 15 5 5\n", "malformed_box", "fractions of the image between 0 and 1"),
    ("d.json", "{", "unreadable_boxes", "error in line 1"),
    ("d.yml", "<box/>", "unreadable_boxes", "expected the extension"),
    ("d.json", json.dumps({"images": [{"id": 1, "file_name": "d.nii.gz"}], "annotations": [
        {"image_id": 1, "bbox": [5, 6, 10, 10], "category_id": 0},
        {"image_id": 1, "bbox": [5, 6, 10, 10], "category_id": 0, "iscrowd": 1}]}), "ignored_region", "of class 1"),
    ("d.mrk.json", json.dumps({"markups": [{"type": "Line"}]}), "malformed_box", "expected a markup of type 'ROI'"),
]  # fmt: skip


@pytest.mark.parametrize("name, text, kind, detail", FILES)
def test_a_wrong_box_file(data, clean, name, text, kind, detail):
    clean()
    data.add("d", box=name)
    (data.folder / name).write_text(text)
    finding = only(data.check())
    assert finding.kind == kind and detail in finding.detail


def test_regions_to_ignore_are_no_boxes_of_one_object(data):
    """Neither loose nor twice nor large, and an object in one needs no box; outside of the image is outside."""
    boxes = [[5, 6, 15, 20], [18, 2, 38, 28], [18, 2, 38, 28], [60, 2, 70, 9]]
    objects = [(5, 6, 0, 15, 20, 1), (20, 4, 0, 24, 8, 1), (30, 20, 0, 33, 24, 1)]
    data.add(box={"box": boxes, "ignored": [0, 1, 1, 1]}, objects=objects)
    result = data.check()
    assert sorted(kinds(result)) == [*["ignored_region"] * 3, "outside"]
    assert result.images[0].places == ["box[0]"] and result.images[0].boxes.shape == (1, 6)


def test_the_other_boxes_of_a_file_are_still_checked(data):
    data.add(box=[[5, 6, 15, 20], [9, 9, 2, 20], [5, 6, 15, 20], [NAN, 0, 1, 1]])
    result = data.check()
    assert kinds(result) == ["min_not_below_max", "not_finite", "duplicate"]
    assert result.images[0].places == ["box[0]", "box[2]"]


OBJECT = (5, 6, 0, 15, 20, 1)
MASKS = [
    ([[1, 6, 15, 20]], [OBJECT], "loose", "beyond the object by x_min 4 voxels; mean of all sides 1"),
    ([[9, 6, 15, 20]], [OBJECT], "cuts_object", "inside the object by x_min 4 voxels; mean of all sides -1"),
    ([[5, 6, 15, 20], [22, 6, 30, 14]], [OBJECT], "box_without_object", "no voxel"),
    ([[5, 6, 15, 20]], [OBJECT, (25, 2, 0, 28, 9, 1)], "object_without_box", "class 1, an object of 3 x 7 x 1 voxels"),
    ([[5, 6, 15, 20]], [OBJECT, (14, 21, 0, 17, 28, 1)], "object_without_box", "at (14, 21, 0)"),
    ([[25, 6, 35, 20]], [OBJECT], "misplaced", "0% of the boxes, but 100% if x is reversed"),
    (None, [], "no_box", "the mask is empty"),
    (None, [OBJECT, (25, 2, 0, 28, 9, 1, 7)], "unnamed_values", "values 7, label_values [1]"),
]  # fmt: skip


@pytest.mark.parametrize("box, objects, kind, detail", MASKS)
def test_boxes_against_a_mask(data, clean, box, objects, kind, detail):
    clean()
    data.add("d", objects=objects, **({} if box is None else {"box": box}))
    finding = only(data.check())
    assert finding.kind == kind and detail in finding.detail


def test_axes_exchanged_inside_of_the_image_show_by_the_mask(data):
    data.add(objects=[(2, 18, 0, 8, 28, 1)], box=[[18, 2, 28, 8]])
    assert "axes are y, x, z" in only(data.check()).detail


def test_small_misses_are_tolerated_and_measured(data):
    data.add(objects=[OBJECT], box=[[4, 7, 17, 20]])
    result = data.check()
    assert kinds(result) == []
    assert result.images[0].margins[0].tolist() == [1, -1, 0, 2, 0, 0]
    assert kinds(data.check(tolerance=1)) == ["loose"]


def test_specks_below_min_size_need_no_box(data):
    data.add(objects=[OBJECT, (25, 2, 0, 27, 4, 1)], box=[[5, 6, 15, 20]])
    assert kinds(data.check()) == ["object_without_box"]
    assert kinds(data.check(min_size=5)) == []


def test_a_box_over_several_slices_suits_a_3d_network_alone(data):
    data.add(shape=(40, 30, 8), objects=[(5, 6, 2, 15, 20, 6)], box=[[5, 6, 2, 15, 20, 6]])
    finding = only(data.check())
    assert (finding.kind, finding.detail) == ("thick", "over 4 slices")
    assert "volumes.yaml" in KINDS["thick"].advice
    assert kinds(data.check(slice_dim=None)) == []


def test_boxes_of_single_slices_are_measured_in_their_slice(data):
    rows = [[5, 6, z, 15, 20, z + 1] for z in range(2, 6)]
    data.add(shape=(40, 30, 8), objects=[(5, 6, 2, 15, 20, 6)], box=rows[1:])
    finding = only(data.check())
    assert finding.kind == "object_without_box" and "at (5, 6, 2)" in finding.detail


def test_how_thick_a_box_is_across_a_single_slice_says_nothing(data):
    # World z of the slice is 39 to 41 mm.
    data.add(box={"box": [[70, -290, 0, 90, -260, 90]], "space": "world"})
    assert kinds(data.check()) == []


def test_classes_by_name(data):
    annotation = {"box": [[5, 6, 15, 20], [20, 3, 30, 9]], "label": ["prostate", "tumour"]}
    data.add(box=annotation, objects=[(5, 6, 0, 15, 20, 1, 1), (20, 3, 0, 30, 9, 1, 2)])
    result = data.check(label_values=(1, 2), box_classes=("prostate", "tumour"))
    assert kinds(result) == [] and result.images[0].classes.tolist() == [0, 1]
    exchanged = data.check(label_values=(1, 2), box_classes=("tumour", "prostate"))
    assert set(kinds(exchanged)) == {"box_without_object", "object_without_box"}


@pytest.mark.parametrize(
    "name, content, kind",
    [
        ("d.nii.gz", None, "unreadable_image"),
        ("d.nii.gz", b"nonsense", "unreadable_image"),
        ("d.nii.gz", b"", "unreadable_image"),
        ("d_mask.nii.gz", b"nonsense", "unreadable_mask"),
        ("d_mask.nii.gz", None, "unreadable_mask"),
    ],
)
def test_a_broken_file_is_reported_in_one_line_and_the_next_is_read(data, clean, name, content, kind):
    data.add("d", objects=[OBJECT])
    clean()
    (data.folder / name).unlink()
    if content is not None:
        (data.folder / name).write_bytes(content)
    result = data.check()
    finding = only(result)
    assert finding.kind == kind and finding.detail.strip() and "\n" not in finding.detail
    assert name in finding.detail
    assert [len(image.boxes) for image in result.images] == [0, 1, 2, 1]


def test_a_missing_box_file(data, clean):
    clean().add("d", box="d.json")
    assert only(data.check()).kind == "unreadable_boxes"


def test_an_image_with_nan(data):
    data.add(box=[[5, 6, 15, 20]])
    data.save("a.nii.gz", np.full((40, 30, 1), NAN, dtype=np.float32))
    assert "NaN" in only(data.check()).detail


def test_a_mask_of_another_size(data, clean):
    clean().add("d", objects=[OBJECT])
    data.save("d_mask.nii.gz", np.ones((30, 40, 1), dtype=np.uint8))
    finding = only(data.check())
    assert (finding.kind, finding.detail) == ("size_mismatch", "image of 40 x 30 x 1, mask of 30 x 40 x 1 voxels")


def test_an_item_without_annotation(data, clean):
    clean().add("d")
    assert only(data.check()).kind == "no_annotation"


def test_images_of_the_test_part_need_no_annotation(data, clean):
    clean()
    data.parts["test"] = []
    data.add("d", part="test")
    result = data.check()
    assert kinds(result) == [] and len(result.images) == 3


def test_a_patient_in_two_parts(data, clean):
    clean().add("d", part="validation", box=[[5, 6, 15, 20]], patient="patient a")
    result = data.check()
    assert only(result).detail == "in both training and validation: patient a"
    assert result.all_findings[0][0] is None


@pytest.mark.parametrize("part, kind", [("training", "image_twice"), ("validation", "image_in_two_parts")])
def test_the_same_image_twice(data, clean, part, kind):
    clean()
    shutil.copyfile(data.folder / "a.nii.gz", data.folder / "d.nii.gz")
    data.parts[part].append({"image": "d.nii.gz", "box": [[5, 6, 15, 20]], "patient": "another"})
    finding = only(data.check())
    assert finding.kind == kind
    assert finding.detail == "same voxels as a.nii.gz (training)"
    data.parts[part][-1]["image"] = "./a.nii.gz"
    assert only(data.check()).detail == "same file as a.nii.gz (training)"


def test_boxes_cut_from_masks_take_margin_and_min_size(data):
    data.add(objects=[OBJECT, (25, 2, 0, 26, 3, 1)])
    assert kinds(data.check()) == ["tiny"]
    result = data.check(min_size=2, margin=2)
    assert kinds(result) == [] and result.images[0].boxes.tolist() == [[3, 4, 0, 17, 22, 1]]


@pytest.mark.parametrize(
    "options, message",
    [
        ({"label_values": ()}, "at least one class, got none"),
        ({"label_values": (1, 2), "box_classes": ("a",)}, "one class for each of label_values"),
        ({"slice_dim": 3}, "axis from -3 to 2, got 3"),
        ({"tolerance": -1}, "tolerance must be at least 0, got -1"),
        ({"margin": -1}, "margin must be at least 0, got -1"),
    ],
)
def test_wrong_options(options, message):
    with pytest.raises(ValueError, match=message):
        CheckOptions(**options)


def test_an_unknown_kind_is_refused():
    with pytest.raises(ValueError, match="kind must be one of .* got 'strange'"):
        Finding("strange", "")


@pytest.mark.parametrize("folder, options", [("sunnybrook_lv", {}), ("hippocampus", {"label_values": (1, 2)})])
def test_real_masks_have_no_error(real_data, folder, options):
    parts = {part: items[:6] for part, items in get_datalist(real_data / folder, check=False).items()}
    result = check_items(parts, CheckOptions(**options))
    assert result.count("error") == 0 and all(len(image.boxes) for image in result.images)
    assert torch.isfinite(torch.cat([image.boxes for image in result.images])).all()


def test_a_colour_image_where_training_wants_grey(data, clean):
    clean()
    rgb = np.zeros((40, 30, 1, 3), dtype=np.uint8)
    rgb[5:15, 6:20] = 200, 100, 50
    Image.fromarray(rgb[:, :, 0].swapaxes(0, 1)).save(data.folder / "d.png")
    data.parts["training"].append({"image": "d.png", "patient": "d", "box": [[5, 6, 15, 20]]})
    finding = only(data.check())
    assert (finding.kind, finding.severity) == ("wrong_channels", "error")
    assert "expected 1 channel(s), got 3" in finding.detail


def test_a_mask_that_lies_elsewhere(data, clean):
    clean()
    item = data.add("d", objects=[OBJECT])
    mask = nibabel.load(data.folder / item["mask"])
    moved = mask.affine.copy()
    moved[0, 3] += 8
    nibabel.Nifti1Image(np.asarray(mask.dataobj), moved).to_filename(data.folder / item["mask"])
    finding = only(data.check())
    assert (finding.kind, finding.severity) == ("place_mismatch", "error")


@pytest.mark.parametrize(
    "options, expected",
    [
        # A crop of 24 x 24 about the centre (20, 15) holds x from 8 to 31 and y from 3 to 26.
        ({"image_size": (24, 24)}, "image_size [24, 24] cuts 1 and loses 1 of 3 boxes, in 1 of 2 images (a.nii.gz); "
         "[48, 24] would hold all"),
        ({"image_size": (48, 32)}, None),
        ({}, None),
        # At 4 mm the image has 20 x 15 voxels, and a crop of 8 x 16 holds x from 6 to 13: the boxes are at 1 to 2 and
        # at 2.5 to 7.5, and the one of the other image at 10 to 12.5.
        ({"image_size": (8, 16), "spacing_mm": (4, 4)}, "image_size [8, 16] cuts 1 and loses 1 of 3 boxes"),
    ],
)  # fmt: skip
def test_boxes_that_image_size_cuts(data, options, expected):
    data.add("a", box=[[2, 6, 4, 20], [5, 6, 15, 20]])
    data.add("b", box=[[20, 6, 25, 20]], part="validation")
    result = data.check(**options)
    whole = [finding.detail for finding in result.findings if finding.kind == "small_image_size"]
    assert whole == [] if expected is None else expected in whole[0]
    assert len(result.all_findings) == len(whole)


def test_the_default_size_is_that_of_training(repository):
    train = yaml.safe_load((repository / "bundle" / "configs" / "train.yaml").read_text())
    volumes = yaml.safe_load((repository / "bundle" / "configs" / "volumes.yaml").read_text())
    assert CheckOptions().crop_size == tuple(train["image_size"])
    assert CheckOptions(slice_dim=None).crop_size == tuple(volumes["image_size"])


def test_masks_of_0_and_255_hold_nothing_to_learn(data):
    data.add("a", objects=[(5, 6, 0, 15, 20, 1, 255)])
    data.add("b", part="validation", objects=[(5, 6, 0, 15, 20, 1, 255)])
    result = data.check()
    assert [finding.detail for finding in result.findings if finding.kind == "no_object"] == [
        "training, 1 image(s), objects: class 1: 0",
        "validation, 1 image(s), objects: class 1: 0",
    ]
    assert not [f for f in data.check(label_values=(255,)).findings if f.kind == "no_object"]


def test_a_class_without_objects_in_training(data):
    data.add("a", box=[[5, 6, 15, 20]])
    data.add("b", part="validation", box=[[5, 6, 15, 20]])
    (finding,) = data.check(label_values=(1, 2)).findings
    assert (finding.kind, finding.severity) == ("no_object", "error")
    assert finding.detail == "training, 1 image(s), objects: class 1: 1, class 2: 0"
