# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
"""Exports of pictures, read back by our own readers."""

from __future__ import annotations

import json
import os
from xml.etree import ElementTree

import numpy as np
import pytest
import torch
import yaml
from PIL import Image

from monai_bbox_mil.annotations.label_studio_regions import brush_mask
from monai_bbox_mil.exports import EXPORTS, Prediction, load_records, make_exports, save_records
from monai_bbox_mil.transforms import LoadCheckedImage
from tests.exports.predictions import (
    CLASSES,
    VALUES,
    as_image,
    expected_boxes,
    export,
    filled,
    found_boxes,
    picture,
    predict,
    probabilities,
)

COCO = {"coco": "coco.json", "coco_rle": "coco_rle.json"}
ONE_FILE = COCO | {
    "cvat": "cvat.xml",
    "cvat_masks": "cvat_masks.xml",
    "label_studio": "label_studio.json",
    "label_studio_brush": "label_studio_brush.json",
}
PER_IMAGE = {"yolo": "yolo/labels/{}.txt", "yolo_seg": "yolo_seg/labels/{}.txt"}
FORMATS = ONE_FILE | PER_IMAGE
pytestmark = pytest.mark.filterwarnings("ignore:.*nobody annotated this image:UserWarning")


def random_picture() -> np.ndarray:
    return picture(np.random.default_rng(3))


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("labels", [picture(), random_picture(), picture() * 0, picture()[..., None]])
@pytest.mark.parametrize("file", ["a.png", "Bild 1 (größer), #2%20.jpg"])
def test_boxes_are_read_back(tmp_path, name, labels, file):
    prediction = predict(labels, tmp_path / file)
    export(name, tmp_path / "out", prediction)
    path = tmp_path / "out" / FORMATS[name].format(file[:-4])
    boxes = found_boxes(path, prediction)
    assert boxes == expected_boxes(prediction) and len(boxes) == len(prediction.objects)


def masks_by_class(name, folder, prediction) -> np.ndarray:
    """The label map that the outlines or runs of a file give."""
    found = np.zeros(prediction.labels.shape, dtype=np.int32)
    if name == "cvat_masks":
        for each in ElementTree.parse(folder / "cvat_masks.xml").getroot().iter("mask"):
            left, top, width, height = (int(each.attrib[key]) for key in ("left", "top", "width", "height"))
            runs = [int(run) for run in each.attrib["rle"].split(",")]
            region = np.repeat(np.arange(len(runs)) % 2, runs).reshape(height, width).T > 0
            found[left : left + width, top : top + height][region] = VALUES[CLASSES.index(each.attrib["label"])]
    elif name == "label_studio_brush":
        for each in json.loads((folder / ONE_FILE[name]).read_text())[0]["predictions"][0]["result"]:
            mask = brush_mask(each["value"]["rle"], found.shape, "")
            found[mask] = VALUES[CLASSES.index(each["value"]["brushlabels"][0])]
    elif name in COCO:
        for each in json.loads((folder / ONE_FILE[name]).read_text())["annotations"]:
            outlines = each["segmentation"]
            if isinstance(outlines, dict):
                assert outlines["size"] == list(found.shape[::-1])
                runs = np.repeat(np.arange(len(outlines["counts"])) % 2, outlines["counts"])
                mask = runs.reshape(found.shape) > 0
            else:
                mask = filled(np.reshape(outlines[0], (-1, 2)), found.shape)
            assert mask.sum() == each["area"] and not found[mask].any()
            found[mask] = VALUES[each["category_id"] - 1]
    else:
        for line in (folder / "yolo_seg/labels/a.txt").read_text().splitlines():
            channel, *numbers = line.split()
            polygon = np.reshape(np.array(numbers, dtype=float), (-1, 2)) * found.shape
            mask = filled(polygon.round(6), found.shape)
            assert not found[mask].any()
            found[mask] = VALUES[int(channel)]
    return found


@pytest.mark.parametrize("name", ["coco", "coco_rle", "yolo_seg", "cvat_masks", "label_studio_brush"])
@pytest.mark.parametrize("labels", [picture(), random_picture(), picture() * 0])
def test_masks_are_read_back_pixel_by_pixel(tmp_path, name, labels):
    prediction = predict(labels, tmp_path / "a.png")
    export(name, tmp_path, prediction)
    assert np.array_equal(masks_by_class(name, tmp_path, prediction), labels)


def test_coco_has_the_mean_confidence_as_score(tmp_path):
    prediction = predict(picture(), tmp_path / "a.png")
    export("coco", tmp_path, prediction)
    entries = json.loads((tmp_path / "coco.json").read_text())["annotations"]
    for entry, found in zip(entries, prediction.objects, strict=True):
        place = tuple(slice(a, b) for a, b in zip(found.low, found.high, strict=True))
        inside = prediction.probabilities[found.channel][place][found.region]
        assert entry["score"] == pytest.approx(inside.mean(), abs=1e-6)
    export("coco", tmp_path, predict(picture(), tmp_path / "a.png", sure=False))
    assert all("score" not in entry for entry in json.loads((tmp_path / "coco.json").read_text())["annotations"])


