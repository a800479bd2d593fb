# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
"""Encodings, delimiters, line ends and numbers as programs of other people write them."""

from __future__ import annotations

import codecs
import io
import json

import numpy as np
import pandas as pd
import pytest

from monai_bbox_mil.annotations import read_boxes
from monai_bbox_mil.annotations.records import label_key
from monai_bbox_mil.annotations.values import shown
from tests.annotations.annotations import make_image, write

FLAT = (20, 16)
TABLE = pd.DataFrame({"image": ["case1", "b"], "x_min": [1, 0], "y_min": [2, 0], "x_max": [5, 1], "y_max": [6, 1]})


def read(path, classes=None):
    boxes, channels = read_boxes(path, make_image(FLAT), classes)
    return boxes.tolist(), channels.tolist()


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32"])
def test_encodings_with_their_marks(tmp_path, encoding):
    mark = {"utf-16-le": codecs.BOM_UTF16_LE, "utf-16-be": codecs.BOM_UTF16_BE}.get(encoding, b"")
    for name, text in {
        "a.csv": TABLE.assign(label="Leber\u00e4").to_csv(index=False),
        "a.json": json.dumps({"box": [[1, 2, 5, 6]], "label": ["Leber\u00e4"]}, ensure_ascii=False),
        "a.txt": "0 0.15 0.25 0.2 0.25\n",
    }.items():
        (tmp_path / name).write_bytes(mark + text.encode(encoding))
        assert read(tmp_path / name, ("Leber\u00e4",)) == ([[1, 2, 5, 6]], [0])


@pytest.mark.parametrize("encoding", ["latin-1", "cp1252", "utf-16-le"])
def test_encodings_without_a_mark_are_refused(tmp_path, encoding):
    (tmp_path / "a.csv").write_bytes(TABLE.assign(label="Leber\u00e4").to_csv(index=False).encode(encoding))
    with pytest.raises(ValueError, match=r"a\.csv: expected"):
        read(tmp_path / "a.csv")


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("quoting", [0, 1])
def test_delimiters_and_line_ends(tmp_path, delimiter, end, quoting):
    text = TABLE.to_csv(index=False, sep=delimiter, lineterminator=end, quoting=quoting)
    (tmp_path / "a.csv").write_bytes(text.encode())
    assert read(tmp_path / "a.csv") == ([[1, 2, 5, 6]], [0])
    (tmp_path / "b.csv").write_bytes(f"sep={delimiter}{end}{text}".encode())
    assert read(tmp_path / "b.csv") == ([[1, 2, 5, 6]], [0])


def test_cells_may_hold_delimiters_and_line_ends(tmp_path):
    table = TABLE.assign(note=['a, "b";\tc\nd', ""])
    assert read(write(tmp_path / "a.csv", table.to_csv(index=False))) == ([[1, 2, 5, 6]], [0])


def test_a_quote_that_does_not_end_is_refused(tmp_path):
    """It would swallow all rows behind it."""
    path = write(tmp_path / "a.csv", TABLE.to_csv(index=False).replace("case1", '"case1'))
    with pytest.raises(ValueError, match=r"a\.csv: expected comma-separated values, got an error: "):
        read(path)


@pytest.mark.parametrize("column", ["x_min", "image", "label", "ignored"])
def test_a_column_that_is_there_twice_is_refused(tmp_path, column):
    text = TABLE.assign(label=0, ignored=0).to_csv(index=False)
    lines = [f"{line},{column if number == 0 else 0}" for number, line in enumerate(text.splitlines())]
    with pytest.raises(ValueError, match=rf"a\.csv: expected each column once, got {column} more than once"):
        read(write(tmp_path / "a.csv", "\n".join(lines)))


@pytest.mark.parametrize("number", ["1_0", "one", "1,5", "", "0x10"])
def test_what_is_no_number_is_refused(tmp_path, number):
    text = TABLE.astype({"x_max": object}).replace({"x_max": {5: number}}).to_csv(index=False)
    with pytest.raises(ValueError, match=r"a\.csv, row 2: expected 4 finite numbers"):
        read(write(tmp_path / "a.csv", text))


def test_truth_values_are_no_numbers():
    with pytest.raises(ValueError, match=r"box\[0\]: expected 4 or 6 finite numbers, got \[True"):
        read_boxes([[True, 2, 5, 6]], make_image(FLAT))


def test_yolo_classes_as_numpy_writes_them(tmp_path):
    rows = io.StringIO()
    np.savetxt(rows, [[1, 0.15, 0.25, 0.2, 0.25]])
    path = write(tmp_path / "a.txt", rows.getvalue())
    assert read(path) == read(path, ("a", "b")) == ([[1, 2, 5, 6]], [1])


@pytest.mark.parametrize("text", ['{"box": [], "box": [[1, 2, 3, 4]]}', '{"box": [], "x": {"a": 1, "a": 2}}'])
def test_json_with_two_values_for_one_key_is_refused(tmp_path, text):
    with pytest.raises(ValueError, match=r"a\.json: expected JSON, got the key '(box|a)' twice in one object"):
        read(write(tmp_path / "a.json", text))
    assert read(write(tmp_path / "b.json", '{"box": [], "note": 1, "note": 1}')) == ([], [])


KEYS = [
    (1, "1"),
    (True, "True"),
    ("1.0", "1"),
    ("+1", "1"),
    ("001", "1"),
    ("1e0", "1"),
    ("1.5", "1.5"),
    ("1_0", "1_0"),
    ("nan", "nan"),
    ("inf", "inf"),
    ("Tumour", "Tumour"),
    ("9007199254740993.0", "9007199254740993"),
    ("-0", "0"),
    (np.int64(3), "3"),
    (np.float32(3), "3"),
]


@pytest.mark.parametrize(("label", "key"), KEYS)
def test_label_keys(label, key):
    assert label_key(label) == key


def test_numbers_of_thousands_of_digits_do_no_harm():
    assert label_key(10**5000) == "a number of 16610 bits" and len(label_key("1" * 5000)) == 5000
    assert shown([10**5000]) == "[a number of 16610 bits]"
