# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
"""Thresholds calibrated from boxes alone, and their file beside the model.

A bag loss asks for one high pixel per line, so its probabilities are not calibrated and 0.5 is no natural threshold.
The threshold at which the prediction's tight boxes agree best with the given boxes is; no mask is read to find it.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import ignite.distributed as idist
import torch
from torch import Tensor

from monai_bbox_mil.runs.files import replacing

__all__ = ["DEFAULT_THRESHOLDS", "best_threshold", "load_threshold", "save_fixed_threshold", "save_threshold"]

MODEL_NAME = "model.pt"
"""The weights that a threshold belongs to, in the same folder."""

DEFAULT_THRESHOLDS = tuple(round(0.05 * i, 2) for i in range(1, 20))
"""0.05, 0.10, ... 0.95."""


def best_threshold(box_iou: Tensor, thresholds: Sequence[float] = DEFAULT_THRESHOLDS) -> list[float]:
    """Return the threshold of highest mean box IoU for each class; the middle one of several equally good ones.

    Args:
        box_iou: ``(C, T)`` mean box IoU of each class at each threshold.
        thresholds: the ``T`` thresholds.

    Returns:
        one threshold per class; 0.5 where no prediction meets a given box at any threshold (all 0 or NaN), as for a
        class that no image holds: there is nothing to choose by.

    Raises:
        ValueError: when there is no threshold, or the shapes do not fit.

    Example:
        >>> best_threshold(torch.tensor([[0.2, 0.8, 0.8, 0.8], [0.9, 0.1, 0.1, 0.1]]), (0.2, 0.4, 0.6, 0.8))
        [0.6, 0.2]
        >>> best_threshold(torch.tensor([[0.0, 0.0, torch.nan]]), (0.1, 0.2, 0.3))
        [0.5]
    """
    if not len(thresholds):
        raise ValueError("thresholds must hold at least one number, got none.")
    if box_iou.ndim != 2 or box_iou.shape[1] != len(thresholds):
        raise ValueError(f"box_iou must have the shape (C, {len(thresholds)}), got {tuple(box_iou.shape)}.")
    chosen = []
    for scores in torch.nan_to_num(box_iou, nan=0.0):
        best = (scores >= scores.max() - 1e-9).nonzero().flatten().tolist()
        # An IoU of 0 is no better than none: where a class is absent, it only says that something was predicted.
        chosen.append(float(thresholds[best[len(best) // 2]]) if scores.max() > 0 else 0.5)
    return chosen


def save_threshold(path: str | os.PathLike[str], threshold: Sequence[float], **details: Any) -> None:
    """Write thresholds, one per class, and any ``details`` of how they were found as JSON.

    Where a ``model.pt`` lies in the same folder, its hash is kept too: these are the thresholds of that model alone.

    Raises:
        ValueError: for a threshold outside ``(0, 1)``.
    """
    _check(threshold, "threshold")
    content = {"threshold": list(threshold), **details, "model_sha256": _model_hash(path)}
    with replacing(path) as unfinished:
        unfinished.write_text(json.dumps(content, indent=2) + "\n")


def save_fixed_threshold(path: str | os.PathLike[str], num_classes: int) -> None:
    """Write a threshold of 0.5 for each class, where there are no boxes to calibrate by, or no need to.

    Of several processes the first one writes.

    Args:
        path: file to write, see :func:`save_threshold`.
        num_classes: number of classes.

    Example:
        >>> from tempfile import TemporaryDirectory
        >>> with TemporaryDirectory() as folder:
        ...     save_fixed_threshold(f"{folder}/threshold.json", 2)
        ...     load_threshold(f"{folder}/threshold.json")
        [0.5, 0.5]
    """
    if idist.get_rank() == 0:
        save_threshold(path, [0.5] * num_classes, calibrated_from="nothing")


def load_threshold(path: str | os.PathLike[str]) -> list[float]:
    """Read thresholds, one per class, from the file that :func:`save_threshold` wrote.

    Raises:
        FileNotFoundError: telling how to make the file or do without.
        ValueError: for a file that holds no thresholds, or those of another model than the ``model.pt`` beside it.
    """
    try:
        content = json.loads(Path(path).read_text())
        threshold = content["threshold"]
    except FileNotFoundError as e:
        raise FileNotFoundError(
            f"{path}: no calibrated threshold there. Training writes it beside the model; without it, give one: "
            "--threshold 0.5"
        ) from e
    except (json.JSONDecodeError, KeyError, TypeError) as e:
        raise ValueError(f"{path}: expected JSON with a list 'threshold', got something else ({e}).") from e
    _check(threshold, str(path))
    calibrated, present = content.get("model_sha256"), _model_hash(path)
    if calibrated and present and calibrated != present:
        raise ValueError(
            f"{path}: calibrated for another model than the present {MODEL_NAME}: its training has not come to its "
            "end, or one of the two files was replaced. Train to the end, or give a threshold: --threshold 0.5"
        )
    return [float(value) for value in threshold]


def _model_hash(path: str | os.PathLike[str]) -> str | None:
    model = Path(path).with_name(MODEL_NAME)
    return hashlib.sha256(model.read_bytes()).hexdigest() if model.is_file() else None


def _check(threshold: Any, name: str) -> None:
    if not isinstance(threshold, (list, tuple)) or not threshold or not all(0 < float(t) < 1 for t in threshold):
        raise ValueError(f"{name}: thresholds must be one number in (0, 1) a class, got {threshold}.")
