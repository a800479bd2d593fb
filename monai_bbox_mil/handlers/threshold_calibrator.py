# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
"""Choice of the prediction's threshold from the boxes of the validation images."""

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

    No mask is read. At the end of the engine's run a JSON file holds ``threshold`` (one per class), all ``thresholds``
    tried, their mean ``box_iou`` and the number of images; ``engine.state.metrics`` gets the best box IoU, its mean
    over the classes.

    A class whose predictions meet no given box at any threshold, such as one that no image holds, keeps 0.5 and is not
    calibrated: the file says so in ``calibrated`` (one per class), and in ``calibrated_from``, which is ``"boxes"`` or,
    where no class is calibrated, ``"nothing"``.

    Args:
        path: file to write, see :func:`monai_bbox_mil.metrics.load_threshold`.
        thresholds: candidates in ``(0, 1)``.
        output_transform: from the engine's output to a batch (or list) of probabilities ``(C, *spatial)`` and of box
            tensors; ``pred`` and ``label`` as they are when ``None``.
        name: logger's name; the engine's when ``None``.
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
                f"Threshold not calibrated for {len(missing)} of {len(calibrated)} classes (channels {missing}): at no "
                f"threshold does a prediction meet a given box in the {num_images} images. It is 0.5 there; saved to "
                f"{self.path}"
            )
