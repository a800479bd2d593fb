# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
"""Measure what pseudo-labels cost per slice."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import pandas as pd
import torch

from benchmarks.speed.cases import random_boxes
from benchmarks.speed.measure import threads, time_side_by_side
from monai_bbox_mil.pseudo_labels import BoxHeights, PseudoLabelFitter, smooth_logits

_SIDE = 256
_CASES = {
    "1 box, 100 px": (1, 100),
    "1 box, 220 px": (1, 220),
    "50 boxes, 20 px": (50, 20),
    "400 boxes, 10 px": (400, 10),
}
"""Number and side of the boxes in a slice of 256x256 pixels."""


def label_cost(device: str, rounds: int, out: Path) -> pd.DataFrame:
    """Time the parts of pseudo-labels for one slice, with one thread; write ``out/label_cost.csv``."""
    generator = torch.Generator().manual_seed(0)
    logits, image = (torch.randn(1, 1, _SIDE, _SIDE, generator=generator).to(device) for _ in range(2))
    rows = []
    for name, (count, side) in _CASES.items():
        boxes = random_boxes((1, 1, _SIDE, _SIDE), count, (side, side), seed=0)
        heights, fitter = BoxHeights.of(logits, boxes), PseudoLabelFitter(1)
        fitter.learn([heights])
        parts: dict[str, Callable[[], object]] = {
            "smooth": partial(smooth_logits, logits, image, target=boxes),
            "look up": partial(BoxHeights.of, logits, boxes),
            "learn": partial(fitter.learn, [heights]),
            "fit": partial(fitter.fit, heights),
        }
        with threads(1):
            times = time_side_by_side(parts, device, rounds)
        rows += [{"boxes": name, "part": part, **times.loc[part].to_dict()} for part in parts]
        rows.append({"boxes": name, "part": "sum", **times.sum().to_dict()})
    table = pd.DataFrame(rows)
    table.to_csv(out / "label_cost.csv", index=False, float_format="%.4g")
    return table
