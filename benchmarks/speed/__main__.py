# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
"""Measure what the loss, a training step and inference cost on this machine.

    python -m benchmarks.speed loss               time and memory relative to a pixel-wise loss
    python -m benchmarks.speed growth             how the loss grows with pixels, angles, boxes and classes (PNG)
    python -m benchmarks.speed labels             what pseudo-labels cost per slice
    python -m benchmarks.speed training           where the time of a training step goes
    python -m benchmarks.speed inference          volumes per second
    python -m benchmarks.speed scaling            an epoch with one process and with several
    python -m benchmarks.speed load               memory over many volumes, with a run that is killed (PNG)
    python -m benchmarks.speed large              memory and time of one large volume

Tables are printed and written to --out as CSV. NAME=VALUE overrides a value of the bundle's configurations, for example
dataset_dir=IMAGES image_size=[128,128]; for large, spacing_mm=[2,2] resamples.
"""

from __future__ import annotations

import argparse
import logging
import shutil
import warnings
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pandas as pd
import torch

from benchmarks.speed.bundle_parts import overrides_of
from benchmarks.speed.cases import CASES
from benchmarks.speed.inference_speed import inference_speed
from benchmarks.speed.label_cost import label_cost
from benchmarks.speed.load import large_volume, load
from benchmarks.speed.loss_cost import loss_cost
from benchmarks.speed.loss_growth import loss_growth
from benchmarks.speed.measure import all_threads, machine_line
from benchmarks.speed.scaling import scaling
from benchmarks.speed.training_step import training_step
from monai_bbox_mil.data import make_phantom


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.speed", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "what", choices=["loss", "growth", "labels", "training", "inference", "scaling", "load", "large"]
    )
    parser.add_argument(
        "overrides", nargs="*", metavar="NAME=VALUE", help="of the bundle (all but loss, growth and labels)"
    )
    parser.add_argument("--out", type=Path, default=Path("benchmark_results"), help="folder (%(default)s)")
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument("--rounds", type=int, default=15, help="timed rounds after the warm-up (%(default)s)")
    parser.add_argument("--cases", nargs="+", default=list(CASES), choices=list(CASES), help="cases of the loss (all)")
    parser.add_argument(
        "--network", default="bundle", choices=["bundle", "residual_unet"], help="to train (%(default)s)"
    )
    parser.add_argument("--steps", type=int, default=0, help="steps to train; 0 (the default) for an epoch")
    parser.add_argument(
        "--processes", type=int, nargs="+", default=[1, 2], help="numbers of processes to compare in scaling (1 2)"
    )
    parser.add_argument("--volumes", type=int, default=1000, help="number of volumes in load (%(default)s)")
    parser.add_argument(
        "--size", type=int, nargs=3, default=[1024, 1024, 300], help="of the volume in large (1024 1024 300)"
    )
    arguments = parser.parse_intermixed_args()
    if arguments.device == "cuda" and not torch.cuda.is_available():
        parser.error("--device cuda, but this torch sees no GPU.")
    if arguments.rounds < 1:
        parser.error("--rounds must be at least 1.")
    if arguments.volumes < 4:
        parser.error("--volumes must be at least 4.")
    try:
        overrides = overrides_of(arguments.overrides)
    except ValueError as error:
        parser.error(str(error))
    if overrides and arguments.what in ("loss", "growth", "labels"):
        parser.error(f"{arguments.what} takes no {arguments.overrides[0]}.")
    arguments.out.mkdir(parents=True, exist_ok=True)
    logging.disable(logging.INFO)
    warnings.filterwarnings("ignore", module="monai")
    overrides.setdefault("device", torch.device(arguments.device))
    _RUNS[arguments.what](arguments, overrides)
    print(machine_line(arguments.device))
    print("results in", arguments.out)


def _loss(arguments: argparse.Namespace, _: dict[str, Any]) -> None:
    for case in arguments.cases:
        print(f"{case}: {CASES[case].what}")
    _show(loss_cost(arguments.cases, arguments.device, arguments.rounds, arguments.out))


def _growth(arguments: argparse.Namespace, _: dict[str, Any]) -> None:
    _show(loss_growth(arguments.device, arguments.rounds, arguments.out)[1])


def _labels(arguments: argparse.Namespace, _: dict[str, Any]) -> None:
    _show(label_cost(arguments.device, arguments.rounds, arguments.out))


def _training(arguments: argparse.Namespace, overrides: dict[str, Any]) -> None:
    with TemporaryDirectory() as folder:
        overrides.setdefault("phantom_dir", f"{folder}/phantom")
        table, once = training_step(arguments.network, arguments.steps, arguments.device, overrides, arguments.out)
    _show(table)
    print(
        "; ".join(f"{name} {seconds:.2g} s" for name, seconds in once.items()) + f"; {torch.get_num_threads()} threads"
    )


def _inference(arguments: argparse.Namespace, overrides: dict[str, Any]) -> None:
    torch.set_num_threads(all_threads())
    with TemporaryDirectory() as folder:
        if "dataset_dir" not in overrides:
            make_phantom(f"{folder}/phantom", progress=False)
            images = Path(folder, "images")
            images.mkdir()
            for file in Path(folder, "phantom").glob("Case??.*"):
                shutil.copy(file, images)
            overrides["dataset_dir"] = str(images)
        dataset_dir = Path(str(overrides.pop("dataset_dir")))
        _show(inference_speed(dataset_dir, arguments.device, overrides, arguments.rounds, arguments.out), index=True)


def _scaling(arguments: argparse.Namespace, overrides: dict[str, Any]) -> None:
    del overrides["device"]  # each process has a device of its own
    with TemporaryDirectory() as folder:
        overrides.setdefault("phantom_dir", f"{folder}/phantom")
        _show(scaling(arguments.processes, arguments.device, overrides, arguments.rounds, arguments.out))


def _load(arguments: argparse.Namespace, overrides: dict[str, Any]) -> None:
    with TemporaryDirectory() as folder:
        _show(load(arguments.volumes, overrides, Path(folder), arguments.out))


def _large(arguments: argparse.Namespace, overrides: dict[str, Any]) -> None:
    with TemporaryDirectory() as folder:
        _show(large_volume(arguments.size, overrides, Path(folder), arguments.out))


def _show(table: pd.DataFrame, index: bool = False) -> None:
    print(table.to_string(index=index, na_rep="", float_format=lambda x: f"{x:.3g}"))


_RUNS: dict[str, Callable[[argparse.Namespace, dict[str, Any]], None]] = {
    "loss": _loss,
    "growth": _growth,
    "labels": _labels,
    "training": _training,
    "inference": _inference,
    "scaling": _scaling,
    "load": _load,
    "large": _large,
}

if __name__ == "__main__":
    main()
