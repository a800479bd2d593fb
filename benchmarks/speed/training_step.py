# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
"""Measure where the time of an epoch of ``train.yaml`` goes."""

from __future__ import annotations

import time
from collections import defaultdict
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pandas as pd
from ignite.engine import Engine, Events
from monai.engines.utils import IterationEvents

from benchmarks.speed.bundle_parts import bundle_parser
from benchmarks.speed.measure import synchronize

RESIDUAL_UNET = {
    "_target_": "monai_bbox_mil.networks.ResidualUNet",
    "in_channels": "@in_channels",
    "out_channels": "$len(@label_values)",
}


class StepClock:
    """Times between the events of a ``SupervisedTrainer``; the loss's backward pass is separate from the network's."""

    def __init__(self, trainer: Engine, device: str) -> None:
        self.seconds: dict[str, list[float]] = defaultdict(list)
        self.device = device
        self.last = time.perf_counter()
        for event, name in (
            (Events.GET_BATCH_STARTED, "logs of the step"),
            (Events.GET_BATCH_COMPLETED, "waiting for the loader"),
            (IterationEvents.FORWARD_COMPLETED, "network, forward"),
            (IterationEvents.LOSS_COMPLETED, "loss, forward"),
            (IterationEvents.BACKWARD_COMPLETED, "network, backward"),
            (IterationEvents.MODEL_COMPLETED, "optimizer"),
        ):
            trainer.add_event_handler(event, lambda engine, name=name: self.tick(name))
        # Added after our own handlers, so that the hook exists before the backward pass begins.
        trainer.add_event_handler(IterationEvents.FORWARD_COMPLETED, self.watch_prediction)
        trainer.add_event_handler(Events.EPOCH_STARTED, lambda engine: self.tick("between epochs"))

    def tick(self, name: str) -> None:
        synchronize(self.device)
        now = time.perf_counter()
        self.seconds[name].append(now - self.last)
        self.last = now

    def watch_prediction(self, engine: Engine) -> None:
        output: Any = engine.state.output
        output["pred"].register_hook(lambda grad: self.tick("loss, backward"))


def training_step(
    network: str, steps: int, device: str, overrides: dict[str, Any], out: Path
) -> tuple[pd.DataFrame, dict[str, float]]:
    """Time the steps of one epoch after a warm-up epoch; write ``out/training_step_NETWORK.csv``.

    Args:
        network: ``"bundle"`` for ``train.yaml``'s, ``"residual_unet"`` for the paper's.
        steps: number of steps of an epoch; 0 for all.
        device: ``"cpu"`` or ``"cuda"``.
        overrides: of ``train.yaml``, as on the command line.
        out: folder.

    Returns:
        a row for each part of a step, and the seconds of parts that happen once, or once per epoch.
    """
    if network == "residual_unet":
        overrides = {"network_def": RESIDUAL_UNET, **overrides}
    with TemporaryDirectory() as folder:
        start = time.perf_counter()
        parser = bundle_parser(
            "train", ckpt_dir=f"{folder}/models", output_dir=f"{folder}/eval", progress=False, max_epochs=2, **overrides
        )
        parser.get_parsed_content("data_items")
        begun = time.perf_counter()
        trainer = parser.get_parsed_content("train#trainer")
        filled = time.perf_counter()
        clock = StepClock(trainer, device)
        trainer.state.epoch_length = min(steps or len(trainer.data_loader), len(trainer.data_loader))
        trainer.add_event_handler(Events.EPOCH_STARTED, lambda engine: clock.seconds.clear())
        evaluator = parser.get_parsed_content("validate#evaluator")
        validation: list[float] = []
        evaluator.add_event_handler(Events.STARTED, lambda engine: validation.append(-time.perf_counter()))
        evaluator.add_event_handler(Events.COMPLETED, lambda engine: validation.append(time.perf_counter()))
        parser.get_parsed_content("autocast")(trainer.run)()
    once = {"finding the data": begun - start, "filling the cache": filled - begun, "validation": sum(validation[-2:])}
    order = ["waiting for the loader", "network, forward", "loss, forward", "loss, backward", "network, backward",
             "optimizer", "logs of the step"]  # fmt: skip
    table = pd.DataFrame(
        [
            {"part": name, "median_ms": 1e3 * np.median(clock.seconds[name]), "s": sum(clock.seconds[name])}
            for name in order
        ]
    )
    table["percent"] = 100 * table.s / table.s.sum()
    table.to_csv(out / f"training_step_{network}.csv", index=False, float_format="%.4g")
    return table, once
