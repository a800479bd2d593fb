# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
"""Training on a MONAI Label server."""

from __future__ import annotations

from typing import Any

import monai.bundle
from monailabel.interfaces.datastore import Datastore
from monailabel.tasks.train.bundle import BundleTrainTask

from monai_bbox_mil.apps.monailabel.bundle import Bundle
from monai_bbox_mil.apps.monailabel.datalist import labelled_items, split_items

__all__ = ["BoxTrainTask"]


class BoxTrainTask(BundleTrainTask):
    """Trains the bundle on all boxes and corrected masks of the datastore, from its present weights on.

    Boxes are learned from as boxes; a corrected mask as the set of its voxels, each a box of its own, which is full
    supervision. Request parameters are those of MONAI Label: ``max_epochs``, ``pretrained``, ``val_split``, ``device``.

    Args:
        bundle: is rewritten: ``models/model.pt`` and ``models/threshold.json``.
        conf: of the server.
    """

    def __init__(self, bundle: Bundle, conf: dict[str, str]) -> None:
        super().__init__(str(bundle.root), conf, load_strict=True)

    def _fetch_datalist(self, request: dict[str, Any], datastore: Datastore) -> list[dict[str, Any]]:
        return labelled_items(datastore)

    def _partition_datalist(
        self, datalist: list[dict[str, Any]], request: dict[str, Any], shuffle: bool = False
    ) -> tuple[list[dict], list[dict]]:
        return split_items(datalist, float(request.get("val_split", 0.2)))

    def _load_checkpoint(self, model_pytorch: str, pretrained: bool, train_handlers: list[Any]) -> None:
        if pretrained:  # MONAI Label's own fails where it is false
            super()._load_checkpoint(model_pytorch, pretrained, train_handlers)

    def run_single_gpu(self, request: dict[str, Any], overrides: dict[str, Any]) -> None:
        """As MONAI Label does it, with ``monailabel.yaml`` on top of ``train.yaml``."""
        configs = [self.bundle_config_path, self.bundle_config_path.replace("train.yaml", "monailabel.yaml")]
        monai.bundle.run(
            run_id=request.get("run_id", "run"),
            meta_file=self.bundle_metadata_path,
            config_file=configs,
            **overrides,
        )
