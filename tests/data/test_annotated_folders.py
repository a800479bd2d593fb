# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
"""Folders of images whose annotations are recognised by name or lie in one table."""

from __future__ import annotations

import json
import os
import unicodedata
import warnings
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from monai_bbox_mil.data import annotated_datalist, find_class_names, find_images, get_datalist
from monai_bbox_mil.transforms import LoadBoxesd, LoadCheckedImaged
from tests.annotations.annotations import roi
from tests.data.layouts import fill, found, patients, touch, write_cases, write_list


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["a.nii.gz", "a.mrk.json"], {"a.nii.gz": "a.mrk.json"}),
        (["a.nii.gz", "a1.mrk.json", "a10.mrk.json"], {"a.nii.gz": ["a1.mrk.json", "a10.mrk.json"]}),
        (["Case00.mhd", "Case00_R.mrk.json"], {"Case00.mhd": "Case00_R.mrk.json"}),
        (["a.nrrd", "a_L.mrk.json", "a_R.mrk.json"], {"a.nrrd": ["a_L.mrk.json", "a_R.mrk.json"]}),
        (["a.mha", "a-1.mrk.json", "a-2.mrk.json"], {"a.mha": ["a-1.mrk.json", "a-2.mrk.json"]}),
        (["case1.mhd", "case1.raw", "case1Liver.mrk.json"], {"case1.mhd": "case1Liver.mrk.json"}),
        (["case1.nii", "case1.nii.json"], {"case1.nii": "case1.nii.json"}),
        (["a.png", "a.json", "b.JPG", "b.txt"], {"a.png": "a.json", "b.JPG": "b.txt"}),
        (["a.tif", "a.csv"], {"a.tif": "a.csv"}),
        (["a.png", "a_boxes.json"], {"a.png": "a_boxes.json"}),
        (["a.png", "a_mask.png"], {"a.png": "a_mask.png"}),
        (["a.nii.gz", "a_seg.nii.gz"], {"a.nii.gz": "a_seg.nii.gz"}),
        (["a.mha", "a_segmentation.mha"], {"a.mha": "a_segmentation.mha"}),
        (["a.nrrd", "a-label.nrrd"], {"a.nrrd": "a-label.nrrd"}),
        (["a.nii.gz", "a.seg.nrrd"], {"a.nii.gz": "a.seg.nrrd"}),
        (["a.png", "a_mask.png", "a_mask_1.png"], {"a.png": ["a_mask.png", "a_mask_1.png"]}),
        (["images/a.jpg", "masks/a.png"], {"images/a.jpg": "masks/a.png"}),
        (["images/a.jpg", "Segmentations/a_seg.png"], {"images/a.jpg": "Segmentations/a_seg.png"}),
        (["imagesTr/a.nii.gz", "labelsTr/a.nii.gz"], {"imagesTr/a.nii.gz": "labelsTr/a.nii.gz"}),
        (["a.png", "masks/a.png"], {"a.png": "masks/a.png"}),
        (["x/images/a.png", "x/labels/a.txt"], {"x/images/a.png": "x/labels/a.txt"}),
        (["images/x/a.png", "labels/x/a.txt"], {"images/x/a.png": "labels/x/a.txt"}),
        (["p1/a.nii", "p1/a.mrk.json", "p2/a.nii", "p2/a_seg.nii"],
         {"p1/a.nii": "p1/a.mrk.json", "p2/a.nii": "p2/a_seg.nii"}),
        (["labels/a.png", "labels/a.txt"], {"labels/a.png": "labels/a.txt"}),
        (["segovia/a.png", "segovia/a.txt"], {"segovia/a.png": "segovia/a.txt"}),
        (["scan_label.png", "scan_label.json"], {"scan_label.png": "scan_label.json"}),
        (["a.png", "a.json", "a_pred.png", ".hidden.png", "__MACOSX/a.png"], {"a.png": "a.json"}),
        (["a.png", "README.txt", "settings.json", "classes.txt"], {}),
        (["a.png", "b.png"], {}),
    ],
)  # fmt: skip
def test_files_by_name(tmp_path, names, expected):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert found(fill(tmp_path, *names)) == expected


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["a1.nii", "a10.nii", "a1.mrk.json", "a10.mrk.json"], {"a1.nii": "a1.mrk.json", "a10.nii": "a10.mrk.json"}),
        (["a1.nii", "a10.nii", "a1_x.mrk.json", "a10-y.mrk.json"],
         {"a1.nii": "a1_x.mrk.json", "a10.nii": "a10-y.mrk.json"}),
        (["scan.nii", "scan_2.nii", "scan.mrk.json", "scan_2.mrk.json"],
         {"scan.nii": "scan.mrk.json", "scan_2.nii": "scan_2.mrk.json"}),
        (["scan.nii", "scan_2.nii", "scan_R.mrk.json", "scan_2_R.mrk.json"],
         {"scan.nii": "scan_R.mrk.json", "scan_2.nii": "scan_2_R.mrk.json"}),
        (["a.png", "ab.png", "a.txt", "ab.txt"], {"a.png": "a.txt", "ab.png": "ab.txt"}),
        (["a.png", "a_mask.png", "a_2.png", "a_2_mask.png"], {"a.png": "a_mask.png", "a_2.png": "a_2_mask.png"}),
        (["a.1.nii", "a.1.2.nii", "a.1.mrk.json", "a.1.2_R.mrk.json"],
         {"a.1.nii": "a.1.mrk.json", "a.1.2.nii": "a.1.2_R.mrk.json"}),
    ],
)  # fmt: skip
def test_names_that_begin_alike(tmp_path, names, expected):
    assert found(fill(tmp_path, *names)) == expected