@pytest.mark.parametrize("name", ONE_FILE)
def test_images_of_one_name_in_two_folders(tmp_path, name):
    images = [tmp_path / "images" / folder / "frame.png" for folder in ("p2", "p1")]
    predictions = [predict(picture(), images[0]), predict(random_picture(), images[1])]
    for number, (order, root) in enumerate(((1, ""), (-1, ""), (1, tmp_path / "images"))):
        export(name, tmp_path / str(number), *predictions[::order], data_root_dir=root)
    files = [tmp_path / str(number) / ONE_FILE[name] for number in range(3)]
    assert files[0].read_bytes() == files[1].read_bytes() == files[2].read_bytes()
    for prediction in predictions:
        assert found_boxes(files[0], prediction) == expected_boxes(prediction)


def test_yolo_repeats_the_folders_of_images_and_refuses_to_mix_them(tmp_path):
    predictions = [predict(picture(), tmp_path / folder / "frame.png") for folder in ("p1", "p2")]
    export("yolo", tmp_path / "out", *predictions, data_root_dir=tmp_path)
    assert sorted(path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*.txt")) == [
        "out/yolo/labels/p1/frame.txt",
        "out/yolo/labels/p2/frame.txt",
    ]
    with pytest.raises(ValueError, match=r"expected one file per image, got .*frame\.txt for both .*p1.* and .*p2"):
        export("yolo", tmp_path / "mixed", *predictions)


def test_yolo_names_its_classes(tmp_path):
    export("yolo", tmp_path, predict(picture(), tmp_path / "a.png"))
    names = yaml.safe_load((tmp_path / "yolo/data.yaml").read_text(encoding="utf-8"))["names"]
    assert names == dict(enumerate(CLASSES))


def test_yolo_refuses_numbers_as_names_unless_they_are_positions(tmp_path):
    with pytest.raises(ValueError, match=r"expected class_names that are words.*got \['1', '2'\].*'class 1'"):
        make_exports("yolo", tmp_path, ["1", "2"])
    prediction = predict(picture(), tmp_path / "a.png", classes=["0", "1"])
    export("yolo", tmp_path, prediction)
    assert found_boxes(tmp_path / "yolo/labels/a.txt", prediction) == expected_boxes(prediction)


@pytest.mark.parametrize("name", sorted(name for name, each in EXPORTS.items() if not each.holds_volumes))
def test_formats_of_pictures_refuse_volumes(tmp_path, name):
    prediction = predict(np.zeros((8, 9, 3), dtype=np.uint8), tmp_path / "a.nii.gz")
    with pytest.raises(ValueError, match=rf"export {name}: expected pictures.*a\.nii\.gz with 8 x 9 x 3 voxels"):
        export(name, tmp_path / "out", prediction)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", sorted(name for name, each in EXPORTS.items() if each.needs_mm))
def test_formats_in_millimetres_refuse_pictures(tmp_path, name):
    if name == "dicom_seg":
        pytest.importorskip("highdicom", reason="the extra dicom (highdicom) is not installed")
    with pytest.raises(ValueError, match=rf"export {name}: .*a\.png: a picture has pixels and no millimetres"):
        export(name, tmp_path / "out", predict(picture(), tmp_path / "a.png"))
    assert not (tmp_path / "out").exists()


def test_a_file_without_images_is_valid(tmp_path):
    for name in COCO:
        (writer,) = make_exports(name, tmp_path, CLASSES)
        writer.finish()
        content = json.loads((tmp_path / ONE_FILE[name]).read_text())
        assert content["images"] == content["annotations"] == [] and len(content["categories"]) == 2


def test_records_of_two_parts_give_the_files_of_one_run(tmp_path):
    predictions = [predict(picture(), tmp_path / "a.png"), predict(random_picture(), tmp_path / "b.png")]
    names = [*ONE_FILE, "csv"]
    parts = [make_exports([*names, "yolo"], tmp_path / "two", CLASSES) for _ in range(2)]
    for name in names:
        export(name, tmp_path / "one", *predictions)
    for part, prediction in zip(parts, reversed(predictions), strict=True):
        for writer in part:
            writer.add(prediction)
    save_records(parts[1], tmp_path / "records.json")
    load_records(parts[0], tmp_path / "records.json")
    for writer in parts[0]:
        writer.finish()
    for file in (*ONE_FILE.values(), "predictions.csv"):
        assert (tmp_path / "one" / file).read_bytes() == (tmp_path / "two" / file).read_bytes()


