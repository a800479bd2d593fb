# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
"""Execute one run in a process of its own: the training, then each evaluation, through MONAI's bundle workflow."""

from __future__ import annotations

import argparse
import logging
import os
import resource
import shutil
import signal
import sys
import threading
import time
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from monai.bundle import ConfigWorkflow

from benchmarks.accuracy.curves import read_curves
from benchmarks.accuracy.matrix import load_matrix
from benchmarks.accuracy.mistakes import ExperimentError
from benchmarks.accuracy.plan import EVALUATED, TRAINED, EvaluationJob, RunJob, plan_runs, write_json
from monai_bbox_mil.csv_tables import read_table, write_table
from monai_bbox_mil.runs.last_words import last_word
from monai_bbox_mil.runs.run_lock import FolderInUseError, RunLock

__all__ = ["main", "run_job"]

_TAIL = 15  # lines of a failed run's log that are shown


def main(arguments: Sequence[str] | None = None) -> int:
    """Execute one run of a matrix for the Snakefile; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.accuracy.worker", description=__doc__)
    parser.add_argument("--matrix", required=True)
    parser.add_argument("--data", required=True)
    parser.add_argument("--out", required=True)
    parser.add_argument("--run", required=True, help="folder of the run under out/runs, without its hash")
    parser.add_argument("--mark", required=True, help="file that exists when everything is complete")
    parser.add_argument("--threads", type=int, required=True)
    parser.add_argument("--driver", type=int, help="id of a process; this one ends when that one does")
    options = parser.parse_args(arguments)
    if options.driver is not None:
        threading.Thread(target=_end_with, args=(options.driver,), daemon=True).start()
    try:
        return run_job(_find_job(options), options.threads)
    except (ExperimentError, FolderInUseError) as error:
        print(f"error: {options.run}: {error}", file=sys.stderr)
        return 1


def _find_job(options: argparse.Namespace) -> RunJob:
    """Plan the run again: this process may have imported other code than the one that requested it."""
    matrix = load_matrix(options.matrix)
    keys = [key for key in matrix.runs if key.folder.as_posix() == options.run]
    jobs = plan_runs(matrix, keys, options.out, options.data)
    for job in jobs:
        if job.mark == Path(os.path.abspath(options.mark)):
            return job
    planned = ", ".join(str(job.mark) for job in jobs) or "nothing"
    raise ExperimentError(
        f"code, configurations or data have changed since snakemake was started: it asks for {options.mark}, now it "
        f"would be {planned}. Start snakemake again."
    )


def run_job(job: RunJob, num_threads: int) -> int:
    """Train and evaluate. Completed parts are left alone; an unfinished training starts again from scratch.

    Redirects the output of this process to ``log.txt`` in the run's folder. The outcome of the run is printed to the
    original output.

    Args:
        job: what to do.
        num_threads: of PyTorch's operations; they decide the order of sums, and so the last digits.

    Returns:
        exit status: 1 if something failed.

    Raises:
        FolderInUseError: when another process executes the same run.
    """
    started = _Stopwatch()
    with RunLock(job.folder.parent, f"run_{job.hash}"):
        if not job.trained:
            shutil.rmtree(job.folder, ignore_errors=True)
        job.folder.mkdir(parents=True, exist_ok=True)
        console = _redirect_output(job.log)
        try:
            torch.set_num_threads(num_threads)
            if not job.trained:
                _train(job, num_threads)
            for evaluation in job.evaluations:
                if not evaluation.done:
                    _evaluate(evaluation)
            write_json(job.mark, {"run": job.key._asdict(), "hash": job.hash})
        except Exception as error:
            traceback.print_exc()
            sys.stderr.write(last_word(error))
            sys.stderr.flush()
            lines = job.log.read_text(errors="replace").splitlines()[-_TAIL:]
            console("\n    ".join([f"{job.key}: FAILED; the end of {job.log}:", *lines]))
            return 1
        finally:
            logging.shutdown()
        console(f"{job.key}: mean Dice {_mean_dice(job)}; {started.read()['seconds']:.0f} s")
    return 0


def _mean_dice(job: RunJob) -> str:
    dice = []
    for evaluation in job.evaluations:
        scores = read_table(evaluation.folder / "cases.csv", texts=["case", "patient", "class"])["dice"]
        dice.append(f"{evaluation.name} {scores.mean():.3f}")
    return ", ".join(dice)


def _train(job: RunJob, num_threads: int) -> None:
    facts = {"run": job.key._asdict(), "files": job.files, "overrides": job.overrides, "pid": os.getpid()}
    write_json(job.folder / "run.json", facts)
    started = _Stopwatch()
    workflow = ConfigWorkflow(config_file=job.files, workflow_type="train", **job.overrides)
    _run_workflow(workflow)
    measured = started.read()
    network, device = (workflow.parser.get_parsed_content(name) for name in ("network", "device"))
    write_table(job.folder / "curves.csv", read_curves(job.folder / "eval"), float_format="%.5g")
    device_name = torch.cuda.get_device_name(device) if torch.device(device).type == "cuda" else "cpu"
    write_json(
        job.folder / TRAINED,
        {
            "hash": job.hash,
            "train_seconds": measured["seconds"],
            "cpu_seconds": measured["cpu_seconds"],
            "peak_memory_mb": measured["peak_memory_mb"],
            "num_parameters": sum(p.numel() for p in network.parameters()),
            "num_threads": num_threads,
            "device": device_name,
        },
    )


def _evaluate(job: EvaluationJob) -> None:
    shutil.rmtree(job.folder, ignore_errors=True)
    job.folder.mkdir(parents=True)
    started = _Stopwatch()
    _run_workflow(ConfigWorkflow(config_file=job.files, workflow_type="infer", **job.overrides))
    if not (job.folder / "cases.csv").is_file():
        raise RuntimeError(f"evaluation {job.name}: expected cases.csv in output_dir {job.folder}, got none.")
    write_json(job.folder / EVALUATED, {"hash": job.hash, **started.read()})


def _run_workflow(workflow: ConfigWorkflow) -> None:
    workflow.initialize()
    workflow.run()
    workflow.finalize()


class _Stopwatch:
    """Wall and processor seconds since its creation, including those of finished data loader processes."""

    def __init__(self) -> None:
        self._wall, self._cpu = time.perf_counter(), self._cpu_seconds()

    @staticmethod
    def _cpu_seconds() -> float:
        own, children = resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN)
        return own.ru_utime + own.ru_stime + children.ru_utime + children.ru_stime

    def read(self) -> dict[str, Any]:
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return {
            "seconds": round(time.perf_counter() - self._wall, 2),
            "cpu_seconds": round(self._cpu_seconds() - self._cpu, 2),
            "peak_memory_mb": round(peak / (2**20 if sys.platform == "darwin" else 2**10), 1),  # bytes there, kB else
        }


def _redirect_output(path: Path) -> Any:
    """Append everything that is printed or logged, even by C libraries, to a file.

    Returns:
        a function that prints a text to the original error output.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    before = os.dup(2)
    target = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    for stream, number in ((sys.stdout, 1), (sys.stderr, 2)):
        os.dup2(target, number)
        stream.reconfigure(line_buffering=True)  # type: ignore[union-attr]
    os.close(target)

    def console(text: str) -> None:
        os.write(before, f"{text}\n".encode(errors="replace"))

    return console


def _end_with(driver: int) -> None:
    """End this process when its parent is gone: a killed Snakemake does not end its children."""
    while os.getppid() == driver:
        time.sleep(0.5)
    os._exit(1)


if __name__ == "__main__":
    # Ctrl-C in a terminal reaches all of its processes; one line from Snakemake is enough.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    sys.exit(main())
