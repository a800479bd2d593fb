# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
"""A matrix with its folders: what to run, what is done, and the tables and pages made from it.

Both the Snakefile and the command line use this module.
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
    """Split ``a,b`` into a list of two."""
    return [name for name in value.split(",") if name] if isinstance(value, str) else value


class Settings(BaseModel):
    """The settings given to Snakemake with ``--config``."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    out: Path
    """Folder of the runs, ``results.csv`` and ``curves.csv``."""
    data: Path = Path(".")
    """Folder that contains the data sets' folders."""
    matrix: Path = DEFAULT_MATRIX
    only: Annotated[list[str], BeforeValidator(_as_names)] = []
    """Systems and data sets; all when empty."""
    earlier: Path | None = None
    """A ``results.csv`` beside its ``curves.csv``, such as another machine's: its runs of the same hash are reused."""
    report: Path | None = None
    """Folder for ``results.md``, its pictures and its tables."""
    threads: int = Field(1, ge=1)
    """Threads of each run. They decide the order of sums, and so the last digits of a result."""
    gpu: int = Field(0, ge=0)
    """GPUs that each run requests from a cluster, or that count towards ``--resources gpu=N`` elsewhere."""

    @classmethod
    def read(cls, config: Mapping[str, Any]) -> Settings:
        """Check Snakemake's ``config``.

        Raises:
            ExperimentError: for an unknown key, a missing key, or a value of another type.

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
        """Return the command to show to others, without this machine's folders."""
        own = self.matrix if not self.matrix.is_absolute() else Path(self.matrix.name)
        matrix = "" if self.matrix.resolve() == DEFAULT_MATRIX else f" matrix={own}"
        threads = "" if self.threads == 1 else f" threads={self.threads}"
        snakemake = "snakemake --snakefile benchmarks/accuracy/Snakefile --cores 2"
        return f"{snakemake} --config data=ROOT out=RUNS{matrix}{threads}"


@dataclass(frozen=True)
class Experiment:
    """The runs of a matrix, as :func:`open_experiment` planned them."""

    settings: Settings
    matrix: ExperimentMatrix
    chosen: list[RunJob]
    """The runs that were selected."""
    others: list[RunJob]
    """The other runs of the matrix: those that are done belong in the tables, too."""
    earlier: EarlierResults

    @property
    def wanted(self) -> list[RunJob]:
        """Return the runs whose results must be in ``out``, done or not."""
        return [job for job in self.chosen if not self.earlier.holds(job)]

    @property
    def stale(self) -> list[Path]:
        """Return the folders of runs with other code, configurations, data or library versions."""
        return stale_folders(self.chosen + self.others)

    def state(self, job: RunJob) -> str:
        """Describe how far a run is."""
        if job.done:
            return "done"
        if self.earlier.holds(job):
            return "done earlier"
        return "trained, to be evaluated" if job.trained else "to be run"

    def write_tables(self) -> Path:
        """Write the scores and curves of all finished current runs; return the path of ``results.csv``."""
        jobs, settings = self.chosen + self.others, self.settings
        settings.out.mkdir(parents=True, exist_ok=True)
        # If two machines finish at the same moment, the second one writes the results of both.
        with FileLock(settings.out / ".tables.lock"):
            return write_results(jobs, settings.out, self.matrix.curve_metrics, settings.command, self.earlier)

    def write_report(self, results: Path) -> Path | None:
        """Write the page if one is requested and there is something to show; return its path.

        Args:
            results: result of :meth:`write_tables`; it is copied beside the page that is made from it.
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
        ExperimentError: when the matrix or a table is invalid, or the data of a selected run are missing.
    """
    matrix = load_matrix(settings.matrix)
    selected, earlier = matrix.select(settings.only), EarlierResults(settings.earlier)
    chosen = plan_runs(matrix, selected, settings.out, settings.data)
    others, keys = [], {job.key for job in chosen}
    for dataset in matrix.datasets:
        left = [key for key in matrix.runs if key.dataset == dataset and key not in keys]
        try:
            others += plan_runs(matrix, left, settings.out, settings.data)
        except ExperimentError as error:  # its data are missing, but no run needs them today
            print(f"Without {dataset} in the tables: {error}", file=sys.stderr)
    return Experiment(settings, matrix, chosen, others, earlier)
