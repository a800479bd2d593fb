# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
"""Data lists at fault that are not in ``tests/data/test_datalists.py``: leakage however it is spelt, and odd paths."""

from __future__ import annotations

import os

import pytest

from monai_bbox_mil.data import load_datalist
from tests.robustness.cases import content


def entry(image, **more):
    return {"image": image, **more}


def parts(training, validation):
    return {"training": training, "validation": validation}


LEAKS = {
    "one image under two names of patients": parts([entry("a.nii", patient="1")], [entry("a.nii", patient="2")]),
    "spelt with dots": parts([entry("a.nii", patient="1")], [entry("below/../a.nii", patient="2")]),
    "by a link": parts([entry("a.nii", patient="1")], [entry("link.nii", patient="2")]),
    "one channel of several": parts([entry(["a.nii", "b.nii"], patient="1")], [entry(["c.nii", "b.nii"], patient="2")]),
    "a patient as number and as text": parts([entry("a.nii", patient=7)], [entry("b.nii", patient="7")]),
    "a patient with a blank": parts([entry("a.nii", patient="p7")], [entry("b.nii", patient="p7 ")]),
    "a subject's two sessions": parts([entry("sub-1_ses-1.nii")], [entry("sub-1_ses-2.nii")]),
    "training and test": {"training": [entry("a.nii", patient="1")], "test": [entry("a.nii", patient="2")]},
}


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "below").mkdir()
    for name in ("a.nii", "b.nii", "c.nii", "sub-1_ses-1.nii", "sub-1_ses-2.nii", "sub-2_mask.nii", "sub-2.csv"):
        (tmp_path / name).touch()
    os.symlink(tmp_path / "a.nii", tmp_path / "link.nii")
    return tmp_path


@pytest.mark.parametrize("case", LEAKS)
def test_leakage_is_an_error(folder, case):
    content("datalist.json", LEAKS[case])(folder)
    with pytest.raises(ValueError, match=r"datalist\.json: expected each (patient|image) in one part only, got 1 "):
        load_datalist(folder, validation_fraction=0)


REFUSED = {
    "the mask of another subject": (
        entry("sub-1_ses-1.nii", label="sub-2_mask.nii"),
        "one subject, got sub-1 and sub-2",
    ),
    "boxes of another subject": (entry("sub-1_ses-1.nii", box="sub-2.csv"), "one subject, got sub-1 and sub-2"),
    "an absolute path to nothing": (entry("/nowhere/a.nii"), "got 1 missing: /nowhere/a.nii"),
    "a path out of the folder to nothing": (entry("../../nowhere/a.nii"), r"got 1 missing: .*nowhere/a\.nii"),
    "a missing mask": (entry("a.nii", label="none.nii"), r"got 1 missing: .*none\.nii"),
    "a missing box file": (entry("a.nii", box="none.csv"), r"got 1 missing: .*none\.csv"),
    "an empty path": (entry(""), r"expected training\[0\] to be an object with an image"),
    "a null image": (entry(None), r"expected training\[0\] to be an object with an image"),
    "a null in a list": (entry([None]), r"expected training\[0\] to be an object with an image"),
    "a mask that is a number": (entry("a.nii", mask=3), "expected mask to be a path, or a list of paths, got 3"),
    "a number": (3, r"expected training\[0\] to be an object with an image, got 3"),
    "boxes without as many labels": (entry("a.nii", box=[], label=[1]), "a label for each of 0 boxes, got 1"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refused_with_the_place(folder, case):
    item, message = REFUSED[case]
    content("datalist.json", {"training": [item]})(folder)
    with pytest.raises(ValueError, match=r"datalist\.json: .*" + message):
        load_datalist(folder)


@pytest.mark.parametrize("path", ["below/../a.nii", "./a.nii", "{folder}/a.nii", "below/../below/../a.nii"])
def test_paths_that_lead_there_are_taken(folder, path):
    content("datalist.json", {"test": [path.format(folder=folder)]})(folder)
    (item,) = load_datalist(folder, section="test")
    assert os.path.samefile(item["image"], folder / "a.nii")


def test_an_image_twice_in_one_part_is_seen_twice(folder):
    content("datalist.json", {"training": [entry("a.nii"), entry("a.nii"), entry("b.nii")]})(folder)
    assert len(load_datalist(folder, validation_fraction=0)["training"]) == 3


@pytest.mark.parametrize(
    "text", ["", " ", "null", "3", '"a"', "{", '{"training": null}', '{"training": 3}', "\ufeff{}"]
)
def test_no_data_list_at_all(folder, text):
    content("datalist.json", text)(folder)
    with pytest.raises(ValueError, match=r"datalist\.json: expected "):
        load_datalist(folder)
