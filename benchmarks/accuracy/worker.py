# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
"""One run, in a process of its own: training, then each evaluation, through MONAI's bundle workflow.

The module is what the server process of :mod:`benchmarks.accuracy.runner` imports before it forks, so it imports
all that a run is known to need.
"""

from __future__ import annotations

import logging
import multiprocessing
import os
import resource
import shutil
import signal
import sys
import threading
import time
import traceback
from multiprocessing.connection import wait
from pathlib import Path
from typing import Any

import itk  # noqa: F401
import matplotlib.backends.backend_agg  # noqa: F401
import monai.apps.detection.transforms.dictionary
import monai.engines
import monai.handlers
import monai.inferers
import monai.losses
import monai.networks.nets  # noqa: F401
import nibabel  # noqa: F401
import torch
import torch.utils.tensorboard
from monai.bundle import ConfigWorkflow

import monai_bbox_mil.handlers
import monai_bbox_mil.networks
from benchmarks.accuracy.curves import read_curves
from benchmarks.accuracy.plan import EVALUATED, TRAINED, EvaluationJob, RunJob, write_json
from monai_bbox_mil.csv_tables import write_table
from monai_bbox_mil.runs.last_words import last_word

__all__ = ["run_job"]


def run_job(job: RunJob, num_threads: int) -> None:
    """Train and evaluate; what is already complete is left alone, a half-done training is started from scratch.

    Meant as the target of a fresh process: it redirects the process's output to ``log.txt`` in the run's folder, and
    leaves by exit status 1 where something fails.

    Args:
        job: what to do.
        num_threads: of PyTorch's operations; the order of sums, and with it the last digits, depend on it.
    """
    # The driver ends its workers; a Ctrl-C in a terminal reaches the whole group, and would fill the log.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_die_with_driver, daemon=True).start()
    # So a data loader's processes are the run's own children, as they are from the command line. They watch their
    # parent: forked by the server they would never see that the run was killed, and keep the server alive with them.
    multiprocessing.set_start_method(None, force=True)
    if not job.trained:
        shutil.rmtree(job.folder, ignore_errors=True)
    job.folder.mkdir(parents=True, exist_ok=True)
    _redirect_output(job.folder / "log.txt")
    try:
        here = str(Path(monai_bbox_mil.__file__).parent)
        if here != job.package:
            raise RuntimeError(f"the package must be imported from {job.package}, whose code was hashed, got {here}.")
        torch.set_num_threads(num_threads)
        if not job.trained:
            _train(job, num_threads)
        for evaluation in job.evaluations:
            if not evaluation.done:
                _evaluate(evaluation)
    except Exception as error:
        traceback.print_exc()
        sys.stderr.write(last_word(error))
        sys.stderr.flush()
        sys.exit(1)
    finally:
        logging.shutdown()


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
    """Wall and processor seconds since it was made, those of data loading processes included once they have ended."""

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


def _redirect_output(path: Path) -> None:
    """Everything that is printed or logged, by libraries in C too, goes to the end of a file."""
    sys.stdout.flush()
    sys.stderr.flush()
    target = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    for stream, number in ((sys.stdout, 1), (sys.stderr, 2)):
        os.dup2(target, number)
        stream.reconfigure(line_buffering=True)  # type: ignore[union-attr]
    os.close(target)


def _die_with_driver() -> None:
    """End this process when the driver is gone, however it went."""
    driver = multiprocessing.parent_process()
    if driver is not None:
        wait([driver.sentinel])
        os._exit(1)
