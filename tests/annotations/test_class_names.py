# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
"""Class names as annotations write them, and what is read with them as classes."""

from __future__ import annotations

import numpy as np
import pytest

from monai_bbox_mil.annotations import read_boxes
from monai_bbox_mil.annotations.class_names import collect_class_names
from tests.annotations.annotations import BOX, FLAT, coco, make_image, roi, write

CATEGORIES = [{"id": 7, "name": "b"}, {"id": 3, "name": "z"}, {"id": 1, "name": "nobody"}]

# Two to the power of 40 entries, if anybody wrote them out.
ALIASES = "".join(f"a{n}: &a{n} [*a{n - 1}, *a{n - 1}]\n" for n in range(1, 41))


def two_boxes(**changes):
    boxes = [{"image_id": 1, "bbox": [1, 1, 2, 2], "category_id": number} for number in (7, 3)]
    return coco(annotations=boxes, **changes)


def test_coco_categories_with_boxes_in_the_order_of_their_ids(tmp_path):
    path = write(tmp_path / "a.json", two_boxes(categories=CATEGORIES))
    assert collect_class_names([(str(path), "a.png"), (path, "b.png")]) == ["z", "b"]
    assert collect_class_names([(str(write(tmp_path / "b.json", two_boxes())), None)]) == ["3", "7"]


def test_labels_of_boxes_and_of_rows_sorted_as_people_do(tmp_path):
    table = write(
        tmp_path / "a.csv",
        "image,x_min,y_min,x_max,y_max,class\na,1,1,2,2,lesion 10\nb,1,1,2,2,lesion 2\nc,,,,,\nd,1,1,2,2,\n",
    )
    boxes = {"box": [BOX, BOX], "label": [" cyst", "lesion 2"]}
    assert collect_class_names([(table, "a"), (boxes, "b"), (table, "b")]) == ["cyst", "lesion 2", "lesion 10"]
    assert collect_class_names([({"box": [BOX] * 4, "label": [10, "2", 2.0, 0]}, None)]) == ["0", "2", "10"]
    assert collect_class_names([({"box": [BOX]}, None), ([BOX], None), ([], None)]) == []


@pytest.mark.parametrize(
    ("beside", "content", "expected"),
    [
        (None, "", ["0", "2"]),
        ("labels/classes.txt", "cell\n\nvessel\nnerve\n", ["cell", "nerve"]),
        ("data.yaml", "train: x\nnames: [cell, vessel, nerve]", ["cell", "nerve"]),
        ("any.yml", "val: x\nnames: {0: cell, 2: nerve}", ["cell", "nerve"]),
        ("data.yaml", "train: x\nnames: ['0', '1', '2']", ["0", "2"]),
        ("data.yaml", "train: x\nnames: ['1', '2', '3']", ["class 1", "class 3"]),
        ("other.yaml", "names: [a, b, c]", ["0", "2"]),
        ("template.yaml", "{{ no yaml }}: [", ["0", "2"]),
    ],
)
def test_yolo_names_and_the_channels_they_give(tmp_path, beside, content, expected):
    (tmp_path / "labels").mkdir()
    path = write(tmp_path / "labels" / "slice1.txt", "2 .5 .5 .5 .5\n0 .5 .5 .5 .5\n")
    if beside:
        write(tmp_path / beside, content)
    names = collect_class_names([(str(path), None)])
    assert names == expected
    assert read_boxes(path, make_image(**FLAT), names)[1].tolist() == [len(names) - 1, 0]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("train: x\nnames: cell", "expected names as a list or by class number"),
        ("train: x\nnames: {a: 1}", "expected names as a list or by class number"),
        ("train: [", "data.yaml: expected YAML, got while parsing"),
        ("train: !!python/object/apply:os.getcwd []\nnames: [a]", "data.yaml: expected YAML, got could not determine"),
        (f"train: x\na0: &a0 [x, x]\n{ALIASES}names: *a40", "expected names as a list or by class number"),
    ],
)
def test_malformed_yolo_names_are_refused(tmp_path, content, message):
    write(tmp_path / "data.yaml", content)
    path = write(tmp_path / "a.txt", "0 .5 .5 .5 .5\n")
    with pytest.raises(ValueError, match=message):
        collect_class_names([(str(path), None)])


def test_two_yolo_descriptions_give_no_names_unless_one_is_data_yaml(tmp_path):
    for name in ("a", "b"):
        write(tmp_path / f"{name}.yaml", f"train: x\nnames: [{name}]")
    path = write(tmp_path / "a.txt", "0 .5 .5 .5 .5\n")
    assert collect_class_names([(str(path), None)]) == ["0"]
    write(tmp_path / "data.yaml", "train: x\nnames: [c]")
    assert collect_class_names([(str(path), None)]) == ["c"]
    (tmp_path / "data.yaml").unlink()
    (tmp_path / "b.yaml").unlink()
    assert collect_class_names([(str(path), None)]) == ["a"]
    write(tmp_path / "a.yaml", "train: x\nnames: [changed]")
    assert collect_class_names([(str(path), None)]) == ["changed"]


