# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
"""The schema of a matrix file."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ModelWrapValidatorHandler,
    PrivateAttr,
    ValidationError,
    model_validator,
)

from benchmarks.accuracy.mistakes import ExperimentError, explain

__all__ = [
    "SCORES",
    "VIEW_KINDS",
    "CurveEntry",
    "DataSource",
    "LearningEntry",
    "MatrixFile",
    "PatientsEntry",
    "PicturesEntry",
    "RowEntry",
    "RunProduct",
    "SectionEntry",
    "SystemSpec",
    "TableEntry",
    "VariantSpec",
    "ViewEntry",
    "read_matrix_file",
]


SCORES = ("dice", "hd95_mm", "box_iou")
"""Columns of ``results.csv`` that a report can show."""


def _as_tuple(value: Any) -> Any:
    """Read a single value as a list of one."""
    if value is None:
        return ()
    return tuple(value) if isinstance(value, (list, tuple)) else (value,)


def _as_mapping(value: Any) -> Any:
    """Read nothing as an empty mapping; keys that YAML parses as numbers become names."""
    if value is None:
        return {}
    return {str(key): item for key, item in value.items()} if isinstance(value, Mapping) else value


def _check_name(value: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.+-]*", value):
        raise ValueError("expected a name of letters, digits and . _ + -")
    return value


_Text = Annotated[str, BeforeValidator(str)]
_Mapping = BeforeValidator(_as_mapping)
_Listed = BeforeValidator(_as_tuple)
_Name = Annotated[str, AfterValidator(_check_name)]
_Overrides = Annotated[dict[str, Any], _Mapping]
_Texts = Annotated[tuple[str, ...], _Listed]
_Names = Annotated[tuple[_Text, ...], _Listed]
_Seed = Annotated[int, Field(ge=0)]
_Score = Literal["dice", "hd95_mm", "box_iou"]


class _Entry(BaseModel):
    """A mapping in the matrix file."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    @model_validator(mode="before")
    @classmethod
    def _nothing_is_empty(cls, value: Any) -> Any:
        return _as_mapping(value)


class DataSource(_Entry):
    """A data set of the matrix."""

    title: _Text = ""
    folder: str | None = None
    """Under the data root; ``None`` leaves ``dataset_dir`` to the configuration."""
    configs: _Texts = ()
    overrides: _Overrides = {}
    folds: Annotated[dict[_Name, _Overrides], _Mapping, AfterValidator(lambda folds: folds or {"0": {}})] = {"0": {}}


class SystemSpec(_Entry):
    """A way to train."""

    label: _Text = ""
    configs: _Texts = ()
    overrides: _Overrides = {}
    evaluations: _Names = ()
    yardstick: bool = False
    """Whether it sees more than boxes, so that it never counts as the best of the others."""


class VariantSpec(_Entry):
    """A change that is made to several systems; with an ``x``, a point of a curve."""

    overrides: _Overrides = {}
    x: float | None = None
    series: _Text = ""


class RunProduct(_Entry):
    """Data sets x systems x seeds x variants x folds."""

    datasets: _Names
    systems: _Names
    seeds: Annotated[tuple[_Seed, ...], _Listed] = (0,)
    variants: _Names = ()
    folds: _Names = ()


class RowEntry(_Entry):
    """A row of a table or a line of a plot; a system's name is enough."""

    system: _Text
    variant: _Text = ""
    evaluation: _Text | None = None
    label: _Text = ""

    @model_validator(mode="before")
    @classmethod
    def _name_alone(cls, value: Any) -> Any:
        return value if isinstance(value, Mapping) else {"system": value}


class ViewEntry(_Entry):
    """The settings that all kinds of tables and plots have."""

    rows: Annotated[tuple[RowEntry, ...], _Listed] = ()
    datasets: _Names = ()


class _ScoreEntry(ViewEntry):
    evaluation: _Text | None = None


class TableEntry(_ScoreEntry):
    """Scores as a table."""

    reference: _Names = ()
    columns: Annotated[tuple[Literal["hd95_mm", "box_iou"], ...], _Listed] = ()


class PatientsEntry(_ScoreEntry):
    """One point per patient."""

    score: _Score = "dice"


class CurveEntry(_ScoreEntry):
    """A score against the variants' ``x``."""

    variants: _Names = ()
    base_x: float | None = None
    xlabel: _Text = ""
    score: _Score = "dice"
    reference: _Names = ()


class LearningEntry(ViewEntry):
    """Curves of trainings."""

    metric: _Text = "val_dice"
    x: Literal["epoch", "iteration"] = "epoch"


class PicturesEntry(_ScoreEntry):
    """Best, median and worst case of the reference."""

    reference: _Names = ()


VIEW_KINDS = ("table", "patients", "curve", "learning", "pictures")
"""Keys of a section that define views."""


class SectionEntry(_Entry):
    """A heading, a text, and the views below it in the order of the file."""

    title: str
    text: str = ""
    table: Annotated[tuple[TableEntry, ...], _Listed] = ()
    patients: Annotated[tuple[PatientsEntry, ...], _Listed] = ()
    curve: Annotated[tuple[CurveEntry, ...], _Listed] = ()
    learning: Annotated[tuple[LearningEntry, ...], _Listed] = ()
    pictures: Annotated[tuple[PicturesEntry, ...], _Listed] = ()
    _order: tuple[str, ...] = PrivateAttr(())

    @model_validator(mode="wrap")
    @classmethod
    def _keep_order(cls, value: Any, check: ModelWrapValidatorHandler[SectionEntry]) -> SectionEntry:
        if not isinstance(value, Mapping):
            return check(value)
        # "table:" without a value is a table with the default settings.
        section = check({key: {} if item is None and key in VIEW_KINDS else item for key, item in value.items()})
        section._order = tuple(key for key in value if key in VIEW_KINDS)
        return section

    @property
    def views(self) -> list[tuple[str, ViewEntry]]:
        """Return kind and settings of each view, in the order of the file."""
        return [(kind, view) for kind in self._order for view in getattr(self, kind)]


class MatrixFile(_Entry):
    """The whole file."""

    bundle: str = "."
    base: _Texts
    evaluate: _Texts = ("configs/evaluate.yaml",)
    overrides: _Overrides = {}
    datasets: Annotated[dict[_Name, DataSource], _Mapping]
    systems: Annotated[dict[_Name, SystemSpec], _Mapping]
    variants: Annotated[dict[_Name, VariantSpec], _Mapping] = {}
    evaluations: Annotated[dict[_Name, _Overrides], _Mapping] = {}
    runs: Annotated[tuple[RunProduct, ...], _Listed]
    curve_metrics: _Names = ("train_loss", "val_loss", "val_dice")
    title: str = "Results"
    text: str = ""
    report: Annotated[tuple[SectionEntry, ...], _Listed] = ()


def read_matrix_file(path: str | os.PathLike[str]) -> MatrixFile:
    """Read a matrix file and check its form, but not yet whether its names fit together.

    Args:
        path: YAML file.

    Raises:
        ExperimentError: when the file is missing, is not YAML or has another form. The message names the place in the
            file, what was expected there and what came.
    """
    path = Path(path)
    if not path.is_file():
        raise ExperimentError(f"matrix {path}: expected a YAML file, got {'a folder' if path.exists() else 'nothing'}.")
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ExperimentError(f"matrix {path}: expected YAML, got {' '.join(str(error).split())}") from error
    try:
        return MatrixFile.model_validate(content)
    except ValidationError as error:
        raise ExperimentError(explain(error, MatrixFile, content, str(path))) from error