@pytest.mark.parametrize("stray", ["case10.mrk.json", "aliver.mrk.json", "b_a.mrk.json", "A.mrk.json"])
def test_markups_of_no_image_are_named_in_a_warning(tmp_path, stray):
    fill(tmp_path, "a.nii", "a.mrk.json", "case1.nii", "case1.mrk.json", stray)
    with pytest.warns(UserWarning, match=f"1 annotations belong to no image and are left out: {stray}"):
        assert found(tmp_path) == {"a.nii": "a.mrk.json", "case1.nii": "case1.mrk.json"}


@pytest.mark.parametrize("link", ["_", "-", ""])
def test_a_number_that_may_be_an_image_is_refused(tmp_path, link):
    fill(tmp_path, "scan.nii.gz", f"scan{link}2.nii.gz", f"scan{link}30.mrk.json")
    message = f"fits the image scan and, beside scan{link}2, an image scan{link}30 that .* scan_roi_30.mrk"
    with pytest.raises(ValueError, match=message):
        annotated_datalist(tmp_path)


def test_annotations_that_all_belong_to_no_image_are_refused(tmp_path):
    fill(tmp_path, "a.nii.gz", "b.nii.gz", "liver.mrk.json", "masks/c.nii.gz")
    message = (
        r"got 2 that belong to none: c\.nii\.gz, liver\.mrk\.json\. The first of 2 .* name its ROIs a_organ\.mrk\.json"
    )
    with pytest.raises(ValueError, match=message):
        get_datalist(tmp_path)


def test_accents_written_in_two_ways(tmp_path):
    fill(tmp_path, unicodedata.normalize("NFD", "é.nii.gz"), unicodedata.normalize("NFC", "é_Leber.mrk.json"))
    assert len(annotated_datalist(tmp_path)["training"]) == 1


def test_names_of_cases_alone_are_no_promise12(tmp_path):
    fill(tmp_path, "Case00.mhd", "Case01.mhd", "Case00.mrk.json", "Case01.mrk.json")
    assert len(get_datalist(tmp_path)["training"]) == 1


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="root may read any folder")
def test_an_unreadable_folder_is_named(tmp_path):
    fill(tmp_path, "a.png", "a.txt", "closed/b.png")
    (tmp_path / "closed").chmod(0)
    try:
        with pytest.warns(UserWarning, match="closed: Permission denied, so its files are left out"):
            assert found(tmp_path) == {"a.png": "a.txt"}
    finally:
        (tmp_path / "closed").chmod(0o700)


def test_images_without_annotation_are_left_out_with_one_warning(tmp_path):
    fill(tmp_path, *(f"{name}.nii.gz" for name in "abcdefgh"), "a.mrk.json", "b_mask.nii.gz", "c.mrk.json")
    (tmp_path / "c.mrk.json").write_text('{"markups": [{"type": "Fiducial"}]}')
    touch(tmp_path / "masks" / "z.png")
    with pytest.warns(UserWarning) as caught:
        parts = get_datalist(tmp_path)
    assert sorted(patients(parts["training"] + parts["validation"])) == ["a", "b"]
    (warning,) = [str(each.message) for each in caught]
    assert (
        "6 of 8 images have no annotation and are left out: c.nii.gz, d.nii.gz, e.nii.gz, f.nii.gz, g.nii.gz, ..."
        in warning
    )
    assert "c.json with []" in warning and "1 markups files have no ROI" in warning
    assert "1 annotations belong to no image and are left out: z.png" in warning


def test_a_sidecar_or_notes_are_no_annotation(tmp_path):
    fill(tmp_path, "a.nii.gz", "a.mrk.json", "a.txt", "a.csv", "b.nii.gz", "b_seg.nii.gz")
    for name in ("a", "b"):
        (tmp_path / f"{name}.json").write_text('{"RepetitionTime": 2.0, "EchoTime": 0.03}')
    (tmp_path / "a.txt").write_text("seen by two readers\n")
    (tmp_path / "a.csv").write_text("age,sex\n60,f\n")
    assert found(tmp_path) == {"a.nii.gz": "a.mrk.json", "b.nii.gz": "b_seg.nii.gz"}


