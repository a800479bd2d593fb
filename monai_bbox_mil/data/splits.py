# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
"""Training and validation parts that never share a patient."""

from __future__ import annotations

import os
import random
import warnings
from collections.abc import Iterable, Mapping, Sequence
from itertools import combinations
from typing import Any

from monai_bbox_mil.runs.texts import first_few

__all__ = [
    "check_files",
    "check_images",
    "check_patients",
    "shared_patients",
    "split_by_patient",
    "split_published",
]


def split_by_patient(
    items: Sequence[dict[str, Any]], validation_fraction: float = 0.2, seed: int = 0
) -> dict[str, list[dict[str, Any]]]:
    """Split a data list at random, with all items of a patient in the same part.

    The patients are sorted by name, and a seeded draw takes ``round(validation_fraction * patients)`` of them, at least
    one and not all. So the split depends on the set of patients, not on the order of the items.

    Args:
        items: dictionaries with the key ``patient``.
        validation_fraction: share of the patients, from 0 (no validation) to below 1.
        seed: seed of the draw.

    Returns:
        ``{"training": [...], "validation": [...]}``, items in their given order. A single patient goes to training.

    Raises:
        ValueError: if ``validation_fraction`` is out of range.

    Example:
        >>> parts = split_by_patient([{"patient": name} for name in "aabbcde"], validation_fraction=0.4)
        >>> [item["patient"] for item in parts["training"]], [item["patient"] for item in parts["validation"]]
        (['a', 'a', 'b', 'b', 'c'], ['d', 'e'])
    """
    if not 0 <= validation_fraction < 1:
        raise ValueError(f"validation_fraction must be from 0 to below 1, got {validation_fraction}.")
    patients = sorted({item["patient"] for item in items})
    count = max(0, min(max(round(validation_fraction * len(patients)), 1), len(patients) - 1))
    chosen = random.Random(seed).sample(patients, count if validation_fraction > 0 else 0)
    return _part(items, set(chosen))


def split_published(
    items: Sequence[dict[str, Any]],
    validation: Sequence[str],
    published: Sequence[str],
    validation_fraction: float,
    seed: int,
    source: str,
) -> dict[str, list[dict[str, Any]]]:
    """Split by named patients; split at random, with a warning, if patients of the published list are missing.

    Args:
        items: dictionaries with the key ``patient``.
        validation: patients of the validation part.
        published: patients of the validation part in the paper. If ``validation`` is a different list, missing patients
            are an error.
        validation_fraction: for :func:`split_by_patient`.
        seed: for :func:`split_by_patient`.
        source: name of the argument and of the folder, for messages.

    Returns:
        ``{"training": [...], "validation": [...]}``.

    Raises:
        ValueError: if patients are missing and ``validation`` is not the published list.
    """
    patients = {item["patient"] for item in items}
    missing = [name for name in validation if name not in patients]
    if not missing:
        return _part(items, set(validation))
    if set(validation) != set(published):
        raise ValueError(f"{source}: expected patients of this data set, got unknown {first_few(missing)}.")
    warnings.warn(
        f"{source}: {len(missing)} of the {len(validation)} validation patients of the paper are not there "
        f"({first_few(missing)}), so {validation_fraction:.0%} of the {len(patients)} patients were drawn with seed "
        f"{seed} instead. Results are not comparable with the paper's.",
        stacklevel=3,
    )
    return split_by_patient(items, validation_fraction, seed)


def check_patients(parts: Mapping[str, Sequence[Mapping[str, Any]]], source: str) -> None:
    """Raise ``ValueError`` if patients are in more than one part of ``source``, and name them."""
    for (first, second), both in shared_patients(parts).items():
        raise ValueError(
            f"{source}: expected each patient in one part only, got {len(both)} patient(s) in both {first} and "
            f"{second}: {first_few(both)}. Where these are different people, name them with the key 'patient'."
        )


def check_images(parts: Mapping[str, Sequence[Mapping[str, Any]]], source: str) -> None:
    """Raise ``ValueError`` if an image file is in more than one part of ``source``, under whatever path."""
    files = {name: {os.path.realpath(p) for item in part for p in _images(item)} for name, part in parts.items()}
    for first, second in combinations(files, 2):
        both = sorted(files[first] & files[second])
        if both:
            raise ValueError(
                f"{source}: expected each image in one part only, got {len(both)} file(s) in both {first} and "
                f"{second}: {first_few(both)}."
            )


def _images(item: Mapping[str, Any]) -> list[str]:
    return item["image"] if isinstance(item["image"], list) else [item["image"]]


def shared_patients(parts: Mapping[str, Sequence[Mapping[str, Any]]]) -> dict[tuple[str, str], list[str]]:
    """Find the patients who are in two parts, as sorted names for each pair of parts.

    Example:
        >>> shared_patients({"training": [{"patient": "a"}, {"patient": "b"}], "validation": [{"patient": "b"}]})
        {('training', 'validation'): ['b']}
    """
    names = {part: {item["patient"] for item in items if "patient" in item} for part, items in parts.items()}
    both = {(first, second): sorted(names[first] & names[second]) for first, second in combinations(names, 2)}
    return {pair: patients for pair, patients in both.items() if patients}


def check_files(items: Iterable[Mapping[str, Any]], source: str) -> None:
    """Raise ``ValueError`` if files of ``image``, ``mask`` or ``box`` are missing, and list the first of them."""
    missing = []
    for item in items:
        for key in ("image", "mask", "box"):
            value = item.get(key)
            paths = value if isinstance(value, list) else [value]
            missing += [path for path in paths if isinstance(path, str) and not os.path.exists(path)]
    if missing:
        raise ValueError(f"{source}: expected all files to exist, got {len(missing)} missing: {first_few(missing)}.")


def _part(items: Sequence[dict[str, Any]], validation: set[str]) -> dict[str, list[dict[str, Any]]]:
    return {
        "training": [item for item in items if item["patient"] not in validation],
        "validation": [item for item in items if item["patient"] in validation],
    }
