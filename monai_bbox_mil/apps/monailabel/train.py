# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
"""Training on a MONAI Label server."""

from __future__ import annotations

from typing import Any

import monai.bundle
from monailabel.interfaces.datastore import Datastore
from monailabel.interfaces.exception import MONAILabelError, MONAILabelException
from monailabel.tasks.train.bundle import BundleTrainTask

from monai_bbox_mil.apps.monailabel.bundle import Bundle
from monai_bbox_mil.apps.monailabel.datalist import labelled_items, split_items
from monai_bbox_mil.apps.monailabel.requests import TRAIN, train_request
from monai_bbox_mil.runs.last_words import stopped_by

__all__ = ["BoxTrainTask"]


class BoxTrainTask(BundleTrainTask):
    """Train the bundle on all boxes and corrected masks of the datastore, starting from its current weights.

    Boxes are learned from as boxes. A corrected mask is learned from as one box per voxel, which is full supervision.
    The training runs in one process. Request parameters are ``max_epochs``, ``pretrained``, ``val_split`` and
    ``device``, with MONAI Label's meaning; see :func:`~monai_bbox_mil.apps.monailabel.requests.train_request`.

    Args:
        bundle: the training overwrites its ``models/model.pt`` and ``models/threshold.json``.
        conf: of the server.
    """

    def __init__(self, bundle: Bundle, conf: dict[str, str]) -> None:
        super().__init__(str(bundle.root), conf, load_strict=True)

    def config(self) -> dict[str, Any]:
        """Return the parameters that a client may set, with their defaults."""
        return {name: value for name, value in super().config().items() if name in TRAIN}

    def __call__(self, request: dict[str, Any], datastore: Datastore) -> dict[str, Any]:
        """Train.

        Raises:
            MONAILabelException: for a parameter that is unknown or out of range.
            ValueError: when there is nothing to learn from.
        """
        result: dict[str, Any] = super().__call__({**train_request(request), "multi_gpu": False}, datastore)
        return result

    def _fetch_datalist(self, request: dict[str, Any], datastore: Datastore) -> list[dict[str, Any]]:
        return labelled_items(datastore)

    def _partition_datalist(
        self, datalist: list[dict[str, Any]], request: dict[str, Any], shuffle: bool = False
    ) -> tuple[tuple[dict[str, Any], ...], tuple[dict[str, Any], ...]]:
        training, validation = split_items(datalist, request.get("val_split", 0.2))
        # A list would become part of the configuration, and a name in it that begins with "$" would be executed.
        return tuple(training), tuple(validation)

    def _load_checkpoint(self, model_pytorch: str, pretrained: bool, train_handlers: list[Any]) -> None:
        if pretrained:  # MONAI Label's own method fails where it is false
            super()._load_checkpoint(model_pytorch, pretrained, train_handlers)

    def run_single_gpu(self, request: dict[str, Any], overrides: dict[str, Any]) -> None:
        """Train as MONAI Label does, with ``monailabel.yaml`` on top of ``train.yaml``.

        Raises:
            MONAILabelException: when the run fails, with the cause.
        """
        configs = [self.bundle_config_path, self.bundle_config_path.replace("train.yaml", "monailabel.yaml")]
        try:
            monai.bundle.run(
                run_id="run",
                meta_file=self.bundle_metadata_path,
                config_file=configs,
                **overrides,
            )
        except Exception as error:  # clients show only the last lines of the log
            raise MONAILabelException(MONAILabelError.APP_TRAIN_FAILED, stopped_by(error)) from error
