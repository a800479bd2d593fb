# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
"""``python -m tests.benchmarks``: what the loss, a training step and inference cost on this machine."""

from __future__ import annotations

import argparse
from pathlib import Path

import torch

from tests.benchmarks.cases import CASES
from tests.benchmarks.loss_cost import loss_cost
from tests.benchmarks.measure import machine_line


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description=__doc__)
    parser.add_argument("what", nargs="*", default=["loss"], choices=["loss"], help="which benchmarks to run")
    parser.add_argument("--out", type=Path, default=Path("benchmark_results"), help="folder for the CSV and PNG files")
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument("--rounds", type=int, default=15, help="timed calls of each function, after three untimed ones")
    parser.add_argument("--cases", nargs="*", default=list(CASES), choices=list(CASES), help="cases of the loss")
    arguments = parser.parse_args()
    if arguments.device == "cuda" and not torch.cuda.is_available():
        parser.error("--device cuda, but this torch sees no GPU")
    if arguments.rounds < 1:
        parser.error("--rounds must be at least 1")
    arguments.out.mkdir(parents=True, exist_ok=True)
    print(machine_line(arguments.device))
    if "loss" in arguments.what:
        table = loss_cost(arguments.cases, arguments.device, arguments.rounds, arguments.out)
        print(table.to_string(index=False, float_format=lambda x: f"{x:.3g}"))


if __name__ == "__main__":
    main()
