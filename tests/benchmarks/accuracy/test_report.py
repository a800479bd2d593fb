# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
"""Statistics by hand and by scipy; tables, plots and the page."""

from __future__ import annotations

import shutil

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from benchmarks.accuracy import load_matrix, write_report
from benchmarks.accuracy.matrix import DEFAULT_MATRIX
from benchmarks.accuracy.score_tables import read_results
from benchmarks.accuracy.sections import TableRow
from benchmarks.accuracy.statistics import compare, patient_scores, select_rows, summarize
from benchmarks.accuracy.tables import pick_reference, table_view
from monai_bbox_mil.csv_tables import write_table
from tests.benchmarks.accuracy.conftest import REPOSITORY, matrix_content, write_matrix

DICE = {  # patients a (two cases), b and c; seeds 0 and 1
    "full": {("a1", 0): 0.8, ("a2", 0): 1.0, ("b1", 0): 0.8, ("c1", 0): 0.7,
             ("a1", 1): 0.8, ("a2", 1): 0.8, ("b1", 1): 0.8, ("c1", 1): 0.5},
    "paper": {("a1", 0): 0.7, ("a2", 0): 0.7, ("b1", 0): 0.6, ("c1", 0): 0.6},
}  # fmt: skip


def results(dice=None, dataset="phantom", evaluation=None):
    rows = []
    for system, cases in (dice or DICE).items():
        for (case, seed), value in cases.items():
            rows.append({
                "dataset": dataset, "system": system, "variant": "", "seed": seed, "fold": "0",
                "evaluation": evaluation or ("0.5" if system == "full" else "calibrated"), "case": case,
                "patient": case[0], "class": "organ", "dice": value, "hd95_mm": np.nan if case == "b1" else 2.0,
                "box_iou": 0.5, "threshold": 0.5 if system == "full" else 0.3 + 0.1 * (case == "a1"),
                "train_seconds": 3600.0, "train_cpu_seconds": 7200.0, "peak_memory_mb": 700.0,
                "num_parameters": 10, "num_threads": 1, "device": "cpu", "evaluate_seconds": 30.0,
                "evaluate_cpu_seconds": 36.0, "hash": f"{dataset}{system}{seed}",
            })  # fmt: skip
    return pd.DataFrame(rows)


FULL, PAPER = TableRow("full", evaluation="0.5"), TableRow("paper", evaluation="calibrated")


def test_statistics_by_hand():
    table = results()
    full, paper = (patient_scores(select_rows(table, "phantom", row)) for row in (FULL, PAPER))
    assert full.round(6).to_dict() == {0: {"a": 0.9, "b": 0.8, "c": 0.7}, 1: {"a": 0.8, "b": 0.8, "c": 0.5}}
    found = summarize(full)  # patients: 0.85, 0.8, 0.6
    assert found.mean == pytest.approx(0.75)
    assert found.std == pytest.approx(np.sqrt((0.1**2 + 0.05**2 + 0.15**2) / 2))
    assert found.seed_std == pytest.approx((0.8 - 0.7) / np.sqrt(2))
    assert (found.num_patients, found.num_seeds) == (3, 2)
    alone = summarize(paper)
    assert alone.mean == pytest.approx((0.7 + 0.6 + 0.6) / 3)
    assert np.isnan(alone.seed_std)
    difference = compare(paper, full)  # -0.15, -0.2, 0
    assert difference.mean == pytest.approx(-0.35 / 3)
    assert difference.percent == pytest.approx(100 * 1.9 / 2.25)
    assert difference.num_patients == 3


def test_statistics_by_scipy():
    random = np.random.default_rng(0)
    own, other = (pd.DataFrame(random.random((20, 3)), index=[f"p{i}" for i in range(20)]) for _ in range(2))
    found, paired = summarize(own), compare(own, other)
    assert found.standard_error == pytest.approx(stats.sem(own.mean(axis=1)))
    test = stats.ttest_rel(own.mean(axis=1), other.mean(axis=1))
    assert paired.mean / paired.standard_error == pytest.approx(test.statistic)


def test_classes_of_a_patient_are_averaged():
    table = results()
    second = table.assign(**{"class": "other"}, dice=0.0)
    halved = patient_scores(select_rows(pd.concat([table, second]), "phantom", PAPER))
    assert halved[0].tolist() == pytest.approx([0.35, 0.3, 0.3])


def test_only_common_patients_are_compared():
    table = results()
    full, paper = (patient_scores(select_rows(table, "phantom", row)) for row in (FULL, PAPER))
    assert compare(paper.drop("c"), full).num_patients == 2


def view_of(tmp_path, **changes):
    content = matrix_content()
    content["report"][0]["table"] |= changes
    matrix = load_matrix(write_matrix(tmp_path, content))
    return matrix, next(view for view in matrix.report[0].views if view.kind == "table")


