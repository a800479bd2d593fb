# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
"""YOLO folders: ``data.yaml``, images and labels."""

from __future__ import annotations

from pathlib import Path

import pytest

from monai_bbox_mil.data import find_class_names, get_datalist, yolo_datalist
from tests.data.layouts import touch


def make(folder: Path, yaml: str, *files: str) -> Path:
    touch(*(folder / name for name in files))
    for name in files:
        if name.endswith(".txt"):
            (folder / name).write_text("1 .5 .5 .5 .5\n")
    (folder / "data.yaml").write_text(yaml)
    return folder


def names_of(folder: Path, items) -> dict[str, object]:
    def relative(path):
        return path if isinstance(path, dict) else Path(path).relative_to(folder).as_posix()

    return {relative(item["image"]): relative(item["box"]) if "box" in item else None for item in items}


EMPTY = {"box": []}
ULTRALYTICS = "path: ../datasets/gone\ntrain: images/train\nval: images/val\ntest:\nnames: {0: cell, 1: vessel}"
ROBOFLOW = "train: ../train/images\nval: ../valid/images\ntest: ../test/images\nnc: 2\nnames: ['cell', 'vessel']"


def test_ultralytics(tmp_path):
    files = [f"images/{name}.png" for name in ("train/a", "train/b", "val/c")]
    make(tmp_path, ULTRALYTICS, *files, "labels/train/a.txt", "labels/val/c.txt", "notes.txt")
    parts = get_datalist(tmp_path)
    assert names_of(tmp_path, parts["training"]) == {
        "images/train/a.png": "labels/train/a.txt",
        "images/train/b.png": EMPTY,
    }
    assert names_of(tmp_path, parts["validation"]) == {"images/val/c.png": "labels/val/c.txt"}
    assert find_class_names(parts) == ["vessel"] and set(parts) == {"training", "validation"}


def test_roboflow(tmp_path):
    files = [f"{part}/images/{part}.jpg" for part in ("train", "valid", "test")]
    make(tmp_path, ROBOFLOW, *files, "train/labels/train.txt", "valid/labels/valid.txt")
    parts = get_datalist(tmp_path)
    assert names_of(tmp_path, parts["training"]) == {"train/images/train.jpg": "train/labels/train.txt"}
    assert names_of(tmp_path, parts["test"]) == {"test/images/test.jpg": None}


def test_a_path_in_the_yaml_and_another_name_of_the_file(tmp_path):
    make(tmp_path, "path: sub\ntrain: images\nval: images\nnames: [a]", "sub/images/x.png", "sub/labels/x.txt")
    (tmp_path / "data.yaml").rename(tmp_path / "cells.yml")
    parts = get_datalist(tmp_path)
    # One image for both is no validation: a part of it is drawn, and of one image none.
    assert names_of(tmp_path, parts["training"]) == {"sub/images/x.png": "sub/labels/x.txt"} and not parts["validation"]


def test_lists_of_images_and_of_folders(tmp_path):
    make(
        tmp_path,
        "train: [train.txt, more]\nval: val.txt\nnames: [a]",
        "x/a.png",
        "x/a.txt",
        "more/b.png",
        "y/c.png",
        "y/c.txt",
    )
    (tmp_path / "train.txt").write_text("./x/a.png\n\n")
    (tmp_path / "val.txt").write_text("y/c.png\n")
    parts = yolo_datalist(tmp_path)
    assert names_of(tmp_path, parts["training"]) == {"x/a.png": "x/a.txt", "more/b.png": EMPTY}
    assert names_of(tmp_path, parts["validation"]) == {"y/c.png": "y/c.txt"}


def test_without_validation_it_is_drawn(tmp_path):
    files = [f"images/{number}.png" for number in range(5)]
    parts = get_datalist(make(tmp_path, "train: images\nnames: [a]", *files, "labels/1.txt"))
    assert (len(parts["training"]), len(parts["validation"])) == (4, 1)


def test_a_part_that_is_absent(tmp_path):
    make(tmp_path, "train: images\nval: gone\nnames: [a]", "images/a.png", "labels/a.txt")
    with pytest.warns(UserWarning, match="val: gone does not exist"):
        assert set(yolo_datalist(tmp_path)) == {"training"}


@pytest.mark.parametrize(
    ("yaml", "message"),
    [
        ("train: gone\nnames: [a]", r"expected the folder or list train: gone, got nothing at .*gone"),
        ("val: images\nnames: [a]", "expected images under train, got none in None"),
        ("train: 3\nnames: [a]", "expected train to be a folder, a text file or a list of them, got"),
        ("train: list.txt\nnames: [a]", r"list\.txt: expected all images to exist, got 1 missing"),
        ("train: other\nnames: [a]", r"expected a text file with boxes for images of training, got none of 1, such as"),
        ("train: images\nnames: a", "expected names as a list or by class number"),
        ("train: images\nval: images\ntest: images/a.png\nnames: [a]", "expected each .* in one part only"),
    ],
)
def test_faults(tmp_path, yaml, message):
    make(tmp_path, yaml, "images/a.png", "labels/a.txt", "other/b.png")
    (tmp_path / "list.txt").write_text("images/nowhere.png")
    with pytest.raises(ValueError, match=message):
        get_datalist(tmp_path)


def test_a_folder_without_such_a_file_is_another_layout(tmp_path):
    (tmp_path / "settings.yaml").write_text("names: [a]")
    assert yolo_datalist(tmp_path) is None and yolo_datalist(tmp_path / "absent") is None
