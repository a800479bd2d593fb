# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
"""A prediction refuses to destroy something before it begins."""

from __future__ import annotations

import os
from pathlib import Path

import itk
import nibabel
import numpy as np
import pytest
from PIL import Image

from monai_bbox_mil.data import find_images, plan_masks
from monai_bbox_mil.data import mask_plan as module
from tests.data.layouts import touch


def items(*paths):
    return [{"image": str(path)} for path in paths]


def link(path, target):
    try:
        path.symlink_to(target)
    except OSError:
        pytest.skip("links cannot be made here")
    return path


@pytest.mark.parametrize(
    "names", [("a.jpg", "a.png"), ("a.nii.gz", "a.NII.GZ"), ("b.png", "a.bmp", "a.JPEG"), ("a.mha", "a.MHA")]
)
def test_the_error_for_two_images_with_one_mask_names_both(tmp_path, names):
    touch(*(tmp_path / name for name in names))
    with pytest.raises(ValueError, match=rf"output_dir .*: .*{names[-2]} and .*{names[-1]} would both write the mask"):
        plan_masks(items(*(tmp_path / name for name in names)), tmp_path / "masks", dataset_dir=tmp_path)


def test_a_series_and_a_file_with_the_same_name_raise(tmp_path):
    (tmp_path / "a").mkdir()
    with pytest.raises(ValueError, match=r"a and .*a\.nii\.gz would both write"):
        plan_masks(items(tmp_path / "a", tmp_path / "a.nii.gz"), tmp_path / "masks", dataset_dir=tmp_path)


def test_images_with_the_same_name_in_several_folders(tmp_path):
    images = items(tmp_path / "x" / "a.nii", tmp_path / "y" / "a.nii")
    with pytest.raises(ValueError, match="would both write"):
        plan_masks(images, tmp_path / "masks")
    assert plan_masks(images, tmp_path / "masks", dataset_dir=tmp_path) == images


@pytest.mark.parametrize("folds", [False, True])
def test_names_that_differ_only_in_case_raise_if_the_disk_ignores_case(tmp_path, monkeypatch, folds):
    monkeypatch.setattr(module, "_folds_case", lambda folder: folds)
    images = items("x/Case.png", "x/case.png")
    if not folds:
        assert plan_masks(images, tmp_path / "masks") == images
        return
    with pytest.raises(ValueError, match=r"x/Case\.png and x/case\.png would both write"):
        plan_masks(images, tmp_path / "masks")


def test_whether_the_disk_ignores_case_is_tested(tmp_path):
    (tmp_path / "file").touch()
    assert module._folds_case(tmp_path) == (tmp_path / "FILE").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_similar_names_are_distinct(tmp_path):
    images = items(*(f"x/{name}" for name in ("a.nii", "a.nii.gz", "a.mha", "a.mhd", "a.nrrd", "a.png", "b.jpg")))
    assert plan_masks(images, tmp_path / "masks", dataset_dir="x") == images


@pytest.mark.parametrize("way", ["plain", "dots", "link"])
@pytest.mark.parametrize("postfix", ["", "_"])
def test_an_image_is_not_replaced_by_its_mask(tmp_path, way, postfix):
    folder = tmp_path / "images"
    touch(folder / "a.nii.gz")
    output_dir = {"plain": folder, "dots": tmp_path / "images" / ".." / "images"}.get(way) or link(
        tmp_path / "l", folder
    )
    with pytest.raises(ValueError, match=r"output_dir .*, output_postfix '_?': the mask of .*a\.nii\.gz would replace"):
        plan_masks(find_images(folder), output_dir, postfix, folder)


def test_an_image_is_not_replaced_by_the_mask_of_another(tmp_path):
    touch(tmp_path / "a.png", tmp_path / "a_2.png")
    with pytest.raises(ValueError, match=r"the mask of .*a\.png would replace the image .*a_2\.png"):
        plan_masks(find_images(tmp_path), tmp_path, "_2", tmp_path)