def test_the_table_states_all_there_is_to_know(tmp_path):
    matrix, view = view_of(tmp_path)
    assert table_view(results(), matrix, view) == [
        "| the phantom | 3D Dice | seeds | between seeds | difference | share | threshold | HD95, mm | box IoU |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
        "| full supervision | 0.750 (0.132) | 2 | 0.071 | reference | – | 0.50 | 2.0 (0.0) | 0.500 (0.000) |",
        "| the paper's weights | 0.633 (0.058) | 1 | – | -0.117 ± 0.060 | 84.4 % | 0.30 to 0.40 | 2.0 (0.0) "
        "| 0.500 (0.000) |",
        "",
        "3 patients. Mean over patients (standard deviation over patients); between seeds: standard deviation of the "
        "seeds' means; difference to full supervision, paired by patient, ± its standard error; share: of its mean "
        "Dice; HD95 is undefined in 3 of 12 predictions (all rows), which do not count.",
        "",
    ]


def test_the_best_from_boxes_is_bold_and_the_best_yardstick_the_reference(tmp_path):
    content = matrix_content()
    content["systems"] |= {"other": {"evaluations": ["calibrated"]}, "full_too": {"evaluations": ["0.5"]}}
    content["systems"]["oracle"] = {"yardstick": True, "evaluations": ["calibrated"]}
    content["report"][0]["table"]["reference"] = ["full", "full_too"]
    matrix = load_matrix(write_matrix(tmp_path, content))
    view = next(view for view in matrix.report[0].views if view.kind == "table")
    better = {case: value + 0.01 for case, value in DICE["full"].items()}
    table = pd.concat([
        results({**DICE, "oracle": DICE["full"]}), results({"full_too": better}, evaluation="0.5"),
        results({"other": {case: value - 0.1 for case, value in DICE["paper"].items()}}, evaluation="calibrated"),
    ])  # fmt: skip
    assert pick_reference(table, matrix, view, "phantom").system == "full_too"
    lines = table_view(table, matrix, view)
    (bold,) = [line for line in lines if "**" in line]
    assert bold.startswith("| **the paper's weights** | **0.633 (0.058)** | 1 |")
    assert "difference to full_too, the better one on this set" in lines[-2]


def test_several_sets_are_shown_side_by_side_and_absent_results_are_reported(tmp_path):
    content = matrix_content()
    content["datasets"] |= {"second": {}, "third": {}}
    matrix = load_matrix(write_matrix(tmp_path, content))
    view = next(view for view in matrix.report[0].views if view.kind == "table")
    lines = table_view(pd.concat([results(), results({"full": DICE["full"]}, dataset="second")]), matrix, view)
    assert lines[:4] == [
        "| 3D Dice | the phantom | second |",
        "| --- | ---: | ---: |",
        "| full supervision | 0.750 (0.132) | 0.750 (0.132) |",
        "| the paper's weights | 0.633 (0.058) | – |",
    ]
    assert "No results yet: third." in lines


def test_the_published_page_is_that_of_the_published_tables(tmp_path):
    """The tables were computed by earlier code; their rows stay readable, and give the same page to the letter."""
    docs = REPOSITORY / "bundle" / "docs"
    for path in docs.glob("results*"):
        shutil.copy(path, tmp_path)
    shutil.copy(docs / "curves.csv", tmp_path)
    (tmp_path / "results.md").unlink()
    page = write_report(load_matrix(DEFAULT_MATRIX), tmp_path / "results.csv", tmp_path)
    assert page.read_text() == (docs / "results.md").read_text()


def test_a_report_without_curves_and_pictures_says_so(tmp_path):
    results().to_csv(tmp_path / "results.csv", index=False)
    matrix = load_matrix(write_matrix(tmp_path))
    page = write_report(matrix, tmp_path / "results.csv", tmp_path / "report").read_text()
    assert "lowest to the highest seed: no results yet.*" in page
    assert "*Pictures are drawn where the runs are.*" in page
    assert "3 trainings: 3 hours of wall time added up, 6 CPU hours, at most 700 MB" in page


def test_patients_of_any_name_are_in_the_tables(tmp_path):
    """Names that pandas takes for absent values, and that spreadsheets take for formulas."""
    names = ["NA", "None", "null", "nan", "", "007", "1e5", "1.0", "=1+1", "-x"]
    rows = results({"full": {(name or " ", 0): 0.5 for name in names}})
    write_table(tmp_path / "results.csv", rows.assign(patient=names, case=names))
    found = read_results(tmp_path / "results.csv")
    assert found["variant"].tolist() == [""] * len(names)
    scores = patient_scores(select_rows(found, "phantom", FULL))
    assert sorted(scores.index) == sorted(names)
    assert summarize(scores).num_patients == len(names)
