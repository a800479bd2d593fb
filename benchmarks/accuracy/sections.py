# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
"""The ``report`` part of a matrix file: sections with a table, pictures or curves each."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from benchmarks.accuracy.schema import ExperimentError, as_list, as_names, as_text, check_keys, known

__all__ = ["SCORES", "Section", "TableRow", "ViewSpec", "read_sections"]

SCORES = ("dice", "hd95_mm", "box_iou")
"""Columns of ``results.csv`` that a report can show."""

_VIEWS = {
    "table": ("rows", "datasets", "reference", "evaluation", "columns"),
    "patients": ("rows", "datasets", "evaluation", "score"),
    "curve": ("rows", "datasets", "evaluation", "variants", "base_x", "xlabel", "score", "reference"),
    "learning": ("rows", "datasets", "metric", "x"),
    "pictures": ("rows", "datasets", "reference", "evaluation"),
}


@dataclass(frozen=True)
class TableRow:
    """What one row of a table, or one line of a plot, shows."""

    system: str
    variant: str = ""
    evaluation: str = ""
    label: str = ""


@dataclass(frozen=True)
class ViewSpec:
    """One table or plot of a section; options that its kind does not have keep their defaults."""

    kind: str
    rows: tuple[TableRow, ...]
    datasets: tuple[str, ...]
    reference: tuple[str, ...] = ()
    """Systems of which the best on each data set is what the others are compared with."""
    columns: tuple[str, ...] = ()
    variants: tuple[str, ...] = ()
    base_x: float | None = None
    """Where the runs without a variant are drawn."""
    xlabel: str = ""
    score: str = "dice"
    metric: str = "val_dice"
    x: str = "epoch"


@dataclass(frozen=True)
class Section:
    """A heading, a text, and what is shown under it."""

    title: str
    text: str
    views: tuple[ViewSpec, ...]


def read_sections(
    value: Any,
    where: str,
    datasets: Collection[str],
    systems: Mapping[str, Any],
    variants: Mapping[str, Any],
    evaluations: Collection[str],
) -> tuple[Section, ...]:
    """The sections as written; one table of everything where there are none."""
    if not value:
        value = [{"title": "All systems", "table": {}}]
    names = _Names(datasets, systems, variants, evaluations)
    return tuple(_section(entry, f"{where}[{number}]", names) for number, entry in enumerate(as_list(value, where)))


@dataclass(frozen=True)
class _Names:
    datasets: Collection[str]
    systems: Mapping[str, Any]
    variants: Mapping[str, Any]
    evaluations: Collection[str]


def _section(value: Any, where: str, names: _Names) -> Section:
    entry = check_keys(value, ("title", "text", *_VIEWS), where, required=("title",))
    views = [
        _view(kind, view, f"{where}: {kind}", names)
        for kind, content in entry.items()
        if kind in _VIEWS
        for view in (content if isinstance(content, list) else [content])
    ]
    return Section(as_text(entry["title"], where), as_text(entry.get("text", ""), f"{where}: text"), tuple(views))


def _view(kind: str, value: Any, where: str, names: _Names) -> ViewSpec:
    entry = check_keys(value, _VIEWS[kind], where)
    base_x = entry.get("base_x")
    if base_x is not None and (isinstance(base_x, bool) or not isinstance(base_x, (int, float))):
        raise ExperimentError(f"{where}: base_x: expected a number, got {base_x!r}.")
    # The evaluation that is asked for is that of every row whose system has it.
    evaluation = known(entry["evaluation"], names.evaluations, f"{where}: evaluation") if "evaluation" in entry else ""
    rows = as_list(entry.get("rows"), f"{where}: rows") or list(names.systems)
    chosen = as_names(entry.get("variants"), names.variants, f"{where}: variants")
    if kind == "curve":
        chosen = chosen or [name for name, variant in names.variants.items() if variant.x is not None]
        for name in chosen:
            if names.variants[name].x is None:
                raise ExperimentError(f"{where}: variants: expected variants with an x, got {name!r}, which has none.")
    return ViewSpec(
        kind=kind,
        rows=tuple(_row(row, f"{where}: rows", names, evaluation) for row in rows),
        datasets=tuple(as_names(entry.get("datasets"), names.datasets, f"{where}: datasets") or names.datasets),
        reference=tuple(as_names(entry.get("reference"), names.systems, f"{where}: reference")),
        columns=tuple(as_names(entry.get("columns"), SCORES[1:], f"{where}: columns")),
        variants=tuple(chosen),
        base_x=None if base_x is None else float(base_x),
        xlabel=str(entry.get("xlabel", "")),
        score=known(entry.get("score", "dice"), SCORES, f"{where}: score"),
        metric=str(entry.get("metric", "val_dice")),
        x=known(entry.get("x", "epoch"), ("epoch", "iteration"), f"{where}: x"),
    )


def _row(value: Any, where: str, names: _Names, evaluation: str) -> TableRow:
    if not isinstance(value, dict):
        value = {"system": value}
    entry = check_keys(value, ("system", "variant", "evaluation", "label"), where, required=("system",))
    system = known(entry["system"], names.systems, where)
    variant = known(entry["variant"], names.variants, f"{where}: variant") if entry.get("variant") else ""
    there = names.systems[system].evaluations
    if "evaluation" in entry:
        evaluation = known(entry["evaluation"], there, f"{where}: evaluation of {system}")
    elif evaluation not in there:
        evaluation = there[0]
    label = str(entry.get("label", ""))
    if not label and "evaluation" in entry:  # asked for by name, as there may be a row of another one
        label = ", ".join(part for part in (names.systems[system].label, variant, evaluation) if part)
    return TableRow(system, variant, evaluation, label)
