# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
"""Hostile annotation files: each raises an error that names it, at once, and the next image is still read."""

from __future__ import annotations

import json
import os
import re

import nibabel
import numpy as np
import pytest
import torch
from monai.data import MetaTensor

from monai_bbox_mil.annotations import formats, read_boxes, survey_boxes
from monai_bbox_mil.annotations.guard import UnforeseenContentError
from monai_bbox_mil.check_boxes import check_items
from monai_bbox_mil.data import get_datalist
from tests.robustness.cases import content

FLAT = MetaTensor(torch.zeros(1, 20, 16), meta={"filename_or_obj": "/data/case1.png"})
VOLUME = MetaTensor(torch.zeros(1, 9, 9, 3), meta={"filename_or_obj": "/data/case1.nii.gz"})
DEEP = 100_000
NESTED = "[" * 300 + "]" * 300
COCO_HEAD = '{"images": [{"id": 1, "file_name": "case1"}], "annotations": [{"image_id": 1, "category_id": 0, "bbox": '

HOSTILE = {
    "brackets within brackets": ("a.json", "[" * DEEP + "]" * DEEP, "nested too deeply to read"),
    "braces within braces": ("a.json", '{"a":' * DEEP + "1" + "}" * DEEP, "nested too deeply to read"),
    "brackets that do not end": ("a.json", "[" * DEEP, "expected JSON"),
    "nested boxes": ("a.json", f'{{"box": [{NESTED}]}}', r"box\[0\]: expected 4 or 6 numbers, got 1"),
    "a nested mode": ("a.json", f'{{"box": [], "box_mode": {NESTED}}}', "expected a box_mode"),
    "nested labels": ("a.json", f'{{"box": [[1, 1, 2, 2]], "label": [{NESTED}]}}', "a 0-based channel"),
    "a number of 5000 digits": ("a.json", f'{{"box": [[{"9" * 5000}, 1, 2, 2]]}}', "expected JSON, got Exceeds"),
    "a label of 4000 digits": ("a.json", f'{{"box": [[1, 1, 2, 2]], "label": [{"9" * 4000}]}}', "a 0-based channel"),
    "1e400": ("a.json", '{"box": [[1e400, 1, 2, 2]]}', "finite numbers"),
    "half of a letter": ("a.json", '{"box": [[1, 1, 2, 2]], "label": ["\\ud800"]}', r"0-based channel, got '\\ud800'"),
    "a text of 10 MB": ("a.json", json.dumps({"box": "x" * 10_000_000}), "box: expected a list, got 'xx"),
    "NUL in JSON": ("a.json", '{"box": \0[]}', "expected JSON, got an error in line 1"),
    "NUL in a table": ("a.csv", "x_min,y_min,x_max,y_max\n1,\0,2,2\n", "a.csv"),
    "a cell of 200 kB": ("a.csv", "x_min,y_min,x_max,y_max\n" + "1" * 200_000 + ",1,2,2\n", "expected comma-separated"),
    "a header of a million": ("a.csv", "x," * 1_000_000, "expected the columns x_min"),
    "digits of other scripts": ("a.txt", "\u0662 0.5 0.5 0.1 0.1", "a 0-based channel|boxes"),
    "a superscript": ("a.txt", "\u00b2 0.5 0.5 0.1 0.1", "a 0-based channel, got '\u00b2'"),
    "a class of 4000 digits": ("a.txt", f"{'9' * 4000} 0.5 0.5 0.1 0.1", "a 0-based channel"),
    "a list as COCO box": ("a.json", f"{COCO_HEAD}{NESTED}}}]}}", r"annotations\[0\]"),
    "mappings as COCO ids": (
        "a.json",
        '{"images": [{"id": {}, "file_name": []}], "annotations": [{"image_id": null}]}',
        "once among the images, got 0 of 1",
    ),
    "lists as Slicer's names": (
        "a.mrk.json",
        '{"markups": [{"type": "ROI", "center": [0, 0, 1], "size": [1, 1, 1], "name": [], "label": {"value": {}}}]}',
        "a.mrk.json",
    ),
    "elements within elements": ("a.xml", "<a>" * DEEP + "</a>" * DEEP, "expected the element 'annotations'"),
    "an entity of entities": (
        "a.xml",
        '<!DOCTYPE a [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;">]><annotations>&b;</annotations>',
        "expected XML without DOCTYPE and ENTITY",
    ),
    "an entity that is a file": (
        "a.xml",
        '<!DOCTYPE a [<!ENTITY a SYSTEM "file:///etc/passwd">]><annotations>&a;</annotations>',
        "expected XML without DOCTYPE and ENTITY",
    ),
    "a mask as large as a disk": (
        "a.xml",
        '<annotations><image name="case1.png"><mask label="0" rle="0,1000000000000" left="0" top="0" width="1000000" '
        'height="1000000"/><box/></image></annotations>',
        r"box\[1\]: expected the keys",
    ),
    "a brush as large as a disk": (
        "a.json",
        '[{"data": {"image": "case1"}, "annotations": [{"result": [{"type": "brushlabels", "value": '
        '{"format": "rle", "rle": [255, 255, 255, 255, 57, 27, 252, 127, 224]}}]}]}]',
        "expected a picture of 20 x 16 pixels",
    ),
    "mappings as Label Studio's ids": (
        "a.json",
        '[{"data": {"image": "case1"}, "annotations": [{"result": [{"type": {}, "id": [], "value": []}]}]}]',
        r"result\[0\]: expected a rectangle",
    ),
    "no RTSTRUCT": ("a.dcm", b"\0" * 128 + b"DICM" + b"\xff" * 400, "a.dcm"),
    "empty DICOM": ("a.dcm", b"", "expected a DICOM file"),
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("classes", [None, ("organ", "other")])
@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_content(tmp_path, name, classes):
    if HOSTILE[name][0].endswith(".dcm"):
        pytest.importorskip("pydicom", reason="the extra dicom is not installed")
    path = content(*HOSTILE[name][:2])(tmp_path)
    image = VOLUME if path.suffix == ".dcm" or path.name.endswith(".mrk.json") else FLAT
    try:
        read_boxes(path, image, classes)
    except ValueError as error:
        assert str(error).startswith(str(path)) and len(str(error)) < 1000
        assert path.suffix == ".dcm" or not isinstance(error, UnforeseenContentError)
        assert classes or re.search(HOSTILE[name][2], str(error)), error
        str(error).encode()
    else:
        # Digits of other scripts are digits, and where a text is no name another one may be.
        assert name in ("digits of other scripts", "lists as Slicer's names")
    try:
        survey_boxes(path, image, classes)
    except ValueError as error:
        assert str(error).startswith(str(path))


SUFFIXES = sorted({suffix for format in formats.FORMATS.values() for suffix in format.suffixes})


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize(
    "kind", ["folder", "loop", "link to nothing", "no right to read", "NUL in the name", "long name"]
)
def test_paths_that_are_no_files(tmp_path, suffix, kind):
    path = tmp_path / f"a{suffix}"
    if kind == "folder":
        path.mkdir()
    elif kind == "loop":
        path.symlink_to(path)
    elif kind == "link to nothing":
        path.symlink_to(tmp_path / "nothing")
    elif kind == "no right to read":
        path.touch(mode=0)
        if os.access(path, os.R_OK):
            pytest.skip("whoever runs this may read every file")
    elif kind == "NUL in the name":
        path = f"{tmp_path}/a\0{suffix}"
    else:
        path = tmp_path / f"{'a' * 300}{suffix}"
    with pytest.raises((OSError, ValueError)) as error:
        read_boxes(path, VOLUME)
    assert str(path) in str(error.value)


def test_check_boxes_finds_such_files_and_goes_on(tmp_path):
    files = [(name, *HOSTILE[name][:2]) for name in ("brackets within brackets", "a cell of 200 kB", "NUL in JSON")]
    items = []
    for number, (_, name, text) in enumerate([*files, ("sound", "a.json", {"box": [[2, 2, 0, 9, 9, 1]]})]):
        voxels = np.random.default_rng(number).random((16, 16, 2), dtype=np.float32)
        nibabel.save(nibabel.Nifti1Image(voxels, np.eye(4)), tmp_path / f"{number}.nii.gz")
        content(f"{number}{name[1:]}", text)(tmp_path)
        items.append({"image": f"{number}.nii.gz", "box": f"{number}{name[1:]}", "patient": str(number)})
    content("datalist.json", {"training": items})(tmp_path)
    result = check_items(get_datalist(tmp_path, check=False))
    kinds = [[finding.kind for finding in image.findings if finding.severity == "error"] for image in result.images]
    assert kinds == [["unreadable_boxes"]] * 3 + [[]]
    assert len(result.images[3].boxes) == 1
