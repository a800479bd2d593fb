# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
"""Many trainings from one file: systems x data sets x seeds, their scores as one table, and a report.

    snakemake --snakefile benchmarks/accuracy/Snakefile --cores 2 --config data=ROOT out=RUNS [KEY=VALUE ...]
    python -m benchmarks.accuracy plan data=ROOT out=RUNS [KEY=VALUE ...]      (how far each run is)
    python -m benchmarks.accuracy tables data=ROOT out=RUNS [KEY=VALUE ...]    (tables of what is done)
    python -m benchmarks.accuracy report --results CSV --report DIR            (a page from any tables, without a run)

Snakemake starts the runs: on the cores of this machine, or on a cluster by a profile (profiles/slurm). Each run is
MONAI's bundle workflow: a training with a list of config files and overrides, then evaluations with evaluate.yaml on
top, in a process of its own. The same command goes on where it was stopped. A training that was interrupted starts
again from scratch, so that its result is that of an uninterrupted one. A run that fails does not stop the others, and
shows the end of its log. Ctrl-C ends the runs at once, SIGTERM lets those under way end.

    data=ROOT       folder that holds the data sets' folders (the working folder)
    out=DIR         folder of the runs, results.csv and curves.csv
    matrix=FILE     what is run and reported (the matrix.yaml beside this file: the published comparison)
    only=A,B        these systems and data sets alone
    earlier=CSV     a results.csv beside its curves.csv: take over runs of the same hash
    report=DIR      write results.md, its pictures and its tables there
    threads=N       of each run (1)
    gpu=N           GPUs of each run, for a cluster or for --resources gpu=N (0)

The matrix file (YAML):

    bundle: FOLDER                         config files are relative to it, and it to the folder of the matrix (.)
    base: [configs/train.yaml, ...]        config files of every run
    evaluate: [configs/evaluate.yaml]      on top of them for evaluations; no override of a training undoes them
    overrides: {key: value}                of every run; "network_def#features" reaches inside
    datasets:
      NAME: {title: TEXT, folder: UNDER_ROOT, configs: [...], overrides: {...}, folds: {NAME: {overrides}}}
    systems:
      NAME: {label: TEXT, configs: [...], overrides: {...}, evaluations: [NAME, ...]}    (all evaluations)
            yardstick: true marks one that sees more than boxes: the best of the others is in bold
    variants:                              changes made to several systems alike; with an x, points of a curve
      NAME: {overrides: {...}, x: NUMBER, series: TEXT}
    evaluations:                           of each training, with their overrides; {default: {}} where there are none
      NAME: {threshold: 0.5}
    runs:                                  products, joined; without variants, the systems as they are
      - {datasets: [...], systems: [...], seeds: [0, 1, 2], variants: [...], folds: [...]}
    curve_metrics: [train_loss, val_loss, val_dice]      what curves.csv keeps
    title: TEXT
    text: MARKDOWN                         the protocol, at the head of the report
    report:                                sections; each may hold any of the views below, or a list of one kind
      - title: TEXT
        text: MARKDOWN
        table: {rows: [...], datasets: [...], reference: SYSTEM or [SYSTEM, ...], evaluation: NAME,
                columns: [hd95_mm, box_iou]}
        patients: {rows, datasets, evaluation, score}                  a point for each patient
        curve: {rows, datasets, evaluation, variants, base_x, xlabel, score, reference}    score against x
        learning: {rows, datasets, metric: val_dice, x: epoch or iteration}
        pictures: {rows, datasets, reference, evaluation}              best, median and worst case of the reference

A row is a system's name, or {system, variant, evaluation, label}. Where a system lacks the view's evaluation, its first
one is shown. Of several references the best one on each data set is taken. base_x draws the runs without a variant.

Order of overrides, later over earlier: all runs', data set's, system's, variant's, fold's, seed. The folder of a run is
out/runs/<data set>/<system>[/<variant>]/fold<f>_seed<s>/<hash>/ with log.txt, models/, eval/ and evaluations/. The hash
is that of the package's code (without comments and drawing), the merged configuration, the content of the data set's
files and the versions of torch and MONAI: results of another hash are left alone and never mixed in. A data file is
read again only when its size or its time of change is another one. Rows of the same hash in a table named by
earlier=CSV, of another machine say, are taken over, and their runs not done again. Neither the number of threads nor
the kind of processor is part of the hash, although sums in another order change the last digits, and with them what a
training arrives at; threads=N fixes the one.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

_HOMES = {
    "DataHashes": "data_files",
    "EarlierResults": "earlier",
    "Experiment": "experiment",
    "ExperimentError": "mistakes",
    "ExperimentMatrix": "matrix",
    "RunJob": "plan",
    "RunKey": "matrix",
    "Settings": "experiment",
    "finish": "experiment",
    "gather_results": "results",
    "load_matrix": "matrix",
    "merged_config": "identity",
    "open_experiment": "experiment",
    "plan_runs": "plan",
    "read_curves": "curves",
    "read_results": "score_tables",
    "source_hash": "identity",
    "stale_folders": "plan",
    "write_report": "report",
    "write_results": "results",
}

__all__ = sorted(_HOMES)


def __getattr__(name: str) -> Any:
    # Loaded when first used: --help does not wait for MONAI.
    if name in _HOMES:
        return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
