# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
"""Many trainings from one file: systems x data sets x seeds, their scores as one table, and a report.

    snakemake --snakefile benchmarks/accuracy/Snakefile --cores 2 --config data=ROOT out=RUNS [KEY=VALUE ...]
    python -m benchmarks.accuracy plan data=ROOT out=RUNS [KEY=VALUE ...]      (how far each run is)
    python -m benchmarks.accuracy tables data=ROOT out=RUNS [KEY=VALUE ...]    (tables of what is done)
    python -m benchmarks.accuracy report --results CSV --report DIR            (a page from any tables, without a run)

Snakemake starts the runs, on the cores of this machine or, with a profile (profiles/slurm), on a cluster. Each run is a
process of its own. It executes MONAI's bundle workflow: a training with a list of config files and overrides, then
evaluations with evaluate.yaml on top. The same command continues where it was stopped. An interrupted training starts
again from scratch, so that its result equals that of an uninterrupted one. A failed run does not stop the others, and
prints the end of its log. Ctrl-C ends the runs at once; after SIGTERM, the current ones finish first.

    data=ROOT       folder that holds the data sets' folders (the working folder)
    out=DIR         folder of the runs, results.csv and curves.csv
    matrix=FILE     what is run and reported (default: matrix.yaml beside this file, the published comparison)
    only=A,B        only these systems and data sets
    earlier=CSV     a results.csv with its curves.csv beside it: reuse its runs with the same hash
    report=DIR      write results.md, its pictures and its tables there
    threads=N       threads of each run (1)
    gpu=N           GPUs of each run, for a cluster or for --resources gpu=N (0)

The matrix file (YAML):

    bundle: FOLDER                         config files are relative to it, and it to the folder of the matrix (.)
    base: [configs/train.yaml, ...]        config files of every run
    evaluate: [configs/evaluate.yaml]      on top of them for evaluations; overrides of a training do not undo them
    overrides: {key: value}                for every run; "network_def#features" reaches inside a value
    datasets:
      NAME: {title: TEXT, folder: UNDER_ROOT, configs: [...], overrides: {...}, folds: {NAME: {overrides}}}
    systems:
      NAME: {label: TEXT, configs: [...], overrides: {...}, evaluations: [NAME, ...]}    (all evaluations)
            yardstick: true marks a system that sees more than boxes: the best of the others is in bold
    variants:                              changes to several systems; those with an x are points of a curve
      NAME: {overrides: {...}, x: NUMBER, series: TEXT}
    evaluations:                           of each training, with their overrides; {default: {}} if there are none
      NAME: {threshold: 0.5}
    runs:                                  products, joined; without variants, the systems themselves
      - {datasets: [...], systems: [...], seeds: [0, 1, 2], variants: [...], folds: [...]}
    curve_metrics: [train_loss, val_loss, val_dice]      metrics in curves.csv
    title: TEXT
    text: MARKDOWN                         the protocol, at the head of the report
    report:                                sections; each may have any of the views below, or a list of one kind
      - title: TEXT
        text: MARKDOWN
        table: {rows: [...], datasets: [...], reference: SYSTEM or [SYSTEM, ...], evaluation: NAME,
                columns: [hd95_mm, box_iou]}
        patients: {rows, datasets, evaluation, score}                  one point per patient
        curve: {rows, datasets, evaluation, variants, base_x, xlabel, score, reference}    score against x
        learning: {rows, datasets, metric: val_dice, x: epoch or iteration}
        pictures: {rows, datasets, reference, evaluation}              best, median and worst case of the reference

A row is a system's name, or {system, variant, evaluation, label}. If a system does not have the view's evaluation, its
first one is shown. Of several references, the best one on each data set is used. base_x draws the runs without a
variant.

Order of overrides, later over earlier: all runs', data set's, system's, variant's, fold's, seed. The folder of a run is
out/runs/<data set>/<system>[/<variant>]/fold<f>_seed<s>/<hash>/ with log.txt, models/, eval/ and evaluations/. The hash
covers the package's code (without comments and drawing), the merged configuration, the content of the data set's files
and the versions of torch and MONAI. Results with another hash are left alone and never mixed in. A data file is read
again only if its size or modification time has changed. Rows with the same hash in a table named by earlier=CSV, for
example from another machine, are reused, and their runs are not repeated. The hash does not cover the number of threads
and the kind of processor, although another order of sums changes the last digits and thus the trained weights.
threads=N fixes the former.
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
    # Loaded on first use, so that --help does not wait for MONAI.
    if name in _HOMES:
        return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
