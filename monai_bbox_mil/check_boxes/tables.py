# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
"""Write the findings and the boxes as CSV files."""

from __future__ import annotations

import os
from pathlib import Path

import pandas as pd

from monai_bbox_mil.check_boxes.findings import KINDS
from monai_bbox_mil.check_boxes.reports import CheckResult
from monai_bbox_mil.csv_tables import write_table

__all__ = ["table_paths", "write_tables"]

_CORNERS = ("x_min", "y_min", "z_min", "x_max", "y_max", "z_max")


def table_paths(stem: str | os.PathLike[str]) -> list[Path]:
    """Return the paths that :func:`write_tables` writes to.

    Example:
        >>> [path.as_posix() for path in table_paths("out/check")]
        ['out/check_findings.csv', 'out/check_boxes.csv']
    """
    return [Path(f"{os.fspath(stem)}_{name}.csv") for name in ("findings", "boxes")]


def write_tables(result: CheckResult, stem: str | os.PathLike[str]) -> list[Path]:
    """Write ``<stem>_findings.csv`` and ``<stem>_boxes.csv``.

    Args:
        result: the result of :func:`.check_items`.
        stem: path without extension.

    Returns:
        the two paths.

    Example:
        >>> import tempfile
        >>> from monai_bbox_mil.check_boxes.checking import check_items
        >>> from monai_bbox_mil.csv_tables import read_table
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     found, _ = write_tables(check_items({"training": [{"image": "nowhere.png"}]}), Path(folder, "check"))
        ...     read_table(found, texts=["kind"])["kind"].tolist()
        ['unreadable_image']
    """
    findings = [
        {
            "severity": finding.severity,
            "kind": finding.kind,
            "part": image.part if image else "",
            "image": image.name if image else "",
            "patient": image.patient if image else "",
            "box": finding.box,
            "detail": finding.detail,
            "advice": KINDS[finding.kind].advice,
        }
        for image, finding in result.all_findings
    ]
    boxes = [
        {
            "part": image.part,
            "image": image.name,
            "patient": image.patient,
            "box": place,
            "class": result.options.class_names[channel],
            **dict(zip(_CORNERS, corners)),
            **{f"margin_{side}": margin for side, margin in zip(_CORNERS, margins)},
        }
        for image in result.images
        for place, channel, corners, margins in zip(
            image.places, image.classes.tolist(), image.boxes.tolist(), image.margins.tolist()
        )
    ]
    tables = [
        pd.DataFrame(findings, columns=["severity", "kind", "part", "image", "patient", "box", "detail", "advice"]),
        pd.DataFrame(
            boxes,
            columns=["part", "image", "patient", "box", "class", *_CORNERS, *(f"margin_{side}" for side in _CORNERS)],
        ),
    ]
    paths = table_paths(stem)
    for path, table in zip(paths, tables):
        write_table(path, table, float_format="%.6g")
    return paths
