# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
import math

import pytest
import torch

from monai_bbox_mil.metrics import (
    DEFAULT_THRESHOLDS,
    BoxIoUMetric,
    best_threshold,
    box_region_iou,
    load_threshold,
    save_fixed_threshold,
    save_threshold,
)


def square(low, high, size=10):
    mask = torch.zeros(1, size, size)
    mask[0, low:high, low:high] = 1
    return mask


def test_hand_computed_box_iou():
    given = torch.tensor([[2.0, 2, 6, 6, 0]])
    assert box_region_iou(square(2, 6), given).item() == 1
    assert box_region_iou(square(4, 8), given).item() == pytest.approx(4 / 28)
    assert box_region_iou(square(7, 9), given).item() == 0
    assert box_region_iou(square(0, 0), given).item() == 0
    assert box_region_iou(square(2, 6), torch.empty(0, 5)).item() == 0
    assert math.isnan(box_region_iou(square(0, 0), torch.empty(0, 5)).item())


def test_only_the_extent_of_the_prediction_counts():
    ring = square(2, 6) - square(3, 5)
    assert box_region_iou(ring, torch.tensor([[2.0, 2, 6, 6, 0]])).item() == 1


def test_ignored_regions_belong_to_neither_side():
    given = torch.tensor([[0.0, 0, 3, 3, 0], [5.0, 5, 8, 8, -2]])
    assert box_region_iou(square(0, 3) + square(5, 8), given).item() == 1
    assert box_region_iou(square(0, 3), given).item() == 1


def test_box_iou_of_classes_and_volumes():
    pred = torch.zeros(2, 6, 6, 3)
    pred[0, :2, :2, 0] = 1
    pred[0, :4, :4, 1] = 1
    given = torch.tensor([[0.0, 0, 0, 2, 2, 1, 0], [0.0, 0, 1, 2, 4, 2, 0], [0.0, 0, 2, 3, 3, 3, 1]])
    assert box_region_iou(pred, given, slice_dim=-1).tolist() == pytest.approx([12 / 20, 0.0])


def test_metric_averages_over_images_with_the_class():
    metric = BoxIoUMetric(thresholds=(0.2, 0.8))
    prob = torch.cat([0.5 * square(2, 6)[None], 0.9 * square(2, 6)[None], torch.zeros(1, 1, 10, 10)])
    empty = [0.0, 0, 0, 0, -1]
    target = torch.tensor([[[2.0, 2, 6, 6, 0]], [[2.0, 2, 6, 6, 0]], [empty]])
    metric(prob[:2], target[:2])
    metric(prob[2:], target[2:])
    assert metric.aggregate().tolist() == [[1.0, 0.5]]
    metric.reset()
    with pytest.raises(ValueError, match="must be called on at least one batch"):
        metric.aggregate()
    with pytest.raises(ValueError, match=r"y must be a box tensor \(B, N, 2\*D \+ 1\), got \(1, 5\)"):
        metric(prob[:1], target[0])


def test_best_threshold_is_the_middle_of_the_best():
    scores = torch.tensor([[0.1, 0.9, 0.9, 0.9, 0.2], [0.1, 0.2, 0.3, 0.4, 0.5], [math.nan] * 5])
    assert best_threshold(scores, (0.1, 0.3, 0.5, 0.7, 0.9)) == [0.5, 0.9, 0.5]
    with pytest.raises(ValueError, match=r"box_iou must have the shape \(C, 19\), got \(3, 5\)"):
        best_threshold(scores)


def test_a_class_in_no_image_keeps_one_half_wherever_it_is_predicted():
    """The second channel reaches 0.3 and is in no image: whether it is predicted must not matter."""
    for scale in (0.0, 0.3, 1.0):
        metric = BoxIoUMetric(DEFAULT_THRESHOLDS)
        prob = torch.zeros(4, 2, 10, 10)
        prob[:, 0, 2:6, 2:6], prob[:, 1] = 0.62, scale * torch.rand(4, 10, 10)
        metric(prob, torch.tensor([[[2.0, 2, 6, 6, 0]]] * 4))
        assert best_threshold(metric.aggregate()) == [0.35, 0.5]


def test_predictions_that_meet_no_box_do_not_choose_a_threshold():
    metric = BoxIoUMetric((0.1, 0.2, 0.9))
    metric(0.95 * square(0, 2)[None], torch.tensor([[[5.0, 5, 9, 9, 0]]]))
    assert metric.aggregate().tolist() == [[0, 0, 0]]
    assert best_threshold(metric.aggregate(), (0.1, 0.2, 0.9)) == [0.5]


def test_threshold_file(tmp_path):
    path = tmp_path / "models" / "threshold.json"
    save_threshold(path, [0.3, 0.6], calibrated_from="boxes")
    assert load_threshold(path) == [0.3, 0.6]
    assert json.loads(path.read_text())["calibrated_from"] == "boxes"
    assert [p.name for p in path.parent.iterdir()] == ["threshold.json"]


def test_a_threshold_belongs_to_its_model(tmp_path):
    path, model = tmp_path / "threshold.json", tmp_path / "model.pt"
    save_threshold(path, [0.3])
    model.write_bytes(b"weights")
    assert load_threshold(path) == [0.3]  # saved without a model, so there is nothing to compare
    save_threshold(path, [0.4])
    assert load_threshold(path) == [0.4]
    model.write_bytes(b"other weights")
    with pytest.raises(ValueError, match="threshold.json: expected thresholds of the model.pt beside it"):
        load_threshold(path)


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"threshold": 0.5}', '{"threshold": []}', '{"threshold": [1.5]}'])
def test_bad_threshold_files_raise(tmp_path, content):
    path = tmp_path / "threshold.json"
    path.write_text(content)
    with pytest.raises(ValueError, match="threshold.json: (expected JSON with a list|threshold must be a list)"):
        load_threshold(path)


def test_the_error_for_a_missing_threshold_file_says_what_to_do(tmp_path):
    with pytest.raises(FileNotFoundError, match="expected a calibrated threshold, found no file.*--threshold 0.5"):
        load_threshold(tmp_path / "threshold.json")
    with pytest.raises(ValueError, match="threshold must be a list of one number in"):
        save_threshold(tmp_path / "threshold.json", [0.0])


@pytest.mark.parametrize("rank", [0, 1])
def test_a_fixed_threshold_is_written_by_the_first_process(tmp_path, monkeypatch, rank):
    monkeypatch.setattr("ignite.distributed.get_rank", lambda: rank)
    path = tmp_path / "threshold.json"
    save_fixed_threshold(path, 3)
    assert path.is_file() == (rank == 0)
    if rank == 0:
        assert load_threshold(path) == [0.5, 0.5, 0.5]
        assert json.loads(path.read_text())["calibrated_from"] == "nothing"
