# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
"""Calibration of the prediction's threshold from the boxes of the validation images."""

from __future__ import annotations

import logging
import math
import os
from collections.abc import Callable, Sequence
from typing import Any

import ignite.distributed as idist
from ignite.engine import Engine, Events
from monai.handlers import from_engine

from monai_bbox_mil.metrics import DEFAULT_THRESHOLDS, BoxIoUMetric, best_threshold, save_threshold

__all__ = ["ThresholdCalibrator"]


class ThresholdCalibrator:
    """Find, for each class, the threshold at which predictions and given boxes agree best, and save it.

    No mask is needed. At the end of the engine's run, a JSON file is written with ``threshold`` (one per class), all
    ``thresholds`` tried, their mean ``box_iou`` and the number of images. ``engine.state.metrics["box_iou"]`` is the
    best box IoU, averaged over the classes.

    A class whose predictions meet no given box at any threshold, for example because no image contains it, keeps 0.5
    and is not calibrated. The file records this in ``calibrated`` (one per class) and in ``calibrated_from``, which is
    ``"nothing"`` if no class is calibrated and ``"boxes"`` otherwise.

    Args:
        path: file to write, see :func:`monai_bbox_mil.metrics.load_threshold`.
        thresholds: candidates in ``(0, 1)``.
        output_transform: function from the engine's output to a batch (or list) of probabilities ``(C, *spatial)`` and
            one of box tensors; ``None`` to use ``pred`` and ``label`` unchanged.
        name: name of the logger; ``None`` for the engine's logger.
        slice_dim: axis along which the boxes of volumes were drawn slice by slice; see :class:`.BoxIoUMetric`.

    Raises:
        ValueError: if there is no threshold, or one is out of range.

    Example:
        >>> import torch
        >>> from tempfile import TemporaryDirectory
        >>> prob = torch.zeros(1, 1, 4, 4)
        >>> prob[..., :2, :2] = 0.35
        >>> batch = {"pred": prob, "label": torch.tensor([[[0.0, 0, 2, 2, 0]]])}
        >>> evaluator = Engine(lambda *_: batch)
        >>> with TemporaryDirectory() as folder:
        ...     calibrator = ThresholdCalibrator(f"{folder}/threshold.json", (0.1, 0.3, 0.5), lambda x: x.values())
        ...     calibrator.attach(evaluator)
        ...     evaluator.run([0]).metrics
        {'box_iou': 1.0}
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        thresholds: Sequence[float] = DEFAULT_THRESHOLDS,
        output_transform: Callable[..., Any] | None = None,
        name: str | None = None,
        slice_dim: int | None = None,
    ) -> None:
        self.path = path
        self.metric = BoxIoUMetric(thresholds, slice_dim)
        self.output_transform = output_transform or from_engine(["pred", "label"])
        self._name = name

    def attach(self, engine: Engine) -> None:
        """Attach the handler to ``engine``, an evaluator."""
        engine.add_event_handler(Events.STARTED, self.metric.reset)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self._add)
        engine.add_event_handler(Events.COMPLETED, self._finish)

    def _add(self, engine: Engine) -> None:
        self.metric(*self.output_transform(engine.state.output))

    def _finish(self, engine: Engine) -> None:
        box_iou, thresholds = self.metric.aggregate(), self.metric.thresholds
        chosen = best_threshold(box_iou, thresholds)
        best = box_iou.nan_to_num(0).amax(dim=1).tolist()
        calibrated = [score > 0 for score in best]
        engine.state.metrics["box_iou"] = sum(best) / len(best)
        num_images = len(self.metric.get_buffer())
        if idist.get_rank() > 0:
            return
        save_threshold(
            self.path,
            chosen,
            calibrated_from="boxes" if any(calibrated) else "nothing",
            calibrated=calibrated,
            thresholds=list(thresholds),
            box_iou=[[None if math.isnan(x) else round(x, 4) for x in row] for row in box_iou.tolist()],
            num_images=num_images,
        )
        logger = logging.getLogger(self._name) if self._name else engine.logger
        scores = ", ".join(
            f"{t} (box IoU {b:.3f})" if known else f"{t} (not calibrated)"
            for t, b, known in zip(chosen, best, calibrated)
        )
        if any(calibrated):
            logger.info(f"Threshold from boxes alone: {scores}; saved to {self.path}")
        if not all(calibrated):
            missing = [channel for channel, known in enumerate(calibrated) if not known]
            logger.warning(
                f"Threshold not calibrated for {len(missing)} of {len(calibrated)} classes (channels {missing}): their "
                f"predictions meet no given box in the {num_images} images at any threshold. Their threshold is 0.5; "
                f"saved to {self.path}"
            )
