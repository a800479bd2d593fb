# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
"""Command line of :mod:`benchmarks.accuracy`."""

from __future__ import annotations

import argparse
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

import benchmarks.accuracy as experiments
from benchmarks.accuracy.schema import ExperimentError
from benchmarks.accuracy.server import start_server, usable_cores
from monai_bbox_mil.runs.run_lock import FolderInUseError, RunLock


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the matrix, write its results, draw its report; returns the exit status."""
    options = _parser().parse_args(arguments)
    try:
        return _run(options)
    except ExperimentError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except FolderInUseError as error:
        print(f"error: --out: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("Interrupted. The same command goes on; runs that were under way start again.", file=sys.stderr)
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.accuracy",
        description=experiments.__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--matrix", metavar="FILE", required=True, help="YAML file: what is run and reported")
    parser.add_argument("--out", metavar="DIR", help="folder of the runs, results.csv and curves.csv")
    parser.add_argument("--data", metavar="ROOT", help="folder that holds the data sets' folders (the working folder)")
    parser.add_argument("--jobs", metavar="N", type=_at_least_one, default=1, help="runs at once (%(default)s)")
    parser.add_argument("--threads", metavar="N", type=_at_least_one, help="threads of each run (cores / jobs)")
    parser.add_argument(
        "--only", metavar="NAME", nargs="+", default=[], help="run these systems and data sets of the matrix alone"
    )
    parser.add_argument(
        "--earlier", metavar="CSV", help="a results.csv beside its curves.csv: take over runs of the same hash"
    )
    parser.add_argument("--dry-run", action="store_true", help="tell what would be run, and run nothing")
    parser.add_argument("--report", metavar="DIR", help="write results.md, its pictures and its tables there")
    parser.add_argument("--results", metavar="CSV", help="make the report from this table; nothing is run")
    parser.add_argument("--curves", metavar="CSV", help="curves for --results (curves.csv beside it)")
    return parser


def _at_least_one(text: str) -> int:
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"expected a whole number of at least 1, got {text!r}")
    return int(text)


def _run(options: argparse.Namespace) -> int:
    # Late: the arguments are checked before seconds go into importing MONAI.
    if options.results is None and options.out is None:
        raise ExperimentError("--out DIR is missing: where the runs go, or --results CSV with --report DIR.")
    if options.results is not None and options.report is None:
        raise ExperimentError("--results needs --report DIR: where results.md goes.")
    if options.curves is not None and options.results is None:
        raise ExperimentError("--curves belongs to --results CSV.")
    if options.earlier is not None and options.results is not None:
        raise ExperimentError("--earlier spares runs, and with --results CSV there are none.")
    matrix = experiments.load_matrix(options.matrix)
    if options.results is not None:
        return _report(matrix, options, Path(options.results))
    selected, earlier = matrix.select(options.only), experiments.EarlierResults(options.earlier)
    options.threads = options.threads or max(1, usable_cores() // options.jobs)
    if not options.dry_run:
        start_server(options.threads)  # which imports what the runs need while this process imports what it needs
    chosen = experiments.plan_runs(matrix, selected, options.out, options.data)
    jobs = chosen + _plan_others(matrix, chosen, options)
    _tell_stale(jobs)
    if options.dry_run:
        for job in chosen:
            print(f"{job.key}: {_state(job, earlier)} ({job.folder})")
        print(f"{len(chosen)} runs, {sum(not job.done and not earlier.holds(job) for job in chosen)} to do.")
        return 0
    with RunLock(options.out, "experiments"):
        try:
            todo = [job for job in chosen if not earlier.holds(job)]
            failed = experiments.run_jobs(todo, options.jobs, options.threads)
        finally:
            results = experiments.write_results(jobs, options.out, matrix.curve_metrics, _command(options), earlier)
    print(f"{len(chosen) - len(failed)} of {len(chosen)} runs are done; scores of all current runs: {results}")
    if failed:
        print(f"{len(failed)} failed: {'; '.join(str(job.key) for job in failed)}", file=sys.stderr)
    if options.report is not None and any(job.done or earlier.holds(job) for job in jobs):
        _report(matrix, options, _copy_tables(results, Path(options.report)), jobs)
    return 1 if failed else 0


def _copy_tables(results: Path, folder: Path) -> Path:
    """Put the tables beside the report that is made from them."""
    folder.mkdir(parents=True, exist_ok=True)
    if folder.resolve() != results.parent.resolve():
        for name in (results.name, "curves.csv", "results.json"):
            shutil.copyfile(results.with_name(name), folder / name)
    return folder / results.name


def _state(job: experiments.RunJob, earlier: experiments.EarlierResults) -> str:
    if job.done:
        return "done"
    if earlier.holds(job):
        return "done earlier"
    return "trained, to be evaluated" if job.trained else "to be run"


def _plan_others(
    matrix: experiments.ExperimentMatrix, chosen: Sequence[experiments.RunJob], options: argparse.Namespace
) -> list[experiments.RunJob]:
    """The runs that are not to be done now; those that are done belong in the tables all the same."""
    others, keys = [], {job.key for job in chosen}
    for dataset in matrix.datasets:
        left = [key for key in matrix.runs if key.dataset == dataset and key not in keys]
        try:
            others += experiments.plan_runs(matrix, left, options.out, options.data)
        except ExperimentError as error:  # its data are not here: that hinders nobody today
            print(f"Without {dataset} in the tables: {error}", file=sys.stderr)
    return others


def _command(options: argparse.Namespace) -> str:
    """The command for others: the folders of this machine would tell them nothing."""
    path = Path(options.matrix)
    matrix = path if not path.is_absolute() else Path(path.name)
    jobs = f"--jobs {options.jobs} --threads {options.threads}"
    return f"python -m benchmarks.accuracy --matrix {matrix} --data ROOT --out RUNS {jobs}"


def _report(
    matrix: experiments.ExperimentMatrix,
    options: argparse.Namespace,
    results: Path,
    jobs: Sequence[experiments.RunJob] = (),
) -> int:
    page = experiments.write_report(matrix, results, options.report, options.curves, jobs)
    print(f"Report: {page}")
    return 0


def _tell_stale(jobs: Sequence[experiments.RunJob]) -> None:
    stale = experiments.stale_folders(jobs)
    if stale:
        print(
            f"{len(stale)} earlier runs of other code, configurations, data or library versions are left alone and are "
            f"in no table, such as {stale[0]}. Delete these folders to free the space.",
            file=sys.stderr,
        )


if __name__ == "__main__":
    sys.exit(main())
