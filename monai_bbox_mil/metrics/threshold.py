# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
"""Thresholds calibrated from boxes alone, and their file beside the model.

A bag loss asks for one high pixel per line, so its probabilities are not calibrated, and 0.5 is not a natural
threshold. A better one is the threshold at which the prediction's tight boxes agree best with the given boxes. Finding
it needs no mask.
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
"""File name of the weights that a threshold belongs to, in the same folder."""

DEFAULT_THRESHOLDS = tuple(round(0.05 * i, 2) for i in range(1, 20))
"""0.05, 0.10, ... 0.95."""


def best_threshold(box_iou: Tensor, thresholds: Sequence[float] = DEFAULT_THRESHOLDS) -> list[float]:
    """Choose the threshold with the highest mean box IoU for each class, or the middle one of several that are equal.

    Args:
        box_iou: ``(C, T)`` mean box IoU of each class at each threshold.
        thresholds: the ``T`` thresholds.

    Returns:
        one threshold per class. It is 0.5 if the IoU is 0 or NaN at all thresholds, as for a class that is in no image,
        because nothing then favours a threshold.

    Raises:
        ValueError: if there is no threshold, or the shapes do not match.

    Example:
        >>> best_threshold(torch.tensor([[0.2, 0.8, 0.8, 0.8], [0.9, 0.1, 0.1, 0.1]]), (0.2, 0.4, 0.6, 0.8))
        [0.6, 0.2]
        >>> best_threshold(torch.tensor([[0.0, 0.0, torch.nan]]), (0.1, 0.2, 0.3))
        [0.5]
    """
    if not len(thresholds):
        raise ValueError("thresholds must have at least one number, got none.")
    if box_iou.ndim != 2 or box_iou.shape[1] != len(thresholds):
        raise ValueError(f"box_iou must have the shape (C, {len(thresholds)}), got {tuple(box_iou.shape)}.")
    chosen = []
    for scores in torch.nan_to_num(box_iou, nan=0.0):
        best = (scores >= scores.max() - 1e-9).nonzero().flatten().tolist()
        # An IoU of 0 means as little as NaN: where a class is absent, it only shows that something was predicted.
        chosen.append(float(thresholds[best[len(best) // 2]]) if scores.max() > 0 else 0.5)
    return chosen


def save_threshold(path: str | os.PathLike[str], threshold: Sequence[float], **details: Any) -> None:
    """Write thresholds to a JSON file.

    If there is a ``model.pt`` in the same folder, its hash is written too, because the thresholds are only valid for
    that model.

    Args:
        path: file to write.
        threshold: one number per class.
        details: further entries of the file, such as how the thresholds were found.

    Raises:
        ValueError: if a threshold is outside ``(0, 1)``.
    """
    _check(threshold, "threshold")
    content = {"threshold": list(threshold), **details, "model_sha256": _model_hash(path)}
    with replacing(path) as unfinished:
        unfinished.write_text(json.dumps(content, indent=2) + "\n")


def save_fixed_threshold(path: str | os.PathLike[str], num_classes: int) -> None:
    """Write a threshold of 0.5 for each class, for trainings without boxes or without calibration.

    Of several processes, only the first one writes.

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
    """Read the thresholds, one per class, from the file that :func:`save_threshold` wrote.

    Raises:
        FileNotFoundError: if there is no file; the message says how to make it or go without.
        ValueError: if the file has no valid thresholds, or those of another model than the ``model.pt`` beside it.
    """
    try:
        content = json.loads(Path(path).read_text())
        threshold = content["threshold"]
    except FileNotFoundError as e:
        raise FileNotFoundError(
            f"{path}: expected a calibrated threshold, found no file. Training writes it beside the model. To go "
            "without, give a threshold: --threshold 0.5"
        ) from e
    except (json.JSONDecodeError, KeyError, TypeError) as e:
        raise ValueError(f"{path}: expected JSON with a list 'threshold', got something else ({e}).") from e
    _check(threshold, f"{path}: threshold")
    calibrated, present = content.get("model_sha256"), _model_hash(path)
    if calibrated and present and calibrated != present:
        raise ValueError(
            f"{path}: expected thresholds of the {MODEL_NAME} beside it, got those of another model. Either its "
            "training did not finish, or one of the two files was replaced. Finish the training, or give a threshold: "
            "--threshold 0.5"
        )
    return [float(value) for value in threshold]


def _model_hash(path: str | os.PathLike[str]) -> str | None:
    model = Path(path).with_name(MODEL_NAME)
    return hashlib.sha256(model.read_bytes()).hexdigest() if model.is_file() else None


def _check(threshold: Any, name: str) -> None:
    if not isinstance(threshold, (list, tuple)) or not threshold or not all(0 < float(t) < 1 for t in threshold):
        raise ValueError(f"{name} must be a list of one number in (0, 1) per class, got {threshold}.")
