# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
"""Which systems are trained on which data sets with which seeds, and what the report shows."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.accuracy.mistakes import ExperimentError
from benchmarks.accuracy.schema import (
    DataSource,
    MatrixFile,
    SystemSpec,
    VariantSpec,
    read_matrix_file,
)
from benchmarks.accuracy.sections import Section, check_names, read_sections

__all__ = ["DEFAULT_MATRIX", "ExperimentMatrix", "RunKey", "load_matrix"]

DEFAULT_MATRIX = Path(__file__).with_name("matrix.yaml")
"""The comparison that this repository publishes."""


class RunKey(NamedTuple):
    """One training: an element of the matrix's products, and the source of its folder's name."""

    dataset: str
    system: str
    variant: str
    """Empty if there is none."""
    fold: str
    seed: int

    @property
    def folder(self) -> Path:
        """``<dataset>/<system>[/<variant>]/fold<f>_seed<s>``."""
        return Path(self.dataset, self.system, *([self.variant] if self.variant else [])) / self.place

    @property
    def place(self) -> str:
        """``fold<f>_seed<s>``."""
        return f"fold{self.fold}_seed{self.seed}"

    def __str__(self) -> str:
        return " ".join(part for part in (self.dataset, self.system, self.variant, self.place) if part)


@dataclass(frozen=True)
class ExperimentMatrix:
    """A checked matrix, read by :func:`load_matrix`."""

    path: Path
    base: tuple[str, ...]
    evaluate: tuple[str, ...]
    overrides: dict[str, Any]
    datasets: dict[str, DataSource]
    systems: dict[str, SystemSpec]
    variants: dict[str, VariantSpec]
    evaluations: dict[str, dict[str, Any]]
    runs: tuple[RunKey, ...]
    curve_metrics: tuple[str, ...]
    title: str
    text: str
    report: tuple[Section, ...]

    def train_files(self, key: RunKey) -> list[str]:
        """Return the config files of a training, later ones over earlier ones: base, data set, system."""
        return [*self.base, *self.datasets[key.dataset].configs, *self.systems[key.system].configs]

    def train_overrides(self, key: RunKey) -> dict[str, Any]:
        """Return the overrides of a training, later ones last: all runs', data set's, system's, variant's, fold's."""
        source = self.datasets[key.dataset]
        variant = self.variants[key.variant].overrides if key.variant else {}
        parts = (self.overrides, source.overrides, self.systems[key.system].overrides, variant, source.folds[key.fold])
        return {**{k: v for part in parts for k, v in part.items()}, "seed": key.seed}

    def select(self, only: Sequence[str] = ()) -> list[RunKey]:
        """Return the runs of the named systems and data sets; if only one kind is named, all of the other kind.

        Raises:
            ExperimentError: for a name that is neither a system nor a data set.
        """
        check_names(only, [*self.datasets, *self.systems], "only")
        datasets = [name for name in only if name in self.datasets] or list(self.datasets)
        systems = [name for name in only if name in self.systems] or list(self.systems)
        return [key for key in self.runs if key.dataset in datasets and key.system in systems]


def load_matrix(path: str | os.PathLike[str]) -> ExperimentMatrix:
    """Read a matrix file; its schema is in the documentation of :mod:`benchmarks.accuracy`.

    Args:
        path: YAML file.

    Raises:
        ExperimentError: for a file that is missing or not YAML, unknown keys and names, missing config files, and a
            matrix without runs.
    """
    file = read_matrix_file(path)
    path, where = Path(path), str(path)
    root = Path(os.path.abspath(path.parent / file.bundle))
    evaluations = file.evaluations or {"default": {}}
    datasets, systems = {}, {}
    for name, source in file.datasets.items():
        configs = _files(source.configs, f"{where}: datasets: {name}: configs", root)
        datasets[name] = source.model_copy(update={"title": source.title or name, "configs": configs})
    for name, system in file.systems.items():
        here = f"{where}: systems: {name}"
        check_names(system.evaluations, evaluations, f"{here}: evaluations")
        complete = {
            "label": system.label or name,
            "configs": _files(system.configs, f"{here}: configs", root),
            "evaluations": system.evaluations or tuple(evaluations),
        }
        systems[name] = system.model_copy(update=complete)
    runs = tuple(dict.fromkeys(_products(file, f"{where}: runs")))
    if not runs:
        raise ExperimentError(f"{where}: runs: expected at least one run (data sets, systems and seeds), got none.")
    return ExperimentMatrix(
        path=path,
        base=_files(file.base, f"{where}: base", root),
        evaluate=_files(file.evaluate, f"{where}: evaluate", root),
        overrides=file.overrides,
        datasets=datasets,
        systems=systems,
        variants=file.variants,
        evaluations=evaluations,
        runs=runs,
        curve_metrics=file.curve_metrics,
        title=file.title,
        text=file.text,
        report=read_sections(file.report, f"{where}: report", datasets, systems, file.variants, evaluations),
    )


def _files(names: Iterable[str], where: str, root: Path) -> tuple[str, ...]:
    files = [root / name for name in names]
    for file in files:
        if not file.is_file():
            raise ExperimentError(f"{where}: expected a config file, relative to {root}, got no file {file}.")
    return tuple(map(str, files))


def _products(file: MatrixFile, where: str) -> Iterator[RunKey]:
    """Yield the products of all entries, in their order."""
    for number, entry in enumerate(file.runs):
        here = f"{where}[{number}]"
        check_names(entry.datasets, file.datasets, f"{here}: datasets")
        check_names(entry.systems, file.systems, f"{here}: systems")
        check_names(entry.variants, file.variants, f"{here}: variants")
        for dataset in entry.datasets:
            there = file.datasets[dataset].folds
            check_names(entry.folds, there, f"{here}: folds of {dataset}")
            # The seed varies slowest: every system has its first seed before any has its second.
            for seed, system, variant, fold in itertools.product(
                entry.seeds, entry.systems, entry.variants or ("",), entry.folds or tuple(there)
            ):
                yield RunKey(dataset, system, variant, fold, seed)
