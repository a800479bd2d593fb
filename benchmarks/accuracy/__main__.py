# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
"""Command line of :mod:`benchmarks.accuracy`; Snakemake starts the trainings themselves."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import benchmarks.accuracy as accuracy
from benchmarks.accuracy.mistakes import ExperimentError


def main(arguments: Sequence[str] | None = None) -> int:
    """Report what there is to do, or write tables or a page; return the exit status."""
    options = _parser().parse_args(arguments)
    try:
        options.command(options)
    except ExperimentError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.accuracy",
        description=accuracy.__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    plan = commands.add_parser("plan", help="print how far each run is, without running anything")
    plan.set_defaults(command=_plan)
    tables = commands.add_parser("tables", help="write the tables of finished runs, and with report=DIR the page")
    tables.set_defaults(command=_tables)
    for command in (plan, tables):
        command.add_argument("config", metavar="KEY=VALUE", nargs="+", help="as for Snakemake's --config")
    report = commands.add_parser("report", help="write results.md and its pictures from existing tables")
    report.set_defaults(command=_report)
    report.add_argument("--results", metavar="CSV", required=True, help="table of scores")
    report.add_argument("--report", metavar="DIR", required=True, help="folder of results.md")
    report.add_argument("--matrix", metavar="FILE", help="what to show (default: the published comparison)")
    report.add_argument("--curves", metavar="CSV", help="table of curves (default: curves.csv beside the scores)")
    return parser


# The functions import late, so that the arguments are checked before seconds are spent on importing MONAI.
def _open(config: Sequence[str]) -> accuracy.Experiment:
    pairs = [text.partition("=") for text in config]
    for key, sign, _ in pairs:
        if not sign:
            raise ExperimentError(f"expected KEY=VALUE, such as out=RUNS, got {key!r}.")
    return accuracy.open_experiment(accuracy.Settings.read({key: value for key, _, value in pairs}))


def _plan(options: argparse.Namespace) -> None:
    experiment = _open(options.config)
    for job in experiment.chosen:
        print(f"{job.key}: {experiment.state(job)} ({job.folder})")
    print(f"{len(experiment.chosen)} runs, {sum(not job.done for job in experiment.wanted)} to do.")
    stale = experiment.stale
    if stale:
        print(
            f"{len(stale)} earlier runs with other code, configurations, data or library versions are left alone "
            f"and are in no table, such as {stale[0]}. Delete these folders to free the space.",
            file=sys.stderr,
        )


def _tables(options: argparse.Namespace) -> None:
    accuracy.finish(_open(options.config))


def _report(options: argparse.Namespace) -> None:
    from benchmarks.accuracy.matrix import DEFAULT_MATRIX

    matrix = accuracy.load_matrix(options.matrix or DEFAULT_MATRIX)
    print(f"Report: {accuracy.write_report(matrix, Path(options.results), options.report, options.curves)}")


if __name__ == "__main__":
    sys.exit(main())
