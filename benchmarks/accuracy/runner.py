# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
"""Runs several jobs side by side, each in a fresh process that need not import anything anew."""

from __future__ import annotations

import signal
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from multiprocessing.connection import wait
from multiprocessing.process import BaseProcess
from typing import Any, NamedTuple

from tqdm import tqdm

from benchmarks.accuracy.plan import RunJob
from benchmarks.accuracy.server import start_server, usable_cores
from monai_bbox_mil.csv_tables import read_table

__all__ = ["run_jobs"]

_TAIL = 15  # lines of a failed run's log that are shown


class _Active(NamedTuple):
    job: RunJob
    started: float


def run_jobs(jobs: Sequence[RunJob], num_jobs: int = 1, num_threads: int | None = None) -> list[RunJob]:
    """Run what is not done and tell of each run as it ends; a run that fails does not stop the others.

    Args:
        jobs: what is to be there in the end.
        num_jobs: how many run at once.
        num_threads: of each run; the cores that this process may use, shared among the runs, when ``None``.

    Returns:
        the runs that failed.
    """
    todo, failed = [job for job in jobs if not job.done], []
    threads = num_threads or max(1, usable_cores() // num_jobs)
    bar = tqdm(total=len(jobs), initial=len(jobs) - len(todo), desc="Runs", unit="run", dynamic_ncols=True)
    context = start_server(threads) if todo else None
    active: dict[BaseProcess, _Active] = {}
    try:
        with bar, _ended_by_signals():
            while todo or active:
                while todo and len(active) < num_jobs and context is not None:
                    job = todo.pop(0)
                    process = _start(context, job, threads)
                    active[process] = _Active(job, time.perf_counter())
                # Returning now and then keeps the clock of the bar going.
                wait([process.sentinel for process in active], timeout=1.0 if sys.stderr.isatty() else 60.0)
                for process in [process for process in active if not process.is_alive()]:
                    ended = active.pop(process)
                    process.join()
                    good = process.exitcode == 0 and ended.job.done
                    seconds = time.perf_counter() - ended.started
                    if good:
                        bar.write(_success(ended.job, seconds))
                    else:
                        bar.write(_failure(ended.job, process.exitcode), file=sys.stderr)
                    bar.update()
                    if not good:
                        failed.append(ended.job)
                    process.close()
                if sys.stderr.isatty():
                    bar.refresh()
    finally:
        for process in active:
            process.terminate()
        for process in active:
            process.join(timeout=5)
            process.kill()
    return failed


def _start(context: Any, job: RunJob, threads: int) -> BaseProcess:
    process: BaseProcess = context.Process(target=_enter, args=(job, threads), name=str(job.key))
    process.start()
    return process


def _enter(job: RunJob, threads: int) -> None:
    # Imported here: the driver itself needs none of it.
    from benchmarks.accuracy.worker import run_job

    run_job(job, threads)


@contextmanager
def _ended_by_signals() -> Iterator[None]:
    """Turn a request to end (``kill``, a closed terminal) into an exception, so that the workers are ended too."""

    def leave(number: int, _frame: Any) -> None:
        raise SystemExit(128 + number)

    try:
        before = {number: signal.signal(number, leave) for number in (signal.SIGTERM, signal.SIGHUP)}
    except ValueError:  # not the main thread, which alone may set handlers
        before = {}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _success(job: RunJob, seconds: float) -> str:
    dice = []
    for evaluation in job.evaluations:
        scores = read_table(evaluation.folder / "cases.csv", texts=["case", "patient", "class"])["dice"]
        dice.append(f"{evaluation.name} {scores.mean():.3f}")
    return f"{job.key}: mean Dice {', '.join(dice)}; {seconds:.0f} s"


def _failure(job: RunJob, exit_code: int | None) -> str:
    log = job.folder / "log.txt"
    lines = log.read_text(errors="replace").splitlines()[-_TAIL:] if log.is_file() else ["(no log was written)"]
    why = f"ended by signal {-exit_code}" if exit_code is not None and exit_code < 0 else f"exit status {exit_code}"
    return "\n    ".join([f"{job.key}: FAILED, {why}; the end of {log}:", *lines])
