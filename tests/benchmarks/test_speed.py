# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
"""That the benchmarks run and count right; what they measure is no test's business."""

from __future__ import annotations

import json
import time

import pandas as pd
import pytest
import torch

from benchmarks.speed import cases, loss_cost, loss_growth
from benchmarks.speed.bundle_parts import overrides_of
from benchmarks.speed.label_cost import label_cost
from benchmarks.speed.load import large_volume
from benchmarks.speed.measure import machine_line, peak_memory, time_side_by_side
from benchmarks.speed.scaling import scaling
from monai_bbox_mil.data import make_phantom
from tests.bundle.conftest import TINY


@pytest.fixture
def small_case(monkeypatch):
    case = cases.Case("small", (2, 2, 24, 24), 2, (4, 9), 1.0, {}, True)
    monkeypatch.setitem(cases.CASES, "P", case)
    return case


def test_peak_memory_is_what_is_held_at_once():
    def function():
        kept = torch.zeros(2**18)  # 1 MiB
        for _ in range(3):
            torch.zeros(2**19)  # 2 MiB, given back each time
        return kept

    assert 3 * 2**20 <= peak_memory(function, "cpu") < 3.1 * 2**20


def test_times_of_two_functions_stand_side_by_side():
    table = time_side_by_side({"slow": lambda: time.sleep(0.02), "fast": lambda: None}, "cpu", rounds=3, warm_up=1)
    assert list(table.index) == ["slow", "fast"]
    assert table.wall_ms["slow"] >= 20 > table.wall_ms["fast"]
    assert table.cpu_ms["slow"] < table.wall_ms["slow"]


def test_random_boxes_lie_in_the_image_and_differ_by_seed():
    boxes = cases.random_boxes((3, 2, 20, 30), 4, (5, 9), seed=0)
    assert boxes.shape == (3, 8, 5)
    assert boxes[..., -1].tolist() == [[0, 0, 0, 0, 1, 1, 1, 1]] * 3
    low, high = boxes[..., :2], boxes[..., 2:4]
    assert (low >= 0).all()
    assert (high <= torch.tensor([20, 30])).all()
    assert ((high - low >= 5) & (high - low <= 9)).all()
    assert torch.equal(boxes, cases.random_boxes((3, 2, 20, 30), 4, (5, 9), seed=0))
    assert not torch.equal(boxes, cases.random_boxes((3, 2, 20, 30), 4, (5, 9), seed=1))


def test_the_loss_table_names_every_system(small_case, tmp_path):
    table = loss_cost.loss_cost(["P"], "cpu", 2, tmp_path)
    threads = table.threads.nunique()
    assert len(table) == threads * (1 + len(cases.SYSTEMS))
    assert (table[table.system == cases.PIXEL_WISE].time_ratio == 1).all()
    assert (table.peak_MiB > 0).all()
    pd.testing.assert_series_equal(pd.read_csv(tmp_path / "loss_cost.csv").system, table.system)


def test_labels_are_timed_by_part(tmp_path):
    table = label_cost("cpu", 1, tmp_path)
    parts = ["smooth", "look up", "learn", "fit", "sum"]
    assert table.groupby("boxes", sort=False)["part"].apply(list).tolist() == [parts] * 4
    for _, rows in table.groupby("boxes"):
        assert rows.wall_ms.iloc[:-1].sum() == pytest.approx(rows.wall_ms.iloc[-1])
    pd.testing.assert_series_equal(pd.read_csv(tmp_path / "label_cost.csv").part, table.part)


def test_growth_is_fitted_and_drawn(monkeypatch, tmp_path):
    sweep = {"sides": [(n, cases.Case("", (1, 1, 32, 32), 1, (n, n), 0.0)) for n in (4, 8, 16)]}
    monkeypatch.setattr(loss_growth, "_sweeps", lambda: sweep)
    table, lines = loss_growth.loss_growth("cpu", 2, tmp_path)
    assert table.value.tolist() == [4, 8, 16]
    assert lines.quantity.tolist() == ["sides"]
    assert (tmp_path / "loss_growth.png").stat().st_size > 1000


def test_a_large_volume_is_resampled_to_the_spacing_of_the_overrides(tmp_path):
    overrides = {"network_def#features": [4] * 6, "spacing_mm": [2, 1.5], "device": "cpu"}
    (row,) = large_volume((40, 48, 3), overrides, tmp_path, tmp_path).itertuples()
    assert row.image_size == [20, 32]
    assert row.peak_MiB >= row.MiB_before > 0
    assert json.loads((tmp_path / "models" / "image_settings.json").read_text())["spacing_mm"] == [2, 1.5]


def test_overrides_are_read_like_those_of_a_run():
    assert overrides_of(["a=[1,2]", "b#c=0.5", "d=text/here"]) == {"a": [1, 2], "b#c": 0.5, "d": "text/here"}
    with pytest.raises(ValueError, match="must have the form NAME=VALUE, got 'a'"):
        overrides_of(["a"])


def test_one_and_two_processes_share_a_batch(tmp_path):
    phantom = tmp_path / "phantom"
    make_phantom(phantom, num_patients=4, seed=1, image_size=(48, 56), num_slices=(6, 7), progress=False)
    table = scaling([1, 2], "cpu", {**TINY, "dataset_dir": str(phantom)}, 1, tmp_path)
    assert table.processes.tolist() == [1, 2]
    assert table.batch_size.tolist() == [8, 4]
    assert (table[["epoch_s", "cpu_s"]] > 0).all().all()
    assert pd.read_csv(tmp_path / "scaling.csv").speed_up[0] == 1
    with pytest.raises(ValueError, match="batch_size must be a multiple of the 3 processes, got 8"):
        scaling([1, 3], "cpu", {**TINY, "dataset_dir": str(phantom)}, 1, tmp_path)


def test_the_machine_is_named():
    assert torch.__version__ in machine_line("cpu")
