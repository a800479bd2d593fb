# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
"""Read and write CSV tables that keep every name as it is and that a spreadsheet cannot execute.

pandas alone would read a patient called ``NA`` as a missing value and one called ``007`` as the number 7. It would
write ``=cmd|...`` so that a spreadsheet executes it, and fail on a file name that is not UTF-8.
"""

from __future__ import annotations

import os
import re
from collections.abc import Collection
from typing import Any

import pandas as pd
from pandas.api.types import is_numeric_dtype

from monai_bbox_mil.runs.files import printable, replacing

__all__ = ["read_table", "write_table"]

# Characters that make a spreadsheet read a cell as a formula, including their East Asian full-width forms. A text that
# has an apostrophe before such a character already gets another one, so that reading restores it.
_FORMULA = re.compile("'*[=+\\-@\t\r\n\uff1d\uff0b\uff0d\uff20]")

_ABSENT = ["", "nan", "NaN", "NA"]


def write_table(path: str | os.PathLike[str], table: pd.DataFrame, float_format: str | None = None) -> None:
    """Write a table as CSV, completely or not at all, without its index.

    A text that a spreadsheet would read as a formula gets an apostrophe in front, which :func:`read_table` removes
    again. Numbers stay as they are, including negative ones and those in a column of texts.

    Args:
        path: file to write; its folder is created if needed.
        table: column names are escaped like texts.
        float_format: for columns of floats, such as ``"%.5g"``.

    Raises:
        OSError: if the file cannot be written.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     write_table(f"{folder}/t.csv", pd.DataFrame({"case": ["=1+1", "NA", "-5"], "dice": [-0.5, 1.0, None]}))
        ...     print(open(f"{folder}/t.csv").read().replace("\\n", "|"))
        ...     read_table(f"{folder}/t.csv", texts=["case"])["case"].tolist()
        case,dice|'=1+1,-0.5|NA,1.0|-5,|
        ['=1+1', 'NA', '-5']
    """
    texts = [number for number, dtype in enumerate(table.dtypes) if not is_numeric_dtype(dtype)]
    safe = table.rename(columns=_escape)
    for number in texts:
        safe.isetitem(number, table.iloc[:, number].map(_escape).array)
    # The writer only quotes cells that contain a character of its line terminator.
    end = "\r\n" if any("\r" in str(value) for number in texts for value in safe.iloc[:, number]) else "\n"
    with replacing(path) as unfinished:
        safe.to_csv(unfinished, index=False, float_format=float_format, encoding="utf-8", lineterminator=end)


def read_table(path: str | os.PathLike[str], texts: Collection[str]) -> pd.DataFrame:
    """Read a table that :func:`write_table` wrote.

    Args:
        path: CSV file.
        texts: columns of names. They stay texts, whatever they look like, and an empty cell is an empty text. For all
            other columns pandas decides, and an empty cell is NaN.

    Raises:
        OSError: if the file cannot be opened.
        pandas.errors.EmptyDataError: if it is empty.
        pandas.errors.ParserError, UnicodeDecodeError: if it is not such a table.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     write_table(f"{folder}/t.csv", pd.DataFrame({"patient": ["007", "NA"], "dice": [0.5, None]}))
        ...     read_table(f"{folder}/t.csv", texts=["patient"]).values.tolist()
        [['007', 0.5], ['NA', nan]]
    """
    columns = pd.read_csv(path, nrows=0, encoding="utf-8").columns
    names = [column for column in columns if _unescape(column) in texts]
    table = pd.read_csv(
        path,
        dtype=dict.fromkeys(names, str),
        keep_default_na=False,
        na_values={column: _ABSENT for column in columns if column not in names},
        encoding="utf-8",
    )
    for name in names:
        table[name] = table[name].map(_unescape)
    return table.rename(columns=_unescape)


def _escape(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    text = printable(value)
    return f"'{text}" if _FORMULA.match(text) and not _is_number(text) else text


def _unescape(value: Any) -> Any:
    return value[1:] if isinstance(value, str) and value.startswith("'") and _FORMULA.match(value) else value


def _is_number(text: str) -> bool:
    """Return whether a spreadsheet shows a text as a number, without computing anything."""
    return re.fullmatch(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", text, re.ASCII) is not None
