# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
"""The table of predictions, and what a prediction is made of."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch

from monai_bbox_mil.csv_tables import read_table
from monai_bbox_mil.exports import Prediction, make_exports
from monai_bbox_mil.transforms import MaskToBoxTensor
from tests.exports.predictions import (
    AFFINES,
    CLASSES,
    EMPTY,
    VALUES,
    as_image,
    export,
    picture,
    predict,
    probabilities,
    volume,
)


def rows(folder) -> pd.DataFrame:
    return read_table(folder / "predictions.csv", texts=["image", "class", "boxes"])


def test_the_table_has_sizes_boxes_and_confidence(tmp_path):
    labels = volume()
    export("csv", tmp_path, predict(labels, tmp_path / "=1+1.nii.gz", AFFINES["oblique"]))
    table = rows(tmp_path)
    assert table["image"].tolist() == ["=1+1.nii.gz"] * 2 and table["class"].tolist() == list(CLASSES)
    assert table["label_value"].tolist() == list(VALUES)
    prob = probabilities(labels)
    for channel, value in enumerate(VALUES):
        row, mask = table.iloc[channel], labels == value
        assert row["voxels"] == mask.sum()
        assert row["volume_ml"] == pytest.approx(mask.sum() * 0.7 * 1.3 * 4.0 / 1000, rel=1e-5)
        assert row["mean_confidence"] == pytest.approx(prob[channel][mask].mean(), rel=1e-5)
        assert row["peak_confidence"] == pytest.approx(prob[channel].max(), rel=1e-5)
        boxes = [[int(number) for number in box.split()] for box in row["boxes"].split(";")]
        expected = MaskToBoxTensor([value])(np.where(mask, value, 0)[None])
        assert sorted(boxes) == sorted(expected[:, :-1].int().tolist()) and len(boxes) == row["objects"]


def test_the_table_of_an_image_without_objects(tmp_path):
    export("csv", tmp_path, predict(EMPTY, tmp_path / "a.nii.gz"), predict(picture() * 0, tmp_path / "b.png"))
    table = rows(tmp_path)
    assert table["image"].tolist() == ["a.nii.gz"] * 2 + ["b.png"] * 2
    assert table["objects"].tolist() == table["voxels"].tolist() == [0] * 4 and table["boxes"].tolist() == [""] * 4
    assert table["volume_ml"].tolist()[:2] == [0, 0] and table["volume_ml"][2:].isna().all()
    assert table["mean_confidence"].isna().all() and (table["peak_confidence"] > 0).all()


def test_the_table_without_probabilities_or_images(tmp_path):
    export("csv", tmp_path, predict(volume(), tmp_path / "a.nii.gz", sure=False))
    assert rows(tmp_path)[["mean_confidence", "peak_confidence"]].isna().all(axis=None)
    make_exports("csv", tmp_path, CLASSES)[0].finish()
    assert len(rows(tmp_path)) == 0 and "volume_ml" in rows(tmp_path)


@pytest.mark.parametrize("labels", [picture(), volume(), picture(np.random.default_rng(5)), volume()[..., :1]])
def test_objects_are_those_of_the_boxes_of_a_mask(labels):
    objects = predict(labels, "a.nii.gz").objects
    expected = MaskToBoxTensor(VALUES)(labels[None])
    assert [[*each.low, *each.high, each.channel] for each in objects] == expected.int().tolist()
    whole = np.zeros_like(labels)
    for each in objects:
        place = tuple(slice(a, b) for a, b in zip(each.low, each.high, strict=True))
        whole[place][each.region] = VALUES[each.channel]
    assert np.array_equal(whole, labels)


@pytest.mark.parametrize("dtype", [np.uint16, np.int64, np.float32])
def test_any_type_of_whole_numbers(dtype):
    found = Prediction(volume().astype(dtype)[None], VALUES, CLASSES, "a.nii.gz").objects
    assert len(found) == len(predict(volume(), "a.nii.gz").objects)


def test_a_mask_of_one_class_may_be_bool_and_half_precision_is_enough():
    mask = picture() > 0
    prediction = Prediction(torch.as_tensor(mask)[None], [1], ["a"], "a.png", torch.full((1, 23, 17), 0.75).half())
    assert {each.confidence for each in prediction.objects} == {0.75} and prediction.peak(0) == 0.75


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"label_map": picture()}, r"label_map: expected the shape \(1, H, W\) or \(1, H, W, Z\).*got \(23, 17\)"),
        ({"label_map": np.stack([picture()] * 2)}, r"got \(2, 23, 17\). Merge the channels"),
        ({"label_map": picture()[None] * 0.5}, "label_map: expected whole numbers for a.png, got fractions"),
        ({"label_values": [3]}, r"class_names: expected one name for each of the 1 label_values \[3\]"),
        ({"label_values": [0, 3]}, "label_values: expected different values above 0"),
        ({"label_values": [3, 3]}, "label_values: expected different values above 0"),
        ({"class_names": ["a", " a"]}, "class_names: expected names that are not empty and differ"),
        ({"class_names": ["a", ""]}, "class_names: expected names that are not empty and differ"),
        ({"image": None}, "image: expected the path of the predicted image, got None"),
        ({"probabilities": np.zeros((1, 23, 17))}, r"probabilities: expected the shape \(2, 23, 17\) for a.png"),
        ({"probabilities": np.full((2, 23, 17), 4.0)}, "expected numbers from 0 to 1 for a.png, got 4 to 4"),
        ({"probabilities": np.full((2, 23, 17), np.nan)}, "expected numbers from 0 to 1 for a.png, got nan to nan"),
        ({"affine": np.zeros((4, 4))}, "affine: expected one invertible matrix"),
    ],
)
def test_what_is_no_prediction_is_refused(changed, message):
    given = {"label_map": picture()[None], "label_values": VALUES, "class_names": CLASSES, "image": "a.png"} | changed
    with pytest.raises(ValueError, match=message):
        Prediction(**given)


def test_values_that_are_no_class_are_refused():
    prediction = Prediction(picture()[None], [3, 7], CLASSES, "a.png")
    with pytest.raises(ValueError, match=r"label_values \[3, 7\]: expected no other values but 0.*got \[1001\]"):
        _ = prediction.objects


def test_unknown_exports_and_other_classes_are_refused(tmp_path):
    with pytest.raises(ValueError, match="export: expected names among csv, coco, .*, got 'koko'"):
        make_exports("coco,koko", tmp_path, CLASSES)
    (writer,) = make_exports(["csv"], tmp_path, ["a", "b"])
    with pytest.raises(ValueError, match=r"class_names: expected \['a', 'b'\] in all predictions"):
        writer.add(predict(picture(), tmp_path / "a.png"))
    with pytest.raises(ValueError, match=r"data_root_dir .*expected a folder that holds all images, got .*a\.png"):
        export("csv", tmp_path, predict(picture(), tmp_path / "a.png"), data_root_dir=tmp_path / "elsewhere")


def test_the_affine_of_a_slice_without_depth_gives_no_millimetres():
    label_map = as_image(picture(), "a.nii.gz")
    assert Prediction(label_map, VALUES, CLASSES).volume_mm3 == 1
    assert Prediction(picture()[None], VALUES, CLASSES, "a.nii.gz", affine=np.eye(3)).volume_mm3 is None
