# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
"""The app that a MONAI Label server loads."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
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
from monai_bbox_mil.apps.monailabel.paths import PlainNames, PlainSessions, is_upload, with_checks
from monai_bbox_mil.apps.monailabel.requests import infer_request, invalid
from monai_bbox_mil.apps.monailabel.scoring import SCORE, BoxIoUScoring, LowestBoxIoU
from monai_bbox_mil.apps.monailabel.train import BoxTrainTask

__all__ = ["BoxLabelApp"]


class BoxLabelApp(MONAILabelApp):
    """Segmentation from boxes: draw boxes, train, correct the predicted masks, train again.

    ============  ================  ==========================================================================
    kind          name              what
    ============  ================  ==========================================================================
    model         ``segmentation``  masks of a whole image
    model         ``box_prompt``    the mask that fits the box in the parameter ``roi``
    training      ``segmentation``  from the label tags ``boxes`` (box files) and ``final`` (corrected masks)
    scoring       ``box_iou``       how well predictions fit the drawn boxes
    next sample   ``box_iou``       the image with the lowest score first; ``random``
    ============  ================  ==========================================================================

    Args:
        app_dir: folder of the app, a copy of the sample.
        studies: folder or address of the images.
        conf: of the server; ``bundle`` names a bundle other than the app's own.
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
        """Return the predictions by name."""
        return {
            "segmentation": BoxInferTask(self.bundle, self.conf),
            "box_prompt": BoxInferTask(self.bundle, self.conf, InferType.DEEPGROW),
        }

    def init_trainers(self) -> dict[str, TrainTask]:
        """Return the trainings by name."""
        return {"segmentation": BoxTrainTask(self.bundle, self.conf)}

    def init_strategies(self) -> dict[str, Strategy]:
        """Return the strategies for choosing the next image, by name."""
        return {SCORE: LowestBoxIoU(), "random": Random()}

    def init_scoring_methods(self) -> dict[str, ScoringMethod]:
        """Return the scorings by name."""
        train: Any = ConfigParser.load_config_file(str(self.bundle.root / "configs" / "train.yaml"))
        slice_dim = train["slice_dim"] if train["spatial_dims"] == 2 else None
        return {SCORE: BoxIoUScoring(BoxInferTask(self.bundle, self.conf), slice_dim, train["box_classes"])}

    def init_datastore(self) -> Datastore:
        """Return the datastore of the studies, which stays inside its folders."""
        return with_checks(PlainNames, super().init_datastore())

    def _load_sessions(self, load: bool = False) -> Any:
        sessions = super()._load_sessions(load)
        return sessions if sessions is None else with_checks(PlainSessions, sessions)

    def bundle_path(self, model: str) -> str:
        """Return the bundle for any model; otherwise MONAI Label would take a code folder from the request."""
        return str(self.bundle.root)

    def infer(self, request: dict[str, Any], datastore: Datastore | None = None) -> dict[str, Any]:
        """Predict as MONAI Label does, but answer an invalid request with the reason.

        Args:
            request: see :func:`~monai_bbox_mil.apps.monailabel.requests.infer_request`. ``image`` is an id of the
                datastore, or a file that was uploaded with the request or for a session.

        Raises:
            HTTPException: 404 for an unknown image, 400 for an invalid parameter, 500 before the first training.
        """
        with _answered():
            checked = infer_request(request)
            self._check_image(checked.get("image"))
            result: dict[str, Any] = super().infer(checked, datastore)
        return result

    def infer_wsi(self, request: dict[str, Any], datastore: Datastore | None = None) -> dict[str, Any]:
        """Predict like :meth:`infer`: nothing here is cut into tiles."""
        return self.infer(request, datastore)

    def train(self, request: dict[str, Any]) -> dict[str, Any]:
        """Train as MONAI Label does; see :class:`BoxTrainTask` for the parameters of a request.

        Raises:
            HTTPException: 400 for an invalid parameter.
        """
        with _answered():
            result: dict[str, Any] = super().train(request)
        return result

    def _check_image(self, image: Any) -> None:
        if not isinstance(image, str):
            raise invalid("image", "the id of an image, or a file", image)
        if image in self.datastore().list_images():
            return
        folders = [] if self._sessions is None else [self._sessions.store_path]
        if not os.path.exists(image):
            raise HTTPException(404, f"There is no image {image!r} in the datastore.")
        if not is_upload(image, folders if "://" in self.studies else [*folders, self.studies]):
            raise HTTPException(400, f"image: expected an id of the datastore or an upload, got {image!r:.200}.")


@contextlib.contextmanager
def _answered() -> Iterator[None]:
    """Turn MONAI Label's errors, which a server answers with a bare 500, into answers that give the reason."""
    try:
        yield
    except MONAILabelException as error:
        status = 400 if error.error == MONAILabelError.INVALID_INPUT else 500
        raise HTTPException(status, error.msg) from error