def test_the_target_of_a_linked_image_is_not_replaced(tmp_path):
    touch(tmp_path / "store" / "a_segmentation.png")
    (tmp_path / "images").mkdir()
    link(tmp_path / "images" / "a.png", tmp_path / "store" / "a_segmentation.png")
    with pytest.raises(ValueError, match=r"would replace the image .*images.a\.png"):
        plan_masks(find_images(tmp_path / "images"), tmp_path / "store", dataset_dir=tmp_path / "images")


def test_a_folder_of_links_to_images_is_predicted(tmp_path):
    touch(tmp_path / "store" / "x1.png", tmp_path / "store" / "x2.png")
    (tmp_path / "images").mkdir()
    for name in ("x1.png", "x2.png"):
        link(tmp_path / "images" / name, tmp_path / "store" / name)
    images = find_images(tmp_path / "images")
    assert plan_masks(images, tmp_path / "masks", "", tmp_path / "images") == images


@pytest.mark.parametrize("postfix", ["_out", "2", "_seg.v2"])
def test_masks_that_would_be_read_as_images_next_time_raise(tmp_path, postfix):
    touch(tmp_path / "a.png")
    with pytest.raises(ValueError, match="output_dir .*, output_postfix .* be taken for one the next time"):
        plan_masks(find_images(tmp_path), tmp_path, postfix, tmp_path)
    plan_masks(find_images(tmp_path), tmp_path / "masks", postfix, tmp_path)


@pytest.mark.parametrize("postfix", ["_segmentation", "_seg", "_lv_mask", "PRED_Pred"])
def test_masks_next_to_the_images_are_not_read_as_images_next_time(tmp_path, postfix):
    touch(tmp_path / "a.png")
    images = find_images(tmp_path)
    assert plan_masks(images, tmp_path, postfix, tmp_path) == images
    touch(tmp_path / f"a_{postfix.removeprefix('_')}.png")
    assert find_images(tmp_path) == images


def test_a_hand_drawn_mask_next_to_its_image_is_not_replaced(tmp_path):
    """Use a folder like PROMISE12's."""
    touch(tmp_path / "Case00.mhd", tmp_path / "Case00_segmentation.mhd")
    with pytest.raises(ValueError, match=r"output_dir .*Case00_segmentation\.mhd is there already, next to the image"):
        plan_masks(find_images(tmp_path), tmp_path, dataset_dir=tmp_path)


def test_masks_elsewhere_are_replaced_and_counted(tmp_path, capsys):
    touch(tmp_path / "a.png", tmp_path / "b.png", tmp_path / "masks" / "a_segmentation.png")
    images = find_images(tmp_path)
    assert plan_masks(images, tmp_path / "masks", dataset_dir=tmp_path) == images
    assert capsys.readouterr().out == f"Masks of an earlier run in {tmp_path / 'masks'} that are replaced: 1.\n"
    plan_masks(images, tmp_path / "others", dataset_dir=tmp_path)
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("place", ["", "file", "file/below", "broken"])
def test_an_output_dir_that_is_not_a_folder_raises(tmp_path, monkeypatch, place):
    monkeypatch.chdir(tmp_path)
    touch(tmp_path / "file")
    if place == "broken":
        link(tmp_path / "broken", tmp_path / "nowhere")
    with pytest.raises(ValueError, match="output_dir"):
        plan_masks(items("x/a.png"), place)


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_without_write_permission_raises(tmp_path):
    (tmp_path / "locked").mkdir(mode=0o500)
    with pytest.raises(ValueError, match="output_dir .*: expected a folder that can be written"):
        plan_masks(items("x/a.png"), tmp_path / "locked" / "masks")


