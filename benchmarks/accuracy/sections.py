# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
"""Resolve the ``report`` part of a matrix: which rows each table, plot and picture shows."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from benchmarks.accuracy.mistakes import ExperimentError
from benchmarks.accuracy.schema import (
    CurveEntry,
    RowEntry,
    SectionEntry,
    SystemSpec,
    VariantSpec,
    ViewEntry,
)

__all__ = ["Section", "TableRow", "ViewSpec", "check_names", "read_sections"]


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
    """Systems; the others are compared with the best of them on each data set."""
    columns: tuple[str, ...] = ()
    variants: tuple[str, ...] = ()
    base_x: float | None = None
    """The x at which the runs without a variant are drawn."""
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


class _Known(NamedTuple):
    """All names that a view may use."""

    datasets: Mapping[str, object]
    systems: Mapping[str, SystemSpec]
    variants: Mapping[str, VariantSpec]
    evaluations: Mapping[str, object]


def check_names(names: Iterable[str], known: Collection[str], where: str) -> None:
    """Refuse a name that is not among the known ones.

    Raises:
        ExperimentError: for the first such name.

    Example:
        >>> check_names(["a"], ["a", "b"], "runs[0]: systems")
    """
    for name in names:
        if name not in known:
            raise ExperimentError(f"{where}: unknown name {name!r}; expected one of {', '.join(known) or 'none'}.")


def read_sections(
    entries: Sequence[SectionEntry],
    where: str,
    datasets: Mapping[str, object],
    systems: Mapping[str, SystemSpec],
    variants: Mapping[str, VariantSpec],
    evaluations: Mapping[str, object],
) -> tuple[Section, ...]:
    """Return the sections as written; without any, one table of everything.

    Raises:
        ExperimentError: for a name that is not in the matrix.
    """
    known = _Known(datasets, systems, variants, evaluations)
    written = entries or [SectionEntry.model_validate({"title": "All systems", "table": {}})]
    return tuple(
        Section(
            entry.title,
            entry.text,
            tuple(_view(kind, view, f"{where}[{number}]: {kind}", known) for kind, view in entry.views),
        )
        for number, entry in enumerate(written)
    )


def _view(kind: str, entry: ViewEntry, where: str, known: _Known) -> ViewSpec:
    own = {name: getattr(entry, name) for name in type(entry).model_fields if name not in ("rows", "evaluation")}
    evaluation = getattr(entry, "evaluation", None)
    check_names([] if evaluation is None else [evaluation], known.evaluations, f"{where}: evaluation")
    check_names(entry.datasets, known.datasets, f"{where}: datasets")
    check_names(own.get("reference", ()), known.systems, f"{where}: reference")
    if isinstance(entry, CurveEntry):
        check_names(entry.variants, known.variants, f"{where}: variants")
        with_x = [name for name, variant in known.variants.items() if variant.x is not None]
        for name in entry.variants:
            if name not in with_x:
                raise ExperimentError(f"{where}: variants: expected variants with an x, got {name!r}, which has none.")
        own["variants"] = entry.variants or tuple(with_x)
    rows = entry.rows or [RowEntry(system=name) for name in known.systems]
    own["datasets"] = entry.datasets or tuple(known.datasets)
    return ViewSpec(kind, tuple(_row(row, f"{where}: rows", known, evaluation) for row in rows), **own)


def _row(entry: RowEntry, where: str, known: _Known, asked: str | None) -> TableRow:
    check_names([entry.system], known.systems, where)
    check_names([entry.variant] if entry.variant else [], known.variants, f"{where}: variant")
    system = known.systems[entry.system]
    if entry.evaluation is not None:
        check_names([entry.evaluation], system.evaluations, f"{where}: evaluation of {entry.system}")
    # Every row whose system has the view's evaluation uses it.
    evaluation = entry.evaluation or (asked if asked in system.evaluations else system.evaluations[0])
    label = entry.label
    if not label and entry.evaluation is not None:  # named in the file, so there may be another row of the same system
        label = ", ".join(part for part in (system.label, entry.variant, evaluation) if part)
    return TableRow(entry.system, entry.variant, str(evaluation), label)
