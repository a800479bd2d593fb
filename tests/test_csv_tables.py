# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import csv
import io
import os
import sys

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from monai_bbox_mil.csv_tables import read_table, write_table
from monai_bbox_mil.runs.files import printable

NAMES = [
    "NA", "None", "null", "nan", "NaN", "", "N/A", "#N/A", "007", "1e5", "1.0", "-5", "+5", "True", "-inf", "a,b",
    'a"b', "=cmd|' /C calc'!A0", "+1+1", "-x", "@SUM(1)", "\t=1", "\r=1", "\n=1", "=", "-", "'", "'=1", "''=1",
    "'a", "a\r\nb", " a ", "\u00e9", "\uff1d1", "2024-01-02",
]  # fmt: skip


def cells(path):
    """Return the texts of the cells as a spreadsheet reads them, without the header row."""
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.reader(file))[1:]


@pytest.mark.parametrize("names", [NAMES, *([name] for name in NAMES)])
def test_names_are_read_back_unchanged(tmp_path, names):
    table = pd.DataFrame({"case": names, "dice": [0.25] * len(names)})
    write_table(tmp_path / "t.csv", table)
    found = read_table(tmp_path / "t.csv", texts=["case", "absent"])
    assert found["case"].tolist() == names
    assert found["dice"].tolist() == [0.25] * len(names)


@given(st.lists(st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=8), min_size=1))
def test_any_text_is_read_back_unchanged(tmp_path_factory, names):
    path = tmp_path_factory.getbasetemp() / "any.csv"
    write_table(path, pd.DataFrame({"case": names}).assign(number=-1))
    assert read_table(path, texts=["case"])["case"].tolist() == names


def test_no_cell_is_a_formula_and_numbers_stay_numbers(tmp_path):
    table = pd.DataFrame({"case": NAMES, "=1+1": NAMES, "margin": -0.5, "count": -3, "blank": None})
    write_table(tmp_path / "t.csv", table, float_format="%.3g")
    for row in cells(tmp_path / "t.csv"):
        for text in row[:2]:
            assert text[:1] not in ("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d") or text in ("-5", "+5")
        assert row[2:] == ["-0.5", "-3", ""]
    found = read_table(tmp_path / "t.csv", texts=["case", "=1+1"])
    assert found.columns.tolist() == ["case", "=1+1", "margin", "count", "blank"]
    assert found["=1+1"].tolist() == NAMES
    assert (found["margin"] == -0.5).all()
    assert (found["count"] == -3).all()
    assert found["blank"].isna().all()


def test_in_a_mixed_column_texts_are_escaped_and_numbers_are_not(tmp_path):
    write_table(tmp_path / "t.csv", pd.DataFrame({"box": [-0.5, "-a", None, "=b"]}))
    assert cells(tmp_path / "t.csv") == [["-0.5"], ["'-a"], [""], ["'=b"]]


def test_a_name_that_is_not_utf8_can_be_written_and_printed(tmp_path):
    name = os.fsdecode(b"va\xff\xe9.nii.gz") if sys.platform != "win32" else "va\udcff\udce9.nii.gz"
    assert printable(name) == r"va\xff\xe9.nii.gz"
    write_table(tmp_path / "t.csv", pd.DataFrame({"case": [name]}))
    assert read_table(tmp_path / "t.csv", texts=["case"])["case"].tolist() == [r"va\xff\xe9.nii.gz"]
    io.TextIOWrapper(io.BytesIO(), encoding="utf-8").write(printable(name))


def test_an_empty_table_keeps_its_columns(tmp_path):
    write_table(tmp_path / "t.csv", pd.DataFrame(columns=["case", "dice"]))
    assert read_table(tmp_path / "t.csv", texts=["case"]).columns.tolist() == ["case", "dice"]
    with pytest.raises(pd.errors.EmptyDataError):
        (tmp_path / "t.csv").write_text("")
        read_table(tmp_path / "t.csv", texts=["case"])
