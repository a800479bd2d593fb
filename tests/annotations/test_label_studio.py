# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
"""Tasks of Label Studio."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from monai_bbox_mil.annotations import read_boxes
from tests.annotations.annotations import CLASSES, make_image, write

FLAT = {"shape": (20, 16), "affine": torch.eye(4, dtype=torch.float64), "name": "/data/train/slice 1.png"}
IMAGE = "/data/local-files/?d=train/slice%201.png"


def rectangle(x=20.0, y=18.75, width=30.0, height=31.25, rotation=0, label="tumour", **changes) -> dict:
    value = {"x": x, "y": y, "width": width, "height": height, "rotation": rotation, "rectanglelabels": [label]}
    size = {"original_width": 20, "original_height": 16, "image_rotation": 0}
    return (
        {"id": "a1", "type": "rectanglelabels", "from_name": "label", "to_name": "image", "value": value}
        | size
        | changes
    )


def region(kind, **value) -> dict:
    return rectangle(type=f"{kind}labels", value={**value, f"{kind}labels": ["tumour"]})


def task(*results, image=IMAGE, **changes) -> dict:
    return {"id": 1, "data": {"image": image}, "annotations": [{"id": 7, "result": list(results)}], **changes}


def read(tmp_path, content, **options):
    return read_boxes(write(tmp_path / "a.json", content), make_image(**{**FLAT, **options}), CLASSES)


def test_a_rectangle(tmp_path):
    for content in ([task(rectangle())], task(rectangle())):
        boxes, classes = read(tmp_path, content)
        assert boxes.tolist() == [[4, 3, 10, 8]] and classes.tolist() == [1]
    assert read(tmp_path, [task()])[0].shape == (0, 4)
    assert read(tmp_path, [task(rectangle())], shape=(20, 16, 1))[0].tolist() == [[4, 3, 0, 10, 8, 1]]


@pytest.mark.parametrize(
    "image",
    [
        "/data/local-files/?d=train%2Fslice%201.png",
        "/data/upload/3/1a2b3c4d-slice%201.png",
        "s3://bucket/train/slice%201.png",
        "https://host/train/slice%201.png?signature=a%2Fb",
        "train/slice 1.png",
        "train\\slice 1.png",
    ],
)
@pytest.mark.parametrize("key", ["image", "picture"])
def test_an_image_by_any_address(tmp_path, image, key):
    other = task(image="/data/upload/3/1a2b3c4d-slice%202.png")
    content = [task(rectangle(), data={key: image}), other]
    assert read(tmp_path, content)[0].tolist() == [[4, 3, 10, 8]]


@pytest.mark.parametrize("degrees", [0, 25, 90, 200, 359])
def test_a_rectangle_turns_about_its_upper_left_corner(tmp_path, degrees):
    boxes, _ = read(tmp_path, [task(rectangle(50, 50, 20, 12.5, degrees))])
    c, s = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    corners = np.array([[0, 0], [4, 0], [4, 2], [0, 2]]) @ np.array([[c, s], [-s, c]]) + [10, 8]
    np.testing.assert_allclose(boxes[0].numpy(), [*corners.min(axis=0), *corners.max(axis=0)], atol=1e-5)


def test_polygons_and_ellipses(tmp_path):
    polygon = region("polygon", points=[[10, 25], [50, 50], [20, 75]])
    ellipse = region("ellipse", x=50, y=50, radiusX=25, radiusY=12.5, rotation=90)
    boxes, _ = read(tmp_path, [task(polygon, ellipse)])
    torch.testing.assert_close(boxes, torch.tensor([[2.0, 4, 10, 12], [8, 3, 12, 13]]))


def test_labels_apart_from_their_shape_and_what_is_no_region(tmp_path):
    shape = rectangle(type="rectangle")
    del shape["value"]["rectanglelabels"]
    labels = {"id": "a1", "type": "labels", "value": {**shape["value"], "labels": ["prostate"]}}
    choice = {"id": "b", "type": "choices", "value": {"choices": ["blurred"]}}
    relation = {"type": "relation", "from_id": "a1", "to_id": "b", "direction": "right"}
    boxes, classes = read(tmp_path, [task(choice, labels, shape, relation)])
    assert boxes.tolist() == [[4, 3, 10, 8]] and classes.tolist() == [0]


def test_the_annotation_that_counts(tmp_path):
    skipped = {"result": [rectangle(label="prostate")], "was_cancelled": True}
    first, second = {"result": [rectangle()]}, {"result": []}
    predicted = {"predictions": [{"result": [rectangle(), rectangle()]}]}
    for entries, count in (
        ([skipped, first], 1),
        ([first, {**second, "ground_truth": True}], 0),
        ([second], 0),
    ):
        assert len(read(tmp_path, [task(annotations=entries, **predicted)])[0]) == count
    with pytest.warns(UserWarning, match="nobody annotated this image, so the prediction of a model is read"):
        assert len(read(tmp_path, [task(annotations=[skipped], **predicted)])[0]) == 2
    with pytest.raises(ValueError, match=r"tasks\[0\]: expected one annotation, got 2 of the same image. Mark one"):
        read(tmp_path, [task(annotations=[first, second])])
    with pytest.raises(ValueError, match="got no annotation and 0 predictions. Submit an annotation without regions"):
        read(tmp_path, [task(annotations=[skipped])])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([task(rectangle(), image="/x/other.png")], "expected a task for /data/train/slice 1.png, got 0 of 1"),
        ([task(), task(rectangle())], r"tasks\[1\]: expected one task per image"),
        ([task(), {"annotations": []}], r"tasks\[1\]: expected the keys \['data'\]"),
        ([task(data={"a": "b", "c": "d"})], r"tasks\[0\], data: expected the image under 'image'"),
        ([task(image="http://[")], r"tasks\[0\], data: expected the address of an image"),
        ([task(rectangle(original_height=17))], "of 20 x 16 pixels, got one of"),
        ([task(rectangle(image_rotation=90))], "expected a picture as in its file, got one turned by 90"),
        ([task(region("keypoint", x=1, y=2, width=1))], "expected a rectangle, polygon, ellipse or brush"),
        ([task(rectangle(width=-3))], r"result\[0\]: expected min < max"),
        ([task(rectangle(x="left"))], r"result\[0\]: expected 4 finite numbers"),
        ([task(rectangle(value=[]))], r"result\[0\]: expected a mapping"),
        ([task(rectangle(label="cat"))], r"result\[0\]: expected one of the classes .*got 'cat'"),
        ([task(region("rectangle", x=1, y=1, width=9, height=9) | {"type": "rectangle"})], "got no label"),
        ([task(3)], "result: expected a mapping with the keys"),
        ([task(annotations=[3])], r"annotations\[0\]: expected a mapping"),
        ([task(region("polygon", points=[]))], "expected a polygon with points, got none"),
        ([task(region("brush", format="png", rle=[]))], "expected a brush in the format 'rle', got 'png'"),
        ([task(region("brush", format="rle", rle=[0, 0]))], "expected a whole picture, got 2 bytes, which end early"),
        ([task(region("brush", format="rle", rle=[300]))], "rle: expected bytes, got"),
        ([task(region("brush", format="rle", rle=[0, 0, 0, 4, 57, 27, 252, 127, 224]))], "got 4 bytes"),
    ],
)
def test_what_is_refused(tmp_path, content, message):
    with pytest.raises(ValueError, match=message) as caught:
        read(tmp_path, content)
    assert str(caught.value).startswith(str(tmp_path / "a.json"))


def test_a_region_of_two_classes_is_refused(tmp_path):
    both = rectangle()
    both["value"]["rectanglelabels"] = list(CLASSES)
    with pytest.raises(ValueError, match=r"expected one class per region, got \['prostate', 'tumour'\]"):
        read(tmp_path, [task(both)])
