# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
"""Every item of a data list is a separate case in tables and pictures, whatever its files are called."""

from __future__ import annotations

import csv
import os
import sys
from itertools import permutations

import numpy as np
import pytest
import torch
from ignite.engine import Engine
from monai.data import MetaTensor
from PIL import Image

from monai_bbox_mil.csv_tables import read_table
from monai_bbox_mil.data.case_names import shortest_names
from monai_bbox_mil.handlers import CaseReport
from monai_bbox_mil.visualize import CasePicture, load_pictures, save_comparison_grid, save_picture_grid

TEXTS = ["case", "patient", "class"]


def case(image, rows, mask=None, **item):
    """Make a prediction of some rows of a 4x4 square; with a mask's file, the ground truth is that square."""
    original = MetaTensor(torch.rand(1, 12, 12, 2), meta={"filename_or_obj": image})
    square, pred = torch.zeros(1, 12, 12, 2), torch.zeros(1, 12, 12, 2)
    square[0, 2:6, 2:6, 1], pred[0, 2 : 2 + rows, 2:6, 1] = 1, 1
    label = torch.tensor([[2.0, 2, 1, 6, 6, 2, 0]])
    if mask is not None:
        item["mask"] = MetaTensor(square, meta={"filename_or_obj": mask})
    return {"original": original, **item}, {"pred": pred, "label": label}


def report(cases, folder, class_names=("organ",), **options):
    def step(engine, number):
        engine.state.batch = [cases[number][0]]
        return [cases[number][1]]

    engine = Engine(step)
    CaseReport(folder, class_names, threshold=0.5, keep_pictures=True, **options).attach(engine)
    engine.run(range(len(cases)))
    return read_table(folder / "cases.csv", texts=TEXTS)


@pytest.mark.parametrize(
    ("paths", "names"),
    [
        (["/d/a.nii.gz", "/d/b.png"], ["a", "b"]),
        (["/d/p1/i.nii.gz", "/d/p2/i.nii.gz", "/d/p2/j.nii.gz"], ["p1/i", "p2/i", "j"]),
        (["/d/s1/p1/i.nii", "/d/s2/p1/i.nii", "/d/s2/p2/i.nii"], ["s1/p1/i", "s2/p1/i", "p2/i"]),
        (["/d/i.nii", "/d/i.png", "/e/i.png"], ["d/i.nii", "d/i.png", "e/i"]),
        (["/d/i.nii", "/d/e/i.nii"], ["d/i", "e/i"]),
        (["/i.nii", "/d/i.nii"], ["/i", "d/i"]),
        (["/d/a.v1.nii.gz", "/d/a.v2.nii.gz"], ["a.v1", "a.v2"]),
    ],
)
def test_names_are_the_shortest_unique_ones(paths, names):
    for order in permutations(range(len(paths))):
        assert list(shortest_names([paths[i] for i in order]).values()) == [names[i] for i in order]


def test_one_file_written_as_two_paths_has_one_name():
    assert list(shortest_names(["/d/a.nii", "/d/../d/a.nii", "/d/a.nii"]).values()) == ["a", "a"]


def test_images_with_the_same_file_name_are_all_scored(tmp_path):
    """Predict 4, 3 and 2 of 4 rows: the box IoUs are 1, 3/4 and 1/2."""
    found = report([case(f"data/p{i}/image.nii.gz", 4 - i, patient=f"q{i}") for i in range(3)], tmp_path)
    assert found["case"].tolist() == ["p0/image", "p1/image", "p2/image"]
    assert found["patient"].tolist() == ["q0", "q1", "q2"]
    assert found["box_iou"].tolist() == [1, 0.75, 0.5]
    summary = read_table(tmp_path / "summary.csv", texts=["class", "score"]).set_index("score")
    assert summary.loc["box_iou", ["mean", "count"]].tolist() == [0.75, 3]
    assert {name: picture.pred.sum() for name, picture in load_pictures(tmp_path / "pictures.npz").items()} == {
        "p0/image": 16, "p1/image": 12, "p2/image": 8
    }  # fmt: skip


