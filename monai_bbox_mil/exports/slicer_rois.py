# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
"""Export predictions to 3D Slicer's markups: one ROI per object."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from matplotlib.colors import to_rgb
from numpy.typing import NDArray

from monai_bbox_mil.annotations.geometry import LPS_TO_RAS, edge_affine
from monai_bbox_mil.exports.interface import FilePerImage
from monai_bbox_mil.exports.prediction import PredictedObject, Prediction
from monai_bbox_mil.visualize import class_color

__all__ = ["SlicerRoiExport"]

_SCHEMA = (
    "https://raw.githubusercontent.com/slicer/slicer/master/Modules/Loadable/Markups/Resources/Schema/"
    "markups-schema-v1.0.3.json#"
)
# An ROI has right angles. Headers round the directions of axes to a few digits; a tilted gantry is far above.
_RIGHT_ANGLE = 1e-3


class SlicerRoiExport(FilePerImage):
    """3D Slicer ROIs, ``slicer_rois/NAME.mrk.json``: per object a box along the axes of the image, named as its class.

    ROIs of an oblique image are turned like the image. Their boxes are exact. The description of an ROI's point has
    the mean confidence.

    Raises:
        ValueError: for an image whose axes are not at right angles, such as a CT with a tilted gantry.
    """

    name: ClassVar[str] = "slicer_rois"
    suffix: ClassVar[str] = ".mrk.json"
    needs_mm: ClassVar[bool] = True

    def _write(self, prediction: Prediction, path: Path) -> None:
        assert prediction.affine is not None  # checked by add
        to_lps = (LPS_TO_RAS @ edge_affine(torch.as_tensor(prediction.affine))).numpy()
        axes = _right_angles(to_lps, prediction.image)
        # The half sizes of an ROI whose box in voxels is that of the object, even where rounding left axes askew.
        spread = np.abs(np.linalg.inv(to_lps[:3, :3]) @ axes)
        numbers = dict.fromkeys(range(len(self.class_names)), 0)
        markups = []
        for found in prediction.objects:
            numbers[found.channel] += 1
            low, high = (np.array([*ends, filled][:3]) for ends, filled in ((found.low, 0), (found.high, 1)))
            center = to_lps[:3, :3] @ ((low + high) / 2) + to_lps[:3, 3]
            size = np.linalg.solve(spread, (high - low).astype(np.float64))
            markups.append(self._roi(found, numbers[found.channel], center.tolist(), size.tolist(), axes))
        path.write_text(json.dumps({"@schema": _SCHEMA, "markups": markups}, indent=1) + "\n", encoding="utf-8")

    def _roi(
        self, found: PredictedObject, number: int, center: list[float], size: list[float], axes: NDArray[np.float64]
    ) -> dict[str, Any]:
        name = self.class_names[found.channel]
        color = list(to_rgb(class_color(found.channel)))
        point = {
            "id": "1",
            "label": f"{name}-{number}",
            "description": "" if found.confidence is None else f"confidence {found.confidence:.3f}",
            "associatedNodeID": "",
            "position": center,
            "orientation": axes.ravel().tolist(),
            "selected": True,
            "locked": False,
            "visibility": True,
            "positionStatus": "defined",
        }
        return {
            "type": "ROI",
            "name": name,
            "coordinateSystem": "LPS",
            "coordinateUnits": "mm",
            "locked": False,
            "fixedNumberOfControlPoints": False,
            "labelFormat": "%N-%d",
            "lastUsedControlPointNumber": 1,
            "roiType": "Box",
            "center": center,
            "orientation": axes.ravel().tolist(),
            "size": size,
            "insideOut": False,
            "controlPoints": [point],
            "measurements": [],
            "display": {"visibility": True, "color": color, "selectedColor": color},
        }


def _right_angles(to_lps: NDArray[np.float64], image: str) -> NDArray[np.float64]:
    """Return the rotation ``(3, 3)`` whose columns are nearest to an image's axes."""
    directions = to_lps[:3, :3] / np.linalg.norm(to_lps[:3, :3], axis=0)
    if np.linalg.det(directions) < 0:
        directions[:, 2] *= -1  # a box is the same both ways, and an ROI is never mirrored
    left, _, right = np.linalg.svd(directions)
    axes = left @ right
    if np.abs(axes - directions).max() > _RIGHT_ANGLE:
        raise ValueError(
            f"export slicer_rois: expected an image whose axes are at right angles, as those of an ROI are, got {image}"
            ", whose slices are shifted against each other, as by a tilted gantry. Export seg_nrrd instead."
        )
    return np.asarray(axes)
