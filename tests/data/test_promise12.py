# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
"""Data lists of PROMISE12: the paper's split, and errors."""

from __future__ import annotations

import random

import pytest

from monai_bbox_mil.data.promise12 import PROMISE12_VALIDATION, promise12_datalist
from tests.data.layouts import patients, touch, write_cases


@pytest.fixture
def promise12(tmp_path):
    write_cases(tmp_path / "TrainingData_Part1", range(26))
    write_cases(tmp_path / "TrainingData_Part2", range(26, 38))
    write_cases(tmp_path / "TrainingData_Part3", range(38, 50))
    return tmp_path


class TestPromise12:
    def test_split_of_the_paper(self, promise12):
        parts = promise12_datalist(promise12)
        assert patients(parts["validation"]) == [f"Case{number:02d}" for number in PROMISE12_VALIDATION]
        assert len(parts["training"]) == 40
        assert not set(patients(parts["training"])) & set(patients(parts["validation"]))
        # Of the earlier cases, 2, 16, 19, 24, 25 and 26 are in the validation part.
        assert parts["training"][27 - 6] == {
            "image": str(promise12 / "TrainingData_Part2" / "Case27.mhd"),
            "mask": str(promise12 / "TrainingData_Part2" / "Case27_segmentation.mhd"),
            "patient": "Case27",
        }

    def test_split_is_the_draw_of_the_public_code(self):
        assert sorted(random.Random(0).sample(range(50), 10)) == list(PROMISE12_VALIDATION)

    @pytest.mark.parametrize("cases", [(3, 1), ("Case01", "Case03"), ["Case01", 3]])
    def test_own_cases(self, tmp_path, cases):
        write_cases(tmp_path, range(5))
        parts = promise12_datalist(tmp_path, cases)
        assert patients(parts["training"]) == ["Case00", "Case02", "Case04"]
        assert patients(parts["validation"]) == ["Case01", "Case03"]

    def test_fewer_cases_than_the_paper_has(self, tmp_path):
        write_cases(tmp_path, range(10))
        with pytest.warns(UserWarning, match=r"9 of the 10 validation patients of the paper are not there \(Case16, "):
            parts = promise12_datalist(tmp_path, validation_fraction=0.3, seed=4)
        assert parts == promise12_datalist(tmp_path, None, validation_fraction=0.3, seed=4)
        assert len(parts["validation"]) == 3

    def test_hidden_files_are_not_read(self, tmp_path):
        write_cases(tmp_path, range(2))
        write_cases(tmp_path / ".phantom-left", range(2))
        touch(tmp_path / "._Case01.mhd", tmp_path / "CaseX.mhd")
        assert len(promise12_datalist(tmp_path, [0])["training"]) == 1

    def test_table(self, tmp_path):
        write_cases(tmp_path, range(4))
        rows = ["case,phase,patient,split", "Case03,0,p1,test", "Case00,7,p2,training", "Case01,0,p2,training"]
        (tmp_path / "cases.csv").write_text("\n".join([*rows, "Case02,0,p3,validation"]) + "\n")
        parts = promise12_datalist(tmp_path)
        assert {name: patients(items) for name, items in parts.items()} == {
            "training": ["p2", "p2"],
            "validation": ["p3"],
            "test": ["p1"],
        }
        assert parts["test"][0]["mask"].endswith("Case03_segmentation.mhd")

    @pytest.mark.parametrize(
        ("rows", "message"),
        [
            ("case,split\nCase00,training", r"cases.csv: expected the columns .*, got \['case', 'split'\]"),
            ("", r"cases.csv: expected the columns .* at least one row, got \[\]"),
            ("case,split,patient\nCase00,training,a", r"one row for each case .* other ones for Case01\."),
            (
                "case,split,patient\nCase00,training,a\nCase01,training,b\nCase07,training,c",
                r"one row for each case .* other ones for Case07\.",
            ),
            (
                "case,split,patient\nCase00,training,a\nCase01,training,b\nCase01,validation,c",
                r"one row for each case .* other ones for Case01\.",
            ),
            ("case,split,patient\nCase00,train,a\nCase01,training,b", r"for Case00, got 'train' and 'a'"),
            ("case,split,patient\nCase00,training,\nCase01,training,b", r"for Case00, got 'training' and ''"),
            (
                "case,split,patient\nCase00,training,a\nCase01,validation,a",
                r"got 1 patient\(s\) in both training and validation: a\.",
            ),
        ],
    )
    def test_table_errors(self, tmp_path, rows, message):
        write_cases(tmp_path, range(2))
        (tmp_path / "cases.csv").write_text(rows)
        with pytest.raises(ValueError, match=message):
            promise12_datalist(tmp_path)

    def test_errors(self, tmp_path):
        with pytest.raises(ValueError, match=r"expected files named CaseNN\.mhd, here or in folders below, got none"):
            promise12_datalist(tmp_path / "absent")
        write_cases(tmp_path / "a", range(3))
        with pytest.raises(ValueError, match=r"expected patients of this data set, got unknown Case09\."):
            promise12_datalist(tmp_path, [1, 9])
        write_cases(tmp_path / "b", [2])
        with pytest.raises(ValueError, match=r"expected each case once, got .*Case02\.mhd and .*Case02\.mhd"):
            promise12_datalist(tmp_path)
        (tmp_path / "b" / "Case02.mhd").unlink()
        (tmp_path / "a" / "Case02_segmentation.mhd").unlink()
        with pytest.raises(ValueError, match=r"beside every CaseNN\.mhd, got 1 without: .*Case02\.mhd\. .*find_images"):
            promise12_datalist(tmp_path)
