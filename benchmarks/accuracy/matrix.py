# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
"""The matrix file: which systems are trained on which data sets with which seeds, and what the report shows."""

from __future__ import annotations

import itertools
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from benchmarks.accuracy.schema import (
    ExperimentError,
    as_list,
    as_mapping,
    as_name,
    as_names,
    as_text,
    check_keys,
)
from benchmarks.accuracy.sections import Section, read_sections

__all__ = ["DataSource", "ExperimentMatrix", "RunKey", "SystemSpec", "VariantSpec", "load_matrix"]

_KEYS = (
    "base", "evaluate", "overrides", "datasets", "systems", "variants", "evaluations", "runs", "curve_metrics",
    "title", "text", "report",
)  # fmt: skip
_CURVE_METRICS = ("train_loss", "val_loss", "val_dice")


class RunKey(NamedTuple):
    """One training: what the products of the matrix are made of, and the name of its folder."""

    dataset: str
    system: str
    variant: str
    """Empty where there is none."""
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
class DataSource:
    """A data set of the matrix."""

    title: str
    folder: str | None
    """Under the data root; ``None`` leaves ``dataset_dir`` to the configuration."""
    configs: tuple[str, ...]
    overrides: dict[str, Any]
    folds: dict[str, dict[str, Any]]


@dataclass(frozen=True)
class SystemSpec:
    """A way to train."""

    label: str
    configs: tuple[str, ...]
    overrides: dict[str, Any]
    evaluations: tuple[str, ...]
    yardstick: bool = False
    """Whether it sees more than boxes, so that it never counts as the best of those that do not."""


@dataclass(frozen=True)
class VariantSpec:
    """A change that is made to several systems alike, a point of a curve where it has an ``x``."""

    overrides: dict[str, Any]
    x: float | None
    series: str


@dataclass(frozen=True)
class ExperimentMatrix:
    """What :func:`load_matrix` read, checked."""

    path: Path
    root: Path
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
    report: tuple[Section, ...] = field(default=())

    def train_files(self, key: RunKey) -> list[str]:
        """Config files of a training, later ones over earlier ones: base, data set, system."""
        return [*self.base, *self.datasets[key.dataset].configs, *self.systems[key.system].configs]

    def train_overrides(self, key: RunKey) -> dict[str, Any]:
        """Overrides of a training, later ones over earlier ones: all runs', data set's, system's, variant's, fold's."""
        source = self.datasets[key.dataset]
        variant = self.variants[key.variant].overrides if key.variant else {}
        parts = (self.overrides, source.overrides, self.systems[key.system].overrides, variant, source.folds[key.fold])
        return {**{k: v for part in parts for k, v in part.items()}, "seed": key.seed}

    def select(self, only: Sequence[str] = ()) -> list[RunKey]:
        """Runs of the named systems and data sets; where only one kind is named, of all of the other.

        Raises:
            ExperimentError: for a name that is neither.
        """
        as_names(list(only), [*self.datasets, *self.systems], "--only")
        datasets = [name for name in only if name in self.datasets] or list(self.datasets)
        systems = [name for name in only if name in self.systems] or list(self.systems)
        return [key for key in self.runs if key.dataset in datasets and key.system in systems]


def load_matrix(path: str | os.PathLike) -> ExperimentMatrix:
    """Read a matrix file; the schema is in the documentation of :mod:`benchmarks.accuracy`.

    Args:
        path: YAML file. Its config files are relative to the bundle: the nearest folder above the matrix that holds
            ``configs/metadata.json``, or, where there is none, the working folder.

    Raises:
        ExperimentError: for a file that is missing or is no YAML, unknown keys and names, missing config files, and a
            matrix without runs.
    """
    path = Path(path)
    if not path.is_file():
        raise ExperimentError(f"matrix {path}: expected a YAML file, got {'a folder' if path.exists() else 'nothing'}.")
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ExperimentError(f"matrix {path}: expected YAML, got {' '.join(str(error).split())}") from error
    where = str(path)
    top = check_keys(content, _KEYS, where, required=("base", "datasets", "systems", "runs"))
    root = _bundle_root(path)
    evaluations = {
        as_name(name, f"{where}: evaluations"): as_mapping(overrides, f"{where}: evaluations: {name}")
        for name, overrides in as_mapping(top.get("evaluations") or {"default": {}}, f"{where}: evaluations").items()
    }
    datasets = _named(top["datasets"], f"{where}: datasets", lambda v, w: _read_dataset(v, w, root))
    systems = _named(top["systems"], f"{where}: systems", lambda v, w: _read_system(v, w, root, list(evaluations)))
    variants = _named(top.get("variants"), f"{where}: variants", _read_variant)
    runs = _read_runs(top["runs"], f"{where}: runs", datasets, systems, variants)
    return ExperimentMatrix(
        path=path,
        root=root,
        base=_files(top["base"], f"{where}: base", root),
        evaluate=_files(top.get("evaluate", ["configs/evaluate.yaml"]), f"{where}: evaluate", root),
        overrides=as_mapping(top.get("overrides"), f"{where}: overrides"),
        datasets=datasets,
        systems=systems,
        variants=variants,
        evaluations=evaluations,
        runs=runs,
        curve_metrics=tuple(map(str, as_list(top.get("curve_metrics", _CURVE_METRICS), f"{where}: curve_metrics"))),
        title=as_text(top.get("title", "Results"), f"{where}: title"),
        text=as_text(top.get("text", ""), f"{where}: text"),
        report=read_sections(top.get("report"), f"{where}: report", datasets, systems, variants, evaluations),
    )


