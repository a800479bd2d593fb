# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
"""Annotations that lack something, or are at fault."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from monai.transforms import (
    Flip,
    ResampleToMatch,
)

from monai_bbox_mil.annotations import boxes_from_world, boxes_to_world, image_frame, read_boxes, survey_boxes
from tests.annotations.annotations import (
    AFFINE,
    BOX,
    CLASSES,
    CSV_HEADER,
    EXAMPLES,
    FILES,
    SHAPE,
    coco,
    make_image,
    roi,
    write,
)


def test_index_boxes_after_the_original_affine_was_lost():
    target = make_image((10, 10, 10), affine=torch.diag(torch.tensor([4.0, 4, 4, 1], dtype=torch.float64)))
    image = ResampleToMatch()(make_image(), target)
    with pytest.raises(ValueError, match=r"original_affine'\], which .* lacks after ResampleToMatch"):
        read_boxes([BOX], image)
    world = boxes_to_world(torch.tensor([BOX]), AFFINE)
    expected = boxes_from_world(world, torch.as_tensor(target.affine)).clamp(min=0, max=10).float()
    torch.testing.assert_close(read_boxes({"box": world, "space": "world"}, image)[0], expected)
    with pytest.raises(ValueError, match="lacks after Flip"):
        read_boxes([BOX], Flip(0)(make_image(original_affine=None, name=None)))


def test_untransformed_image_needs_no_meta():
    image = MetaTensor(torch.zeros(1, *SHAPE), affine=AFFINE)
    assert read_boxes([BOX], image)[0].tolist() == [BOX]
    assert read_boxes(FILES / "roi.mrk.json", image, CLASSES)[0][0].tolist() == BOX


def test_2d_slice_of_a_volume_has_no_depth():
    image = make_image((20, 16), spatial_shape=np.array(SHAPE))
    with pytest.raises(ValueError, match=r"cannot place a 3D box in .*case1.*, a 2D slice of a volume"):
        read_boxes(roi(), image)


def test_yolo_needs_the_size_of_the_file(tmp_path):
    path = write(tmp_path / "a.txt", "0 0.5 0.5 0.5 0.5\n")
    with pytest.raises(ValueError, match=r"a\.txt: YOLO boxes need the size of the image's file"):
        read_boxes(path, Flip(0)(make_image((20, 16), spatial_shape=np.array([3, 20, 16]))))
    as_canonical = make_image((20, 16), as_closest_canonical=True)
    assert image_frame(as_canonical).original_shape == (20, 16, 1)
    assert image_frame(Flip(0)(as_canonical)).original_shape is None


@pytest.mark.parametrize(
    ("source", "image", "options", "error", "message"),
    [
        ([BOX], torch.zeros(1, *SHAPE), {}, TypeError, "image must be a channel-first .*MetaTensor, got Tensor"),
        ([BOX], MetaTensor(torch.zeros(1, 4)), {}, ValueError, r"2 or 3 spatial axes, got the shape \(1, 4\)"),
        ([BOX], make_image(affine=0 * AFFINE), {}, ValueError, "image.affine must be one invertible matrix"),
        (3, make_image(), {}, TypeError, "source must be a path, a mapping or a list of boxes, got int"),
        ([BOX], make_image(), {"classes": "prostate"}, TypeError, "classes must be a sequence .* string 'prostate'"),
        ([BOX], make_image(), {"format": "voc"}, ValueError, r"format must be one of \('auto', .*got 'voc'"),
        ([BOX], make_image(), {"format": "csv"}, ValueError, "format 'csv' is read from files only, got a list"),
        ([BOX], make_image(), {"format": "dicom"}, ValueError, "format 'dicom' is read from files only, got a list"),
    ],
)
def test_wrong_arguments(source, image, options, error, message):
    with pytest.raises(error, match=message):
        read_boxes(source, image, **options)


FLAT_CSV = "x_min,y_min,x_max,y_max\n"
BAD_3D = [
    ("a.yml", "<a/>", r"expected the extension \.json, \.txt, \.csv, \.xml, \.dcm or format=\.\.\., got '\.yml'"),
    ("a.json", "", "expected JSON, got an empty file"),
    ("a.json", '{"box": [', "expected JSON, got an error in line 1"),
    ("a.json", "3", "box: expected a list, got 3"),
    ("a.json", {"boxes": [], "label": []}, r"expected the key 'box', .*got \['boxes', 'label'\]"),
    ("a.json", {"box": "abc"}, "box: expected a list, got 'abc'"),
    ("a.json", {"box": [BOX, [1, 2, 3]]}, r"box\[1\]: expected 4 or 6 numbers, got 3: \[1, 2, 3\]"),
    ("a.json", {"box": [BOX[:4]], "box_mode": "xyzxyz"}, r"box\[0\]: expected 6 numbers, got 4"),
    ("a.json", {"box": [BOX], "box_mode": "xyxy"}, r"box\[0\]: expected 4 numbers, got 6"),
    ("a.json", {"box": [BOX], "box_mode": "yx"}, "expected a box_mode of monai.data.box_utils, got 'yx'"),
    ("a.json", '{"box": [[NaN, 3, 2, 10, 8, 6]]}', r"box\[0\]: expected 4 or 6 finite numbers, got \[nan"),
    ("a.json", {"box": [["a", 3, 2, 10, 8, 6]]}, r"box\[0\]: expected 4 or 6 finite numbers, got \['a'"),
    ("a.json", {"box": [[4, 8, 2, 10, 8, 6]]}, r"expected min < max on every axis, got min \[4.* and max \[10"),
    ("a.json", {"box": [[4, 8, 2, -1, 1, 1]], "box_mode": "xyzwhd"}, r"box\[0\]: expected min < max"),
    ("a.json", {"box": [BOX], "label": [0, 1]}, r"expected one label per box \(1\), got 2"),
    ("a.json", {"box": [BOX], "space": "mm"}, "expected space 'index', or 'world' .*got 'mm' with 'RAS'"),
    ("a.json", {"box": [BOX], "coordinate_system": "LPS"}, "got 'index' with 'LPS'"),
    (
        "a.json",
        {"box": [[4, 3, 10, 8]]},
        r"box\[0\]: a 2D box needs an image of one slice.*case1.*\(20, 16, 12\) voxels",
    ),
    ("a.json", {"box": [BOX], "label": ["cat"]}, "without classes a label must be a 0-based channel, got 'cat'"),
    ("a.json", {"box": [BOX], "label": [-1]}, "a 0-based channel, got -1"),
    ("a.json", {"box": [BOX], "label": [0.5]}, "a 0-based channel, got 0.5"),
    ("a.csv", "", "expected a header line, got an empty file"),
    ("a.csv", "a;b\n1;2\n", "expected the columns x_min, y_min, x_max, y_max, .*got a;b"),
    ("a.csv", "x_min,y_min,x_max,y_max,z_min\n", "expected the columns .*got x_min, y_min, x_max, y_max, z_min"),
    ("a.csv", FLAT_CSV + "1,1,2,2\n", "row 2: a 2D box needs an image of one slice"),
    ("a.csv", CSV_HEADER + "1,1,2,2,1\n", "row 2: expected 6 values as in the header, got 5"),
    ("a.csv", CSV_HEADER + "1,1,2,,1,2\n", "row 2: expected 6 finite numbers"),
    ("a.csv", CSV_HEADER + "1,1,2,1,1,2\n", "row 2: expected min < max"),
    ("a.csv", "slice," + FLAT_CSV + "1.5,1,1,2,2\n", "row 2: expected a whole number as slice, got '1.5'"),
    ("a.csv", "case," + CSV_HEADER + "case2,1,1,2,2,1,2\n", "expected /data/case1.nii.gz in the column 'case'"),
    ("a.mrk.json", {"markups": [{"type": "Line"}]}, r"markups\[0\]: expected a markup of type 'ROI', got 'Line'"),
    ("a.mrk.json", {"markups": [{}]}, r"markups\[0\]: expected the keys \['type'\], got \[\]"),
    ("a.mrk.json", {"markups": ["ROI"]}, r"markups\[0\]: expected a mapping with the keys \['type'\], got str"),
    ("a.mrk.json", roi(size=None), r"markups\[0\]: expected the keys \['size', 'center'\]"),
    ("a.mrk.json", roi(center=None), r"markups\[0\]: expected the keys \['size', 'center'\]"),
    ("a.mrk.json", roi(size=[12, 10]), r"markups\[0\], size: expected 3 numbers, got 2"),
    ("a.mrk.json", roi(size=[12, 0, 12]), r"markups\[0\], size: expected min < max"),
    ("a.mrk.json", roi(orientation=[0] * 9), r"markups\[0\]: expected an orientation of three unit vectors"),
    ("a.mrk.json", roi(coordinateSystem="IJK"), r"expected coordinateSystem 'LPS' or 'RAS', .*got 'IJK'"),
    ("a.mrk.json", roi(coordinateUnits="um"), "got 'RAS', 'um' and False"),
    ("a.mrk.json", roi(insideOut=True), "got 'RAS', 'mm' and True"),
]
BAD_2D = [
    ("a.json", {"box": [BOX]}, r"box\[0\]: expected a box with 2 axes as .*case1\.nii\.gz has, got 3"),
    ("a.txt", "0 0.5 0.5 0.5\n", "line 1, after the class: expected 4 numbers, or x and y of at least 3 points, got 3"),
    ("a.txt", "0 0.5 0.5 0.5 0.5\n\n0 10 10 5 5\n", "line 3: expected fractions of the image between 0 and 1"),
    ("a.txt", "0 0.5 0.5 0 0.5\n", "line 1: expected min < max"),
    ("a.txt", "cat 0.5 0.5 0.5 0.5\n", "a 0-based channel, got 'cat'"),
    ("a.json", {"images": []}, r"expected the keys \['images', 'annotations'\], got \['images'\]"),
    ("a.json", coco(images=[]), "expected /data/case1.nii.gz once among the images, got 0 of 0"),
    (
        "a.json",
        coco(images=[{"id": i, "file_name": f"{i}/case1"} for i in "ab"]),
        "once among .* got 0 of 2; the nearest is 'a/case1'",
    ),
    ("a.json", coco(images=[{"id": 1}]), r"images\[0\]: expected the keys \['id', 'file_name'\]"),
    (
        "a.json",
        coco(images=[{"id": 1, "file_name": "case1", "width": 16, "height": 20}]),
        r"to have width and height \(20, 16\), got \(16, 20\)",
    ),
    ("a.json", coco(annotations=[{"image_id": 1}]), r"annotations\[0\]: expected the keys \['bbox', 'category_id'\]"),
    ("a.json", coco(bbox=(1, 2, 3)), r"annotations\[0\]: expected 4 numbers, got 3"),
    ("a.json", coco(bbox=(1, 2, 0, 3)), r"annotations\[0\]: expected min < max"),
    ("a.json", coco(categories=[{"id": 1, "name": "a"}]), r"without classes the category ids must be 0, 1, "),
    ("a.json", coco(category_id=4, categories=[{"id": 0, "name": "a"}]), r"a category_id among \['0'\], got 4"),
]
BAD_CLASSES = [
    ("a.json", {"box": [BOX], "label": ["cat"]}, r"box\[0\]: expected one of the classes \('prostate', .*got 'cat'"),
    ("a.json", {"box": [BOX]}, r"box\[0\]: expected one of the classes \('prostate', 'tumour'\), got no label"),
    ("a.mrk.json", roi(name="R"), r"markups\[0\]: expected one of the classes .*got 'R'"),
    ("a.csv", "class," + CSV_HEADER + "cat,4,3,10,8,2,6\n", "row 2: expected one of the classes .*got 'cat'"),
    ("a.csv", "class," + CSV_HEADER + ",4,3,10,8,2,6\n", "row 2: expected one of the classes .*got no label"),
    ("a.txt", "2 0.5 0.5 0.5 0.5\n", r"line 1: expected a class 0\.\.1 of \('prostate', 'tumour'\), got '2'"),
]


@pytest.mark.parametrize(
    ("shape", "classes", "name", "content", "message"),
    [(SHAPE, None, *case) for case in BAD_3D]
    + [(SHAPE[:2], None, *case) for case in BAD_2D]
    + [((20, 16, 1) if case[0] == "a.txt" else SHAPE, CLASSES, *case) for case in BAD_CLASSES],
)
def test_malformed_file(tmp_path, shape, classes, name, content, message):
    path = write(tmp_path / name, content)
    with pytest.raises(ValueError, match=message) as caught:
        read_boxes(path, make_image(shape), classes)
    assert str(caught.value).startswith(str(path))


def test_file_that_is_not_text(tmp_path):
    path = tmp_path / "a.json"
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ValueError, match=r"a\.json: expected a text file"):
        read_boxes(path, make_image())


def test_missing_file(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"none\.json"):
        read_boxes(tmp_path / "none.json", make_image())


@pytest.mark.parametrize(
    ("name", "content"), [("a.json", coco()), ("a.csv", "image," + CSV_HEADER + "case1,4,3,10,8,2,6\n")]
)
def test_formats_of_several_images_need_the_image_name(tmp_path, name, content):
    with pytest.raises(ValueError, match=rf"{name}: expected image\.meta\['filename_or_obj'\]"):
        read_boxes(write(tmp_path / name, content), make_image(name=None))


@pytest.mark.parametrize("name", EXAMPLES)
def test_a_survey_has_the_boxes_that_are_read(name):
    image = Flip(0)(make_image(**EXAMPLES[name][0]))
    boxes, classes = read_boxes(FILES / name, image, CLASSES)
    survey = survey_boxes(FILES / name, image, CLASSES)
    torch.testing.assert_close(survey.boxes.float(), boxes)
    assert torch.equal(survey.classes, classes) and survey.classes.tolist() == [1, 0]
    assert survey.faults == [] and len(survey.places) == 2
    assert survey.space == ("world" if name == "roi.mrk.json" else "index")


def test_a_survey_notes_each_fault_and_keeps_the_rest(tmp_path):
    rows = [
        "5,6,3,9,8,4,prostate",
        "9,6,3,5,8,4,prostate",
        ",6,3,9,8,4,tumour",
        "5,6,3,9,8,4,liver",
        "30,6,3,39,8,4,tumour",
    ]
    path = write(tmp_path / "a.csv", "\n".join(["x_min,y_min,z_min,x_max,y_max,z_max,label", *rows]))
    survey = survey_boxes(path, make_image(), classes=CLASSES)
    np.testing.assert_allclose(survey.boxes, [[5, 6, 3, 9, 8, 4], [30, 6, 3, 39, 8, 4]])
    assert (survey.places, survey.classes.tolist(), survey.space) == (["row 2", "row 6"], [0, 1], "index")
    assert [(fault.place, fault.kind) for fault in survey.faults] == [
        ("row 3", "min_not_below_max"),
        ("row 4", "not_finite"),
        ("row 5", "unknown_class"),
    ]
    assert survey.faults[2].message == "expected one of the classes ('prostate', 'tumour'), got 'liver'."


def test_a_survey_refuses_what_is_no_annotation(tmp_path):
    with pytest.raises(ValueError, match=r"a\.json: expected JSON"):
        survey_boxes(write(tmp_path / "a.json", "{"), make_image())
