# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
"""A matrix with its folders: what is to be run, what is done, and the tables and pages made of it.

The Snakefile and the command line are two doors to this.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from filelock import FileLock
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from benchmarks.accuracy.earlier import EarlierResults
from benchmarks.accuracy.matrix import DEFAULT_MATRIX, ExperimentMatrix, load_matrix
from benchmarks.accuracy.mistakes import ExperimentError, explain
from benchmarks.accuracy.plan import RunJob, plan_runs, stale_folders
from benchmarks.accuracy.report import write_report
from benchmarks.accuracy.results import write_results

__all__ = ["Experiment", "Settings", "finish", "open_experiment"]


def _as_names(value: Any) -> Any:
    """``a,b`` is a list of two."""
    return [name for name in value.split(",") if name] if isinstance(value, str) else value


class Settings(BaseModel):
    """What Snakemake is given by ``--config``."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    out: Path
    """Folder of the runs, ``results.csv`` and ``curves.csv``."""
    data: Path = Path(".")
    """Folder that holds the data sets' folders."""
    matrix: Path = DEFAULT_MATRIX
    only: Annotated[list[str], BeforeValidator(_as_names)] = []
    """Systems and data sets; all when empty."""
    earlier: Path | None = None
    """A ``results.csv`` beside its ``curves.csv``, of another machine say: runs of the same hash are not done again."""
    report: Path | None = None
    """Folder for ``results.md``, its pictures and its tables."""
    threads: int = Field(1, ge=1)
    """Of each run; the order of sums, and with it the last digits, depend on it."""
    gpu: int = Field(0, ge=0)
    """GPUs that each run asks a cluster for, and that count against ``--resources gpu=N`` elsewhere."""

    @classmethod
    def read(cls, config: Mapping[str, Any]) -> Settings:
        """Check Snakemake's ``config``.

        Raises:
            ExperimentError: for an unknown key, a missing one, or a value of another type.

        Example:
            >>> Settings.read({"out": "runs", "only": "recommended,full_ce"}).only
            ['recommended', 'full_ce']
        """
        try:
            return cls.model_validate(dict(config))
        except ValidationError as error:
            raise ExperimentError(explain(error, cls, dict(config), "--config")) from error

    @property
    def command(self) -> str:
        """The command for others: the folders of this machine would tell them nothing."""
        own = self.matrix if not self.matrix.is_absolute() else Path(self.matrix.name)
        matrix = "" if self.matrix.resolve() == DEFAULT_MATRIX else f" matrix={own}"
        threads = "" if self.threads == 1 else f" threads={self.threads}"
        snakemake = "snakemake --snakefile benchmarks/accuracy/Snakefile --cores 2"
        return f"{snakemake} --config data=ROOT out=RUNS{matrix}{threads}"


@dataclass(frozen=True)
class Experiment:
    """What :func:`open_experiment` found."""

    settings: Settings
    matrix: ExperimentMatrix
    chosen: list[RunJob]
    """The runs that are asked for."""
    others: list[RunJob]
    """The other runs of the matrix: those that are done belong in the tables all the same."""
    earlier: EarlierResults

    @property
    def wanted(self) -> list[RunJob]:
        """Runs whose results must be in ``out``, done or not."""
        return [job for job in self.chosen if not self.earlier.holds(job)]

    @property
    def stale(self) -> list[Path]:
        """Folders of runs with other code, configurations, data or library versions."""
        return stale_folders(self.chosen + self.others)

    def state(self, job: RunJob) -> str:
        """How far a run is, in words."""
        if job.done:
            return "done"
        if self.earlier.holds(job):
            return "done earlier"
        return "trained, to be evaluated" if job.trained else "to be run"

    def write_tables(self) -> Path:
        """Write the scores and curves of all current runs that are done; returns the path of ``results.csv``."""
        jobs, settings = self.chosen + self.others, self.settings
        settings.out.mkdir(parents=True, exist_ok=True)
        # Of two machines that end at the same moment, the second one writes what both have done.
        with FileLock(settings.out / ".tables.lock"):
            return write_results(jobs, settings.out, self.matrix.curve_metrics, settings.command, self.earlier)

    def write_report(self, results: Path) -> Path | None:
        """Write the page, where one is asked for and there is anything to show; returns its path.

        Args:
            results: what :meth:`write_tables` returned; it is copied beside the page that is made from it.
        """
        folder, jobs = self.settings.report, self.chosen + self.others
        if folder is None or not any(job.done or self.earlier.holds(job) for job in jobs):
            return None
        folder.mkdir(parents=True, exist_ok=True)
        if folder.resolve() != results.parent.resolve():
            for name in (results.name, "curves.csv", "results.json"):
                shutil.copyfile(results.with_name(name), folder / name)
        return write_report(self.matrix, folder / results.name, folder, None, jobs)


def finish(experiment: Experiment) -> None:
    """Write the tables and the report, and print where they are."""
    results = experiment.write_tables()
    done = sum(job.done or experiment.earlier.holds(job) for job in experiment.chosen)
    print(f"{done} of {len(experiment.chosen)} runs are done; scores of all current runs: {results}")
    page = experiment.write_report(results)
    if page is not None:
        print(f"Report: {page}")


def open_experiment(settings: Settings) -> Experiment:
    """Read the matrix and plan its runs.

    Args:
        settings: which matrix, where its data are and where its runs go.

    Raises:
        ExperimentError: when the matrix or a table is wrong, or the data of a run that is asked for are not there.
    """
    matrix = load_matrix(settings.matrix)
    selected, earlier = matrix.select(settings.only), EarlierResults(settings.earlier)
    chosen = plan_runs(matrix, selected, settings.out, settings.data)
    others, keys = [], {job.key for job in chosen}
    for dataset in matrix.datasets:
        left = [key for key in matrix.runs if key.dataset == dataset and key not in keys]
        try:
            others += plan_runs(matrix, left, settings.out, settings.data)
        except ExperimentError as error:  # its data are not here, which hinders nobody today
            print(f"Without {dataset} in the tables: {error}", file=sys.stderr)
    return Experiment(settings, matrix, chosen, others, earlier)
