# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
"""Choose the next image to correct: the one whose prediction fits its boxes worst."""

from __future__ import annotations

import json
import logging
from typing import Any

import torch
from monailabel.interfaces.datastore import Datastore
from monailabel.interfaces.tasks.scoring import ScoringMethod
from monailabel.interfaces.tasks.strategy import Strategy

from monai_bbox_mil.apps.monailabel.datalist import BOX_TAG
from monai_bbox_mil.apps.monailabel.infer import BoxInferTask
from monai_bbox_mil.metrics import box_region_iou
from monai_bbox_mil.transforms import LoadBoxes, LoadCheckedImage, PackBoxes

__all__ = ["SCORE", "BoxIoUScoring", "LowestBoxIoU"]

SCORE = "box_iou"
"""Key of the score in the datastore's information on an image."""

logger = logging.getLogger(__name__)


class BoxIoUScoring(ScoringMethod):
    """IoU of the prediction's tight boxes with the drawn boxes, for all images that have boxes.

    The mean over the classes is stored in the image's information under :data:`SCORE`, together with the version of the
    model. So an image is scored again only after a training.

    Args:
        infer: predicts the masks.
        slice_dim: axis along which boxes are drawn slice by slice; ``None`` for boxes around whole objects.
        classes: names of the classes in the box files.
    """

    def __init__(self, infer: BoxInferTask, slice_dim: int | None = -1, classes: list[str] | None = None) -> None:
        super().__init__("Agreement of the prediction's tight boxes with the drawn boxes")
        self.infer = infer
        self.slice_dim = slice_dim
        self.classes = classes

    def __call__(self, request: dict[str, Any], datastore: Datastore) -> dict[str, Any]:
        """Score all images that are not scored yet.

        Returns:
            ``scored`` and ``skipped``, numbers of images; both 0 before the first training, when servers may also ask.
        """
        version, scored, skipped = self.infer.bundle.version, 0, 0
        if version is None:
            return {"scored": 0, "skipped": 0}
        for image_id in sorted(datastore.list_images()):
            labels = datastore.get_labels_by_image_id(image_id)
            if BOX_TAG not in labels:
                continue
            if datastore.get_image_info(image_id).get(f"{SCORE}_version") == version:
                skipped += 1
                continue
            boxes = datastore.get_label_uri(labels[BOX_TAG], BOX_TAG)
            score = self.score(datastore.get_image_uri(image_id), boxes)
            datastore.update_image_info(image_id, {SCORE: score, f"{SCORE}_version": version})
            logger.info("%s: %s %.3f", image_id, SCORE, score)
            scored += 1
        return {"scored": scored, "skipped": skipped}

    def score(self, image: str, boxes: str) -> float:
        """Return the mean IoU over the classes that are drawn or predicted; 1 where there is none."""
        _, data = self.infer.task()({"image": image, "skip_writer": True, "logging": "ERROR"})
        volume = LoadCheckedImage()(image)
        corners, classes = LoadBoxes(self.classes)(boxes, volume)
        given = PackBoxes()(corners, classes, volume.shape[1:])
        label = torch.as_tensor(data["pred"]).reshape(volume.shape[1:])
        values = list(self.infer.bundle.labels.values())
        iou = box_region_iou(torch.stack([label == value for value in values]), given, self.slice_dim)
        return float(torch.nan_to_num(iou.nanmean(), nan=1.0))


class LowestBoxIoU(Strategy):
    """Images without a corrected mask: the lowest score first, then images without boxes, which have no score."""

    def __init__(self) -> None:
        super().__init__("The image whose prediction fits its drawn boxes worst")

    def __call__(self, request: dict[str, Any], datastore: Datastore) -> dict[str, Any] | None:
        """Return the ``id`` of the image and its score, or ``None`` when all images are corrected."""
        images = datastore.get_unlabeled_images(request.get("label_tag"), request.get("labels"))
        found = {image: datastore.get_image_info(image).get(SCORE) for image in sorted(images)}
        # Clients may write anything into an image's information.
        scores = {image: score if isinstance(score, float) else None for image, score in found.items()}
        if not scores:
            return None
        image = min(scores, key=lambda i: (scores[i] is None, scores[i] or 0.0))
        logger.info("next: %s of %s", image, json.dumps(scores))
        return {"id": image, SCORE: scores[image]}