def test_a_name_that_is_too_long_raises(tmp_path):
    longest = os.pathconf(tmp_path, "PC_NAME_MAX") if hasattr(os, "pathconf") else 255
    fits = "é" * ((longest - len("_segmentation.png")) // 2)
    plan_masks(items(f"x/{fits}.png"), tmp_path)
    with pytest.raises(ValueError, match=rf"output_postfix: expected masks with names of at most {longest} bytes"):
        plan_masks(items(f"x/{fits}éé.png"), tmp_path)


def test_labels_beyond_16_bits_in_a_png_raise(tmp_path):
    plan_masks(items("x/a.png"), tmp_path, label_values=[65535])
    plan_masks(items("x/a.nii"), tmp_path, label_values=[70000])
    with pytest.raises(ValueError, match=r"label_values \[1, 70000\]: expected at most 65535, .* mask of 'x/a\.jpg'"):
        plan_masks(items("x/a.jpg"), tmp_path, label_values=[1, 70000])


def write(path, array):
    if path.suffix == ".png":
        Image.fromarray(array[..., 0].T).save(path)
    elif path.suffix == ".mha":
        itk.imwrite(itk.image_from_array(np.ascontiguousarray(array.T)), str(path))
    else:
        nibabel.save(nibabel.Nifti1Image(array, np.eye(4)), path)


@pytest.fixture(params=[".nii.gz", ".mha", ".png"])
def present(tmp_path, request):
    """Write images a to d, and masks of a (complete), b (truncated) and c (of another size)."""
    chance, images = np.random.default_rng(0), tmp_path / "images"
    images.mkdir()
    (tmp_path / "masks").mkdir()
    shape = (30, 40, 1 if request.param == ".png" else 20)
    masks = {name: tmp_path / "masks" / f"{name}_segmentation{request.param}" for name in "abc"}
    for name in "abcd":
        write(images / f"{name}{request.param}", chance.integers(0, 200, shape).astype(np.uint8))
    write(masks["a"], chance.integers(0, 2, shape).astype(np.uint8))
    write(masks["b"], chance.integers(0, 2, shape).astype(np.uint8))
    masks["b"].write_bytes(masks["b"].read_bytes()[:-100])
    write(masks["c"], np.zeros((30, 39, shape[2]), np.uint8))
    return tmp_path


def resumed(folder, model=None):
    images = find_images(folder / "images")
    todo = plan_masks(images, folder / "masks", dataset_dir=folder / "images", resume=True, model=model)
    return [Path(item["image"]).name[0] for item in todo]


def test_resuming_makes_masks_that_are_missing_truncated_or_of_another_size(present, capsys):
    assert resumed(present) == ["b", "c", "d"]
    printed = capsys.readouterr().out
    assert "that are kept: 1." in printed
    assert "that do not fit their images: 2, 'b_segmentation" in printed
    assert "30, 39" in printed
    assert "that are replaced: 2." in printed


def test_resuming_counts_masks_that_are_older_than_the_model(present, capsys):
    model, mask = present / "model.pt", next((present / "masks").glob("a_*"))
    touch(model)
    os.utime(model, (1000, 1000))
    resumed(present, model)
    assert "older than the model" not in capsys.readouterr().out
    os.utime(mask, (999, 999))
    resumed(present, model)
    assert f"older than the model {model}, and so perhaps of another: 1." in capsys.readouterr().out


def test_resuming_keeps_masks_whose_size_the_header_does_not_show(tmp_path):
    """Keep masks with several channels, of a rotated picture, and of a DICOM series."""
    images, masks = tmp_path / "images", tmp_path / "masks"
    images.mkdir(), masks.mkdir()
    nibabel.save(nibabel.Nifti1Image(np.zeros((6, 5, 4, 2), np.int16), np.eye(4)), images / "a.nii")
    nibabel.save(nibabel.Nifti1Image(np.zeros((6, 5, 4), np.uint8), np.eye(4)), masks / "a_segmentation.nii")
    Image.new("RGB", (8, 6)).save(images / "b.jpg")
    Image.new("L", (6, 8)).save(masks / "b_segmentation.png")
    (images / "c").mkdir()
    nibabel.save(nibabel.Nifti1Image(np.zeros((6, 5, 4), np.uint8), np.eye(4)), masks / "c_segmentation.nii.gz")
    there = items(images / "a.nii", images / "b.jpg", images / "c")
    assert plan_masks(there, masks, dataset_dir=images, resume=True) == []