def test_a_yolo_number_beyond_the_names_is_refused(tmp_path):
    write(tmp_path / "classes.txt", "a\nb\n")
    path = write(tmp_path / "slice1.txt", "\n2 .5 .5 .5 .5\n")
    for read in (lambda: collect_class_names([(path, None)]), lambda: read_boxes(path, make_image(**FLAT), ["b"])):
        with pytest.raises(ValueError, match=r"slice1\.txt, line 2: expected a class 0\.\.1 of \('a', 'b'\), got '2'"):
            read()


def test_yolo_classes_in_another_order_than_the_files_own(tmp_path):
    write(tmp_path / "classes.txt", "a\nb\n")
    path = write(tmp_path / "slice1.txt", "0 .5 .5 .5 .5\n1 .5 .5 .5 .5\n")
    image = make_image(**FLAT)
    assert read_boxes(path, image, ["b", "a"])[1].tolist() == [1, 0]
    # Names of one's own are positions, and numbers are numbers.
    assert read_boxes(path, image, ["A", "B"])[1].tolist() == [0, 1]
    assert read_boxes(path, image, ["1", "0"])[1].tolist() == [1, 0]
    assert read_boxes(path, image)[1].tolist() == [0, 1]


def point(label, **more):
    return {"controlPoints": [{"label": label, **more}]}


@pytest.mark.parametrize(
    ("file", "markup", "expected"),
    [
        ("case1.mrk.json", point("prostate-1"), "prostate"),
        ("case1.mrk.json", point("prostate"), "prostate"),
        ("case1.mrk.json", point("R-1"), "R"),
        ("case1.mrk.json", {"label": {"value": 4}, **point("R-1")}, "4"),
        ("case1.mrk.json", {"name": "tumour", **point("prostate-1")}, "tumour"),
        ("case1.mrk.json", point("R-1", description="tumour"), "tumour"),
        ("case1_liver.mrk.json", point("R_2-1"), "liver"),
        ("case1_liver_2.mrk.json", point("R-1"), "liver"),
        ("case1-left kidney.mrk.json", {}, "left kidney"),
        ("p1.mrk.json", point("MarkupsROI_1-1"), "MarkupsROI"),
        ("case1.mrk.json", point("R_2-1"), "R"),
        ("case1_ROI_2.mrk.json", point("R-1"), "R"),
        ("case1_roi_20.mrk.json", point("prostate-2"), "prostate"),
        ("case1.mrk.json", point("lobe-2-1"), "lobe-2"),
        ("case1.mrk.json", point("3"), "3"),
        ("case1_2.mrk.json", point("R-1"), "R"),
        ("case1_roi.mrk.json", point("prostate-1"), "prostate"),
        ("case1_kidney.mrk.json", {"name": "tumour-1"}, "tumour-1"),
    ],
)
def test_slicer_names_and_the_channels_they_give(tmp_path, file, markup, expected):
    path = write(tmp_path / file, roi(**markup))
    image = make_image(name=str(tmp_path / "case1.nii.gz"))
    names = collect_class_names([([str(path)], str(tmp_path / "case1.nii.gz"))])
    assert names == [expected]
    assert read_boxes(path, image, ["another", *names])[1].tolist() == [1]


def test_two_organs_named_by_their_files_alone(tmp_path):
    paths = [str(write(tmp_path / f"case1_{name}.mrk.json", roi(**point("R-1")))) for name in ("spleen", "liver", "3")]
    image = make_image(name=str(tmp_path / "case1.nii.gz"))
    names = collect_class_names([(paths, image.meta["filename_or_obj"])])
    assert names == ["liver", "R", "spleen"]
    assert read_boxes(paths, image, names)[1].tolist() == [2, 0, 1]


def test_an_roi_of_points_only_has_no_name(tmp_path):
    fiducial = {"markups": [{"type": "Fiducial", "controlPoints": [{"label": "F-1"}]}]}
    assert collect_class_names([(str(write(tmp_path / "a.mrk.json", fiducial)), None)]) == []


def test_an_unreadable_file_is_named(tmp_path):
    with pytest.raises(ValueError, match=r"a\.json: expected JSON"):
        collect_class_names([(str(write(tmp_path / "a.json", "{")), None)])


def test_dicom_segments_and_drawn_rois(tmp_path):
    pytest.importorskip("highdicom", reason="the extra dicom (highdicom) is not installed")
    from tests.dicom_files import write_rtstruct, write_seg, write_series
    from tests.dicom_scene import CLASSES, MASKS, SHAPE, contours

    slices = write_series(tmp_path / "ct", np.zeros(SHAPE, dtype=np.int16))
    write_rtstruct(tmp_path / "rs.dcm", slices, {**contours(slices), "never drawn": []})
    write_seg(tmp_path / "seg.dcm", slices, MASKS, CLASSES)
    for name in ("rs.dcm", "seg.dcm"):
        assert collect_class_names([(str(tmp_path / name), str(tmp_path / "ct"))]) == sorted(CLASSES)