@pytest.mark.parametrize(
    "names",
    [
        ["a.png", "a.json", "a_mask.png"],
        ["a.png", "a.json", "a.csv"],
        ["a.png", "a.mrk.json", "a.txt"],
        ["a.png", "a_mask.png", "a_seg.png"],
        ["images/a.png", "masks/a.png", "labels/a.txt"],
        ["images/a.png", "masks/a.png", "labels/a.png"],
        ["a.png", "a_mask.png", "a_mask.nii.gz"],
    ],
)
def test_annotations_of_several_kinds_are_refused(tmp_path, names):
    with pytest.raises(
        ValueError, match=r"a\.png: expected one box file, Slicer ROIs, DICOM .* got 2 .*datalist\.json"
    ):
        annotated_datalist(fill(tmp_path, *names))


@pytest.mark.parametrize(
    "names", [["a.png", "a.nii.gz", "a.json"], ["a.png", "a.jpg", "a_mask.png"], ["a.png", "images/a.png", "a.txt"]]
)
def test_two_annotated_images_of_one_name_are_refused(tmp_path, names):
    with pytest.raises(ValueError, match=r"expected one image of its name, got .*a\..* and .*a\."):
        annotated_datalist(fill(tmp_path, *names))


def test_two_images_of_one_name_may_stay_where_neither_is_annotated(tmp_path):
    fill(tmp_path, "a.png", "a.nii.gz", "b.png", "b.txt")
    (tmp_path / "a.json").write_text('{"EchoTime": 0.03}')
    with pytest.warns(UserWarning, match="2 of 3 images have no annotation"):
        assert found(tmp_path) == {"b.png": "b.txt"}


def test_a_malformed_box_file_is_named(tmp_path):
    fill(tmp_path, "a.png", "a.json")
    (tmp_path / "a.json").write_text("[[1, 2")
    with pytest.raises(ValueError, match=r"a\.json: expected JSON"):
        annotated_datalist(tmp_path)


def test_known_layouts_and_lists_come_first(tmp_path):
    write_cases(tmp_path, range(5))
    with pytest.warns(UserWarning, match="validation patients of the paper"):
        assert len(get_datalist(tmp_path)["training"]) == 4
    fill(tmp_path, "a.png", "a.json")
    write_list(tmp_path, {"training": [{"image": "a.png", "box": "a.json"}]})
    assert patients(get_datalist(tmp_path)["training"]) == ["a"]


def test_validation_is_drawn_by_patient(tmp_path):
    names = [f"sub-{n}_{scan}" for n in range(5) for scan in ("T1", "T2")]
    fill(tmp_path, *(f"{name}.nii" for name in names), *(f"{name}.mrk.json" for name in names))
    parts = get_datalist(tmp_path)
    assert len(parts["validation"]) == 2 and len(set(patients(parts["validation"]))) == 1
    assert parts == get_datalist(tmp_path) and get_datalist(tmp_path, validation_fraction=0)["validation"] == []
    assert set(patients(parts["training"])) == {f"sub-{n}" for n in range(5)} - set(patients(parts["validation"]))


def test_one_patient_has_no_validation(tmp_path):
    parts = get_datalist(fill(tmp_path, "a.nii", "a.mrk.json"))
    assert patients(parts["training"]) == ["a"] and parts["validation"] == []


def test_linked_folders_are_followed_once(tmp_path):
    fill(tmp_path / "elsewhere", "a.png", "a.txt")
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "images").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere" / "again").symlink_to(tmp_path / "data")
    assert found(tmp_path / "data") == {"images/a.png": "images/a.txt"}


def test_masks_of_other_programs_are_no_images_for_prediction(tmp_path):
    fill(tmp_path, "a.nrrd", "a-label.nrrd", "a.seg.nrrd", "b.label.nrrd")
    assert [Path(item["image"]).name for item in find_images(tmp_path)] == ["a.nrrd", "b.label.nrrd"]


def test_rois_of_two_organs_are_loaded(tmp_path):
    affine = np.diag([-2.0, 2, 3, 1])
    for case in ("case1", "case2"):
        nib.save(nib.Nifti1Image(np.zeros((20, 16, 12), dtype=np.int16), affine), tmp_path / f"{case}.nii.gz")
        for organ, center in (("liver", [-12, 10, 12]), ("spleen", [-20, 20, 12])):
            content = roi(center=center, size=[4, 4, 6], controlPoints=[{"label": f"{organ}-1"}])
            (tmp_path / f"{case}_{organ}.mrk.json").write_text(json.dumps(content))
    parts = get_datalist(tmp_path)
    names = find_class_names(parts)
    assert names == ["liver", "spleen"]
    (item,) = parts["validation"]
    loaded = LoadBoxesd(classes=names)(LoadCheckedImaged("image")(item))
    assert loaded["box_class"].tolist() == [0, 1]
    assert loaded["box"].tolist() == [[5.5, 4.5, 3.5, 7.5, 6.5, 5.5], [9.5, 9.5, 3.5, 11.5, 11.5, 5.5]]
