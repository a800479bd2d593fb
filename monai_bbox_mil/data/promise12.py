# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
"""Data list of PROMISE12, and of folders laid out like it."""

from __future__ import annotations

import csv
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from monai_bbox_mil.data.splits import check_patients, split_by_patient, split_published
from monai_bbox_mil.runs.texts import first_few

__all__ = ["PROMISE12_VALIDATION", "find_promise12_cases", "holds_promise12", "promise12_datalist"]

PROMISE12_VALIDATION = (2, 16, 19, 24, 25, 26, 30, 31, 32, 48)
"""Numbers of the 10 validation cases of the paper.

The paper only gives their number, and says that the split is that of Kervadec et al. (MIDL 2020). The public code of
both papers draws 10 of the 50 sorted cases by ``random.seed(0); random.sample(cases, 10)``. Since the cases are
``Case00`` to ``Case49``, positions and numbers agree.
"""

_PARTS = ("training", "validation", "test")


def promise12_datalist(
    dataset_dir: str | os.PathLike[str],
    validation_cases: Sequence[int | str] | None = PROMISE12_VALIDATION,
    validation_fraction: float = 0.2,
    seed: int = 0,
) -> dict[str, list[dict[str, Any]]]:
    """Make the data list of a folder with files ``CaseNN.mhd`` and ``CaseNN_segmentation.mhd``, also in subfolders.

    If ``dataset_dir`` has a ``cases.csv`` with the columns ``case``, ``split`` and ``patient``, it determines the
    split. The column ``split`` has training, validation or test; other columns are ignored. Otherwise
    ``validation_cases`` determines the split. If this is the paper's list and some of its cases are missing,
    ``validation_fraction`` of the cases is drawn instead, with a warning.

    Args:
        dataset_dir: folder with the cases, such as one that holds ``TrainingData_Part1/`` to ``Part3/``.
        validation_cases: numbers (``2``) or names (``"Case02"``) of the validation cases; ``None`` for a seeded draw.
        validation_fraction: share of the cases to draw.
        seed: seed of the draw.

    Returns:
        ``{"training": [...], "validation": [...]}``, and ``"test"`` if ``cases.csv`` has one. Each item has the paths
        ``image`` and ``mask``, and ``patient``: the name of the case, or the patient in ``cases.csv``.

    Raises:
        ValueError: if there are no cases, a case appears twice or has no segmentation, ``validation_cases`` names
            unknown cases, or ``cases.csv`` does not fit the files or has a patient in two parts.

    Example:
        >>> from tempfile import TemporaryDirectory
        >>> with TemporaryDirectory() as folder:
        ...     for case in ("Case00", "Case01"):
        ...         for name in (f"{case}.mhd", f"{case}_segmentation.mhd"):
        ...             _ = Path(folder, name).write_bytes(b"")
        ...     parts = promise12_datalist(folder, validation_cases=[1])
        >>> {name: [item["patient"] for item in items] for name, items in parts.items()}
        {'training': ['Case00'], 'validation': ['Case01']}
    """
    root = Path(os.path.abspath(dataset_dir))
    images = find_promise12_cases(root)
    if not images:
        raise ValueError(f"dataset_dir {root}: expected files named CaseNN.mhd, here or in folders below, got none.")
    masks = {case: path.with_name(f"{case}_segmentation.mhd") for case, path in images.items()}
    bare = [str(images[case]) for case, path in masks.items() if not path.is_file()]
    if bare:
        raise ValueError(
            f"dataset_dir {root}: expected a CaseNN_segmentation.mhd beside every CaseNN.mhd, got {len(bare)} without: "
            f"{first_few(bare)}. Images without masks are listed by find_images."
        )
    items = [{"image": str(images[case]), "mask": str(masks[case]), "patient": case} for case in images]
    if (root / "cases.csv").is_file():
        return _split_by_table(root / "cases.csv", dict(zip(images, items, strict=True)))
    if validation_cases is None:
        return split_by_patient(items, validation_fraction, seed)
    wanted = [_case_name(case) for case in validation_cases]
    published = [_case_name(case) for case in PROMISE12_VALIDATION]
    source = f"validation_cases of {root}"
    return split_published(items, wanted, published, validation_fraction, seed, source)


def find_promise12_cases(dataset_dir: str | os.PathLike[str]) -> dict[str, Path]:
    """Find the images ``CaseNN.mhd``, sorted by name; hidden files and folders are skipped.

    Raises:
        ValueError: if a case appears twice.
    """
    root = Path(os.path.abspath(dataset_dir))
    cases: dict[str, Path] = {}
    for path in sorted(root.rglob("Case*.mhd"), key=lambda path: path.name):
        hidden = any(part.startswith(".") for part in path.relative_to(root).parts)
        if hidden or not re.fullmatch(r"Case\d+", path.stem):
            continue
        if path.stem in cases:
            raise ValueError(f"dataset_dir {root}: expected each case once, got {cases[path.stem]} and {path}.")
        cases[path.stem] = path
    return cases


def holds_promise12(dataset_dir: str | os.PathLike[str]) -> bool:
    """Return whether a folder has an image ``CaseNN.mhd`` with a mask; names alone may be those of another data set.

    Raises:
        ValueError: if a case appears twice.
    """
    cases = find_promise12_cases(dataset_dir)
    return any(path.with_name(f"{case}_segmentation.mhd").is_file() for case, path in cases.items())


def _case_name(case: int | str) -> str:
    return case if isinstance(case, str) else f"Case{case:02d}"


def _split_by_table(table: Path, items: dict[str, dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    with open(table, newline="", encoding="utf-8-sig") as file:
        rows = list(csv.DictReader(file))
    columns = list(rows[0]) if rows else []
    if not {"case", "split", "patient"} <= set(columns):
        raise ValueError(f"{table}: expected the columns case, split and patient and at least one row, got {columns}.")
    names = [row["case"] for row in rows]
    strange = sorted(set(names) ^ set(items)) or sorted({name for name in names if names.count(name) > 1})
    if strange:
        raise ValueError(
            f"{table}: expected one row for each case of the folder, got other ones for {first_few(strange)}."
        )
    parts: dict[str, list[dict[str, Any]]] = {"training": [], "validation": []}
    for row in rows:
        if row["split"] not in _PARTS or not row["patient"]:
            raise ValueError(
                f"{table}: expected a split of {_PARTS} and a patient for {row['case']}, got {row['split']!r} and "
                f"{row['patient']!r}."
            )
        parts.setdefault(row["split"], []).append({**items[row["case"]], "patient": row["patient"]})
    check_patients(parts, str(table))
    return parts
