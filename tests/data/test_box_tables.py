# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
"""Folders of images with a COCO file or a CSV table of their boxes."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from monai_bbox_mil.data import annotated_datalist, find_class_names, get_datalist
from monai_bbox_mil.transforms import LoadBoxesd, LoadCheckedImaged
from tests.data.layouts import fill, found, patients


def coco(names, boxes=(), categories=((4, "cell"),)) -> str:
    """A COCO file of images, with one box in each image that ``boxes`` names."""
    return json.dumps(
        {
            "images": [{"id": number, "file_name": name} for number, name in enumerate(names)],
            "annotations": [
                {"image_id": names.index(name), "bbox": [1, 1, 3, 3], "category_id": categories[-1][0]}
                for name in boxes
            ],
            "categories": [{"id": number, "name": name} for number, name in categories],
        }
    )


CVAT = """<annotations><version>1.1</version>{}</annotations>"""
CVAT_IMAGE = """<image id="0" name="{}" width="8" height="9">{}</image>"""
CVAT_BOX = """<box label="cell" xtl="1" ytl="2" xbr="5" ybr="6"/>"""


def cvat(names, boxes) -> str:
    """A CVAT file of images, with one box in each image that ``boxes`` names."""
    return CVAT.format("".join(CVAT_IMAGE.format(name, CVAT_BOX if name in boxes else "") for name in names))


def label_studio(names, boxes) -> str:
    """Label Studio tasks, with one box, and a choice about the whole image, in each image that ``boxes`` names."""
    place = {"x": 12.5, "y": 200 / 9, "width": 50, "height": 400 / 9, "rotation": 0}
    region = {"id": "a", "type": "rectanglelabels", "value": {**place, "rectanglelabels": ["cell"]}}
    choice = {"id": "b", "type": "choices", "value": {"choices": ["blurred"]}}
    results = {name: [region, choice] if name in boxes else [] for name in names}
    return json.dumps([{"data": {"image": name}, "annotations": [{"result": results[name]}]} for name in names])


class TestTables:
    @pytest.mark.parametrize(("table", "write"), [("x.xml", cvat), ("x.json", label_studio)])
    def test_tasks_of_annotation_tools(self, tmp_path, table, write):
        for name in ("a.png", "b.png"):
            Image.fromarray(np.zeros((9, 8), dtype=np.uint8)).save(tmp_path / name)
        (tmp_path / table).write_text(write(["a.png", "b.png"], ["a.png"]))
        parts = get_datalist(tmp_path, validation_fraction=0)
        assert find_class_names(parts) == ["cell"]
        load = LoadCheckedImaged("image")
        boxes = [LoadBoxesd(classes=["cell"])(load(item))["box"].tolist() for item in parts["training"]]
        assert boxes == [[[1, 2, 5, 6]], []]

    @pytest.mark.parametrize("base", ["", "images/"])
    @pytest.mark.parametrize(
        "table", ["boxes.json", "dataset.json", "annotations/_annotations.coco.json", "images/x.json"]
    )
    def test_one_coco_file_of_any_name(self, tmp_path, base, table):
        fill(tmp_path, "images/a.png", "images/b.png", "images/c.png", table)
        (tmp_path / table).write_text(coco([f"{base}a.png", f"{base}b.png"], [f"{base}a.png"]))
        with pytest.warns(UserWarning, match=r"1 of 3 images are not listed in .*json and are left out: c\.png"):
            parts = get_datalist(tmp_path, validation_fraction=0)
        assert [Path(item["image"]).name for item in parts["training"]] == ["a.png", "b.png"]
        assert {item["box"] for item in parts["training"]} == {str(tmp_path / table)}
        assert patients(parts["training"]) == ["a", "b"] and find_class_names(parts) == ["cell"]

    def test_an_image_that_the_table_lists_without_boxes_has_no_object(self, tmp_path):
        for name in ("a.png", "b.png"):
            Image.fromarray(np.zeros((9, 8), dtype=np.uint8)).save(tmp_path / name)
        (tmp_path / "boxes.csv").write_text("image,x_min,y_min,x_max,y_max,label\na.png,1,2,5,6,cell\nb.png,,,,,\n")
        parts = get_datalist(tmp_path, validation_fraction=0)
        load = LoadCheckedImaged("image")
        boxes = [LoadBoxesd(classes=find_class_names(parts))(load(item))["box"].tolist() for item in parts["training"]]
        assert boxes == [[[1, 2, 5, 6]], []]

    def test_images_that_are_not_there_are_named(self, tmp_path):
        fill(tmp_path, "a.png")
        (tmp_path / "x.json").write_text(coco(["a.png", "b.png", "c.png"], ["a.png"]))
        with pytest.warns(UserWarning, match=r"x\.json: 2 of 3 images are not in the folder .*: 'b\.png', 'c\.png'"):
            assert len(annotated_datalist(tmp_path)["training"]) == 1
        (tmp_path / "a.png").rename(tmp_path / "z.png")
        with pytest.raises(
            ValueError, match=r"x\.json: expected images of dataset_dir .*, got none among its 3 images"
        ):
            annotated_datalist(tmp_path)

    def test_a_table_per_part(self, tmp_path):
        fill(tmp_path, *(f"{part}/{name}.png" for part in ("train", "valid", "test") for name in "ab"))
        for part in ("train", "valid", "test"):
            (tmp_path / part / "_annotations.coco.json").write_text(coco(["a.png", "b.png"], ["a.png"]))
        parts = get_datalist(tmp_path)
        assert {name: len(items) for name, items in parts.items()} == {"training": 2, "validation": 2, "test": 2}
        assert all(Path(item["box"]).parent == Path(item["image"]).parent for items in parts.values() for item in items)

    def test_a_table_per_part_in_a_folder_of_its_own(self, tmp_path):
        fill(tmp_path, "train2017/1.jpg", "val2017/2.jpg", "annotations/x.json")
        (tmp_path / "annotations" / "x.json").unlink()
        for part, name in (("train", "1.jpg"), ("val", "2.jpg")):
            (tmp_path / "annotations" / f"instances_{part}2017.json").write_text(coco([name], [name]))
        parts = get_datalist(tmp_path)
        assert [Path(item["image"]).name for part in ("training", "validation") for item in parts[part]] == [
            "1.jpg",
            "2.jpg",
        ]

    @pytest.mark.parametrize(
        "names", [("a.json", "b.json"), ("train_a.json", "train_b.json"), ("val.json", "test.json")]
    )
    def test_two_tables_are_refused(self, tmp_path, names):
        fill(tmp_path, "1.png")
        for name in names:
            (tmp_path / name).write_text(coco(["1.png"], ["1.png"]))
        with pytest.raises(
            ValueError, match=f"expected one file with the boxes of all images, .*{names[0]}.*Move those"
        ):
            annotated_datalist(tmp_path)

    @pytest.mark.parametrize("other", ["a_mask.png", "masks/a.png", "a.mrk.json", "a.txt"])
    def test_a_table_and_files_beside_the_images_are_refused(self, tmp_path, other):
        fill(tmp_path, "a.png", other)
        (tmp_path / "boxes.json").write_text(coco(["a.png"], ["a.png"]))
        with pytest.raises(ValueError, match=r"expected annotations of one kind, got .*boxes\.json .*datalist\.json"):
            annotated_datalist(tmp_path)

    def test_a_table_without_names_of_images_is_refused(self, tmp_path):
        fill(tmp_path, "a.png", "boxes.csv")
        with pytest.raises(ValueError, match=r"boxes\.csv: expected a column 'image' or 'case'"):
            annotated_datalist(tmp_path)

    def test_a_broken_table_is_named_only_where_nothing_else_is_there(self, tmp_path):
        fill(tmp_path, "a.png", "boxes.json")
        (tmp_path / "boxes.json").write_text('{"images": [')
        with pytest.raises(ValueError, match=r"boxes\.json: expected JSON"):
            annotated_datalist(tmp_path)
        fill(tmp_path, "a.txt")
        assert found(tmp_path) == {"a.png": "a.txt"}
