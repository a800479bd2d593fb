# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
"""The app that a MONAI Label server loads."""

from __future__ import annotations

import os
from typing import Any

from fastapi import HTTPException
from monai.bundle import ConfigParser
from monailabel.interfaces.app import MONAILabelApp
from monailabel.interfaces.datastore import Datastore
from monailabel.interfaces.exception import MONAILabelError, MONAILabelException
from monailabel.interfaces.tasks.infer_v2 import InferTask, InferType
from monailabel.interfaces.tasks.scoring import ScoringMethod
from monailabel.interfaces.tasks.strategy import Strategy
from monailabel.interfaces.tasks.train import TrainTask
from monailabel.tasks.activelearning.random import Random

import monai_bbox_mil
from monai_bbox_mil.apps.monailabel.bundle import Bundle
from monai_bbox_mil.apps.monailabel.infer import BoxInferTask
from monai_bbox_mil.apps.monailabel.scoring import SCORE, BoxIoUScoring, LowestBoxIoU
from monai_bbox_mil.apps.monailabel.train import BoxTrainTask

__all__ = ["BoxLabelApp"]


class BoxLabelApp(MONAILabelApp):
    """Draw boxes, train from them, correct the predicted masks, train again.

    ============  ================  ==========================================================================
    kind          name              what
    ============  ================  ==========================================================================
    model         ``segmentation``  masks of a whole image
    model         ``box_prompt``    the mask that fits the box in the parameter ``roi``
    training      ``segmentation``  from label tag ``boxes`` (box files) and ``final`` (corrected masks)
    scoring       ``box_iou``       how well predictions fit the drawn boxes
    next sample   ``box_iou``       the lowest score first; ``random``
    ============  ================  ==========================================================================

    Args:
        app_dir: folder of the app, a copy of the sample.
        studies: folder or address of the images.
        conf: of the server; ``bundle`` names another bundle than ``app_dir``'s own.
    """

    def __init__(self, app_dir: str, studies: str, conf: dict[str, str]) -> None:
        self.bundle = Bundle(conf.get("bundle") or os.path.join(app_dir, "bundle"))
        super().__init__(
            app_dir=app_dir,
            studies=studies,
            conf=conf,
            name="Segmentation from boxes",
            description="Learns masks from bounding boxes and corrected masks",
            version=monai_bbox_mil.__version__,
        )

    def init_infers(self) -> dict[str, InferTask]:
        """Predictions by name."""
        return {
            "segmentation": BoxInferTask(self.bundle, self.conf),
            "box_prompt": BoxInferTask(self.bundle, self.conf, InferType.DEEPGROW),
        }

    def init_trainers(self) -> dict[str, TrainTask]:
        """Trainings by name."""
        return {"segmentation": BoxTrainTask(self.bundle, self.conf)}

    def init_strategies(self) -> dict[str, Strategy]:
        """Ways to choose the next image, by name."""
        return {SCORE: LowestBoxIoU(), "random": Random()}

    def init_scoring_methods(self) -> dict[str, ScoringMethod]:
        """Scorings by name."""
        train: Any = ConfigParser.load_config_file(str(self.bundle.root / "configs" / "train.yaml"))
        slice_dim = train["slice_dim"] if train["spatial_dims"] == 2 else None
        return {SCORE: BoxIoUScoring(BoxInferTask(self.bundle, self.conf), slice_dim, train["box_classes"])}

    def infer(self, request: dict[str, Any], datastore: Datastore | None = None) -> dict[str, Any]:
        """As MONAI Label does it, but a request that cannot be met is answered by the reason.

        Raises:
            HTTPException: 404 for an unknown image, 400 for a wrong parameter, 500 before the first training.
        """
        image = request["image"]
        if isinstance(image, str) and not os.path.exists(image) and image not in self.datastore().list_images():
            raise HTTPException(404, f"There is no image {image!r} in the datastore.")
        try:
            result: dict[str, Any] = super().infer(request, datastore)
        except MONAILabelException as error:
            status = 400 if error.error == MONAILabelError.INVALID_INPUT else 500
            raise HTTPException(status, error.msg) from error
        return result
