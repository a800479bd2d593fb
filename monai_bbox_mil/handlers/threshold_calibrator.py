# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
"""Calibration of the prediction's threshold with the boxes of the validation images."""

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
    """Find the threshold for each class at which predictions and given boxes agree best, and save it.

    This needs no masks. At the end of the engine's run, the handler writes a JSON file with ``threshold`` (one per
    class), all candidate ``thresholds``, their mean ``box_iou`` and the number of images. It puts the best box IoU,
    averaged over the classes, into ``engine.state.metrics["box_iou"]``.

    If the predictions of a class meet no given box at any threshold, for example because the class is in no image, the
    class gets 0.5 and is not calibrated. The file's ``calibrated`` (one per class) says so. ``calibrated_from`` is
    ``"boxes"``, or ``"nothing"`` if no class is calibrated.

    Args:
        path: file to write, see :func:`monai_bbox_mil.metrics.load_threshold`.
        thresholds: candidates in ``(0, 1)``.
        output_transform: function from the engine's output to a batch (or list) of probabilities ``(C, *spatial)`` and
            one of box tensors; ``None`` to take ``pred`` and ``label``.
        name: name of the logger; ``None`` for the engine's logger.
        slice_dim: axis along which volumes were boxed slice by slice; see :class:`.BoxIoUMetric`.
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
        """Watch ``engine``, an evaluator."""
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