def test_items_that_share_an_image_have_different_names(tmp_path):
    """Use the masks' names if they differ, and otherwise a number in the order of the data list."""
    masks = [case("d/a.nii", 4 - i, mask=f"d/reader{i}.nii", patient="a") for i in range(2)]
    for i, (_, outputs) in enumerate(masks):
        outputs["label"][0, 4] += i
    boxes = [case("d/b.nii", 4), case("d/b.nii", 4), case("d/b (1).nii", 4)]
    boxes[1][1]["label"] = torch.tensor([[2.0, 2, 1, 6, 10, 2, 0]])
    boxes[1][0]["original"] = boxes[0][0]["original"]
    found = report([*masks, *boxes], tmp_path)
    assert found["case"].tolist() == ["a (reader0)", "a (reader1)", "b (1)", "b (2)", "b (3)"]
    assert found["patient"].tolist() == ["a", "a", "b (1)", "b (2)", "b (3)"]
    assert found["box_iou"].tolist() == [1, 0.6, 1, 1, 0.5]


def test_a_repeated_item_is_reported_once(tmp_path):
    """A distributed sampler repeats items so that all processes get the same number."""
    first, second = case("d/a.nii", 4, patient="a"), case("d/b.nii", 3, patient="b")
    assert report([first, second, first], tmp_path)["case"].tolist() == ["a", "b"]


def test_a_case_has_the_same_name_whatever_else_is_evaluated(tmp_path):
    images = ["d/p1/i.nii", ["d/p2/i.nii", "d/p2/other.nii"]]
    assert report([case("d/p2/i.nii", 4)], tmp_path, images=images)["case"].tolist() == ["p2/i"]


def test_names_that_look_like_something_else_survive(tmp_path):
    names = ["NA", "None", "null", "nan", "007", "1e5", "1.0", "=1+1", "-x", "@a", "$a$", r"$\frac$", "_a", "True"]
    cases = [case(f"d/{name}.nii", 4, patient=name) for name in names]
    found = report(cases, tmp_path, class_names=[r"=$\frac$"], num_pictures=len(names))
    assert sorted(found["case"]) == sorted(found["patient"]) == sorted(names)
    assert found["class"].unique().tolist() == [r"=$\frac$"]
    assert set(load_pictures(tmp_path / "pictures.npz")) == set(names)
    with open(tmp_path / "cases.csv", newline="") as file:
        assert not [cell for row in csv.reader(file) for cell in row if cell[:1] in tuple("=+-@")]


@pytest.mark.skipif(sys.platform == "win32", reason="names of files are texts there")
def test_a_name_that_is_not_utf8_is_shown_as_bytes(tmp_path, caplog):
    name = os.fsdecode(b"va\xff")
    with caplog.at_level("INFO"):
        found = report([case(f"d/{name}.nii", 4, patient=name)], tmp_path, name="report")
    assert found[["case", "patient"]].values.tolist() == [[r"va\xff", r"va\xff"]]
    assert list(load_pictures(tmp_path / "pictures.npz")) == [r"va\xff"]
    caplog.text.encode("utf-8")


def test_patients_that_are_numbers_are_written_as_numbers(tmp_path):
    found = report([case(f"d/{p}.nii", 4, patient=p) for p in (torch.tensor(7), 12)], tmp_path)
    assert found["patient"].tolist() == ["12", "7"]


def test_classes_with_the_same_name_raise(tmp_path):
    with pytest.raises(ValueError, match=r"class_names must differ from each other, got \['a', 'a'\]"):
        CaseReport(tmp_path, ["a", "a"])


def test_dollar_signs_in_names_are_drawn_literally(tmp_path):
    """As formulas, the first name could not be drawn at all, and the second would be narrower than its text."""
    region = np.zeros((1, 20, 20), dtype=np.uint8)
    region[0, 4:9, 4:9] = 1
    shown = CasePicture("", np.random.rand(20, 20), np.array([[4, 4, 9, 9, 0]]), region, region)
    for name in (r"a$\frac$b", "_a_", "$alpha$"):
        titled = shown._replace(title=name)
        save_picture_grid(tmp_path / "a.png", [titled], [name])
        save_comparison_grid(tmp_path / "b.png", [(name, {name: titled})], [name])
    sizes = {}
    for name in ("x$alpha$x", "x_alpha_x"):
        save_picture_grid(tmp_path / "c.png", [shown._replace(title=name)], ["a"])
        with Image.open(tmp_path / "c.png") as picture:
            dark = np.asarray(picture.convert("L"))[:, :40] < 128
            sizes[name] = np.ptp(np.nonzero(dark)[0])
    assert sizes["x$alpha$x"] == pytest.approx(sizes["x_alpha_x"], rel=0.1)