def _bundle_root(path: Path) -> Path:
    parents = path.resolve().parents
    return next((folder for folder in parents if (folder / "configs" / "metadata.json").is_file()), Path.cwd())


def _files(value: Any, where: str, root: Path) -> tuple[str, ...]:
    files = [root / as_text(item, where) for item in as_list(value, where)]
    for file in files:
        if not file.is_file():
            raise ExperimentError(f"{where}: expected a config file, relative to {root}, got no file {file}.")
    return tuple(map(str, files))


def _named(value: Any, where: str, read: Any) -> dict[str, Any]:
    return {as_name(key, where): read(item, f"{where}: {key}") for key, item in as_mapping(value, where).items()}


def _read_dataset(value: Any, where: str, root: Path) -> DataSource:
    entry = check_keys(value, ("title", "folder", "configs", "overrides", "folds"), where)
    folds = as_mapping(entry.get("folds") or {"0": {}}, f"{where}: folds")
    return DataSource(
        title=str(entry.get("title", where.rsplit(": ", 1)[-1])),
        folder=None if entry.get("folder") is None else as_text(entry["folder"], f"{where}: folder"),
        configs=_files(entry.get("configs"), f"{where}: configs", root),
        overrides=as_mapping(entry.get("overrides"), f"{where}: overrides"),
        folds={as_name(k, f"{where}: folds"): as_mapping(v, f"{where}: folds: {k}") for k, v in folds.items()},
    )


def _read_system(value: Any, where: str, root: Path, evaluations: list[str]) -> SystemSpec:
    entry = check_keys(value, ("label", "configs", "overrides", "evaluations", "yardstick"), where)
    if not isinstance(entry.get("yardstick", False), bool):
        raise ExperimentError(f"{where}: yardstick: expected true or false, got {entry['yardstick']!r}.")
    return SystemSpec(
        label=str(entry.get("label", where.rsplit(": ", 1)[-1])),
        configs=_files(entry.get("configs"), f"{where}: configs", root),
        overrides=as_mapping(entry.get("overrides"), f"{where}: overrides"),
        evaluations=tuple(as_names(entry.get("evaluations"), evaluations, f"{where}: evaluations") or evaluations),
        yardstick=entry.get("yardstick", False),
    )


def _read_variant(value: Any, where: str) -> VariantSpec:
    entry = check_keys(value, ("overrides", "x", "series"), where)
    x = entry.get("x")
    if x is not None and (isinstance(x, bool) or not isinstance(x, (int, float))):
        raise ExperimentError(f"{where}: x: expected a number, got {x!r}.")
    overrides = as_mapping(entry.get("overrides"), f"{where}: overrides")
    return VariantSpec(overrides, None if x is None else float(x), str(entry.get("series", "")))


def _read_runs(
    value: Any,
    where: str,
    datasets: dict[str, DataSource],
    systems: dict[str, SystemSpec],
    variants: dict[str, VariantSpec],
) -> tuple[RunKey, ...]:
    """The union of the entries' products, in their order."""
    runs: dict[RunKey, None] = {}
    for number, entry in enumerate(as_list(value, where)):
        here = f"{where}[{number}]"
        entry = check_keys(entry, ("datasets", "systems", "seeds", "variants", "folds"), here, ("datasets", "systems"))
        seeds = as_list(entry.get("seeds", [0]), f"{here}: seeds")
        for seed in seeds:
            if isinstance(seed, bool) or not isinstance(seed, int) or seed < 0:
                raise ExperimentError(f"{here}: seeds: expected whole numbers of at least 0, got {seed!r}.")
        chosen = as_names(entry.get("variants"), variants, f"{here}: variants") or [""]
        for dataset in as_names(entry["datasets"], datasets, f"{here}: datasets"):
            there = datasets[dataset].folds
            folds = as_names(entry.get("folds"), there, f"{here}: folds of {dataset}") or list(there)
            names = as_names(entry["systems"], systems, f"{here}: systems")
            # Seeds outermost: every system has its first seed before any has its second.
            for seed, system, variant, fold in itertools.product(seeds, names, chosen, folds):
                runs[RunKey(dataset, system, variant, fold, seed)] = None
    if not runs:
        raise ExperimentError(f"{where}: expected at least one run (data sets, systems and seeds), got none.")
    return tuple(runs)