def test_records_that_do_not_fit_are_refused(tmp_path):
    path = tmp_path / "records.json"
    save_records(make_exports("coco", tmp_path, CLASSES), path)
    with pytest.raises(ValueError, match=r"records.json: expected records of the export csv, got those of coco"):
        load_records(make_exports("csv", tmp_path, CLASSES), path)
    with pytest.raises(ValueError, match=r"records.json: expected the classes \['a'\], got"):
        load_records(make_exports("coco", tmp_path, ["a"]), path)
    for text in ("", "[]", "{}{", '{"coco": 3}'):
        path.write_text(text)
        with pytest.raises(ValueError, match=r"records.json: expected records of exports, got something else"):
            load_records(make_exports("coco", tmp_path, CLASSES), path)


def test_a_later_prediction_of_an_image_replaces_the_one_of_the_records(tmp_path):
    old, new = (make_exports("coco", tmp_path, CLASSES) for _ in range(2))
    old[0].add(predict(random_picture(), tmp_path / "a.png"))
    save_records(old, tmp_path / "records.json")
    prediction = predict(picture(), tmp_path / "a.png")
    new[0].add(prediction)
    load_records(new, tmp_path / "records.json")
    new[0].finish()
    assert found_boxes(tmp_path / "coco.json", prediction) == expected_boxes(prediction)


@pytest.mark.parametrize("name", ["cvat", "cvat_masks"])
def test_cvat_refuses_names_that_xml_cannot_hold(tmp_path, name):
    with pytest.raises(ValueError, match=rf"export {name}: expected class_names without control characters"):
        make_exports(name, tmp_path, ["a\x07"])
    unfit = tmp_path / os.fsdecode(b"va\xff.png")
    with pytest.raises(ValueError, match="expected images with names without control characters and in UTF-8"):
        export(name, tmp_path, predict(picture(), unfit))


@pytest.mark.parametrize("name", sorted({*COCO, "label_studio", "label_studio_brush", "yolo"}))
def test_a_name_that_is_not_utf8_is_found_again(tmp_path, name):
    prediction = predict(picture(), tmp_path / os.fsdecode(b"va\xff.png"))
    export(name, tmp_path, prediction)
    boxes = found_boxes(tmp_path / FORMATS[name].format(os.fsdecode(b"va\xff")), prediction)
    assert boxes == expected_boxes(prediction)


def test_scores_go_to_label_studio_and_cvat(tmp_path):
    prediction = predict(picture(), tmp_path / "a.png")
    expected = [pytest.approx(found.confidence, abs=1e-6) for found in prediction.objects]
    for name in ("cvat", "label_studio"):
        export(name, tmp_path, prediction)
    (task,) = json.loads((tmp_path / "label_studio.json").read_text())
    assert task["data"]["image"] == "/data/local-files/?d=a.png"
    assert [region["score"] for region in task["predictions"][0]["result"]] == expected
    assert task["predictions"][0]["score"] == pytest.approx(np.mean([each.confidence for each in prediction.objects]))
    root = ElementTree.parse(tmp_path / "cvat.xml").getroot()
    assert [float(each.text) for each in root.iterfind("image/box/attribute[@name='score']")] == expected
    assert [each.text for each in root.iterfind("meta/task/labels/label/name")] == list(CLASSES)


@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_columns_of_a_picture_are_x_and_rows_are_y(tmp_path, mode):
    """As other programs see the file: the first axis of an image that MONAI loaded is the columns."""
    pixels = np.zeros((30, 50), dtype=np.uint8)  # rows, columns
    pixels[4:9, 20:41] = 255
    Image.fromarray(pixels).convert(mode).save(tmp_path / "a.png")
    image = LoadCheckedImage()(tmp_path / "a.png")
    prediction = Prediction((image[:1] > 99).to(torch.uint8), [1], ["bright"])
    export("coco", tmp_path, prediction)
    content = json.loads((tmp_path / "coco.json").read_text())
    assert content["images"][0] | {"id": 1} == {"id": 1, "file_name": "a.png", "width": 50, "height": 30}
    assert content["annotations"][0]["bbox"] == [20, 4, 21, 5]
    assert content["annotations"][0]["segmentation"] == [[20, 4, 41, 4, 41, 9, 20, 9]]


@pytest.mark.parametrize("name", FORMATS)
def test_a_volume_of_one_slice_is_a_picture(tmp_path, name):
    prediction = predict(picture()[..., None], tmp_path / "a.nii.gz")
    export(name, tmp_path, prediction)
    boxes = found_boxes(tmp_path / FORMATS[name].format("a"), prediction)
    assert boxes == expected_boxes(prediction) and len(boxes[0]) == 7


def test_a_picture_that_became_a_volume_is_a_picture_again(tmp_path):
    for file, shape in (("a.png", (23, 17)), ("a.nii.gz", (23, 17)), ("a.nii.gz", (23, 17, 1))):
        label_map = as_image(picture()[..., None], tmp_path / file)
        label_map.meta["spatial_shape"] = np.array(shape)
        prediction = Prediction(label_map, VALUES, CLASSES, probabilities=probabilities(picture())[..., None])
        assert prediction.labels.shape == shape and prediction.probabilities.shape == (2, *shape)
