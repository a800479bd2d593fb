# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
"""Predictions in the formats of other tools, written while an evaluator predicts."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

from ignite.engine import Engine, Events

from monai_bbox_mil.exports import Prediction, make_exports

__all__ = ["PredictionExport"]


class PredictionExport:
    """Give each predicted label map to exports, and finish these when all images are predicted.

    Attach it to an evaluator whose output is decollated and post-processed: a list of dictionaries with the label map
    ``(1, H, W[, Z])`` and, for scores, the probabilities ``(C, H, W[, Z])``, both in the grid of the image's file.

    Args:
        names: names among :data:`monai_bbox_mil.exports.EXPORTS`, as a list or separated by commas.
        output_dir: folder to write to.
        label_values: value of each class in the label map.
        class_names: name of each class.
        data_root_dir: folder that all images lie in, at any depth.
        resumed: whether the run continues an earlier one and skips its images. Exports would lack these.
        pred_key, probability_key: keys of label map and probabilities.

    Raises:
        ValueError: if a name is unknown, if a format cannot hold the class names, or for a resumed run.

    Example:
        >>> export = PredictionExport("coco,csv", "masks", label_values=[1], class_names=["lesion"])
        >>> [each.name for each in export.exports]
        ['coco', 'csv']
    """

    def __init__(
        self,
        names: str | Sequence[str],
        output_dir: str | os.PathLike[str],
        label_values: Sequence[int],
        class_names: Sequence[str],
        data_root_dir: str | os.PathLike[str] = "",
        resumed: bool = False,
        pred_key: str = "pred",
        probability_key: str = "probability",
    ) -> None:
        if resumed:
            raise ValueError(
                "export: expected a run that predicts all images, got resume True, which skips the masks that exist. "
                "Leave out resume, or export without it into another output_dir."
            )
        self.exports = make_exports(names, output_dir, class_names, data_root_dir)
        self.label_values = list(label_values)
        self.class_names = list(class_names)
        self.pred_key = pred_key
        self.probability_key = probability_key

    def attach(self, engine: Engine) -> None:
        """Attach the handler to ``engine``, an evaluator."""
        engine.add_event_handler(Events.ITERATION_COMPLETED, self._add)
        engine.add_event_handler(Events.COMPLETED, self._finish)

    def _add(self, engine: Engine) -> None:
        items: Any = engine.state.output
        for item in items:
            probabilities = item.get(self.probability_key)
            prediction = Prediction(
                item[self.pred_key], self.label_values, self.class_names, probabilities=probabilities
            )
            for export in self.exports:
                export.add(prediction)

    def _finish(self) -> None:
        for export in self.exports:
            export.finish()
