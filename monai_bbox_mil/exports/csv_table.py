# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
"""Export a table of predictions: sizes, boxes and confidence per image and class."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import pandas as pd

from monai_bbox_mil.csv_tables import write_table
from monai_bbox_mil.exports.interface import OneFile
from monai_bbox_mil.exports.pictures import rounded_score
from monai_bbox_mil.exports.prediction import Prediction

__all__ = ["TableExport"]

_COLUMNS = (
    "image", "class", "label_value", "objects", "voxels", "volume_ml", "mean_confidence", "peak_confidence", "boxes",
)  # fmt: skip


class TableExport(OneFile):
    """Table ``predictions.csv`` with a row per image and class.

    =====================  ==========================================================================================
    column                 content
    =====================  ==========================================================================================
    ``image``              path below ``data_root_dir``, or below the folder that all images share
    ``class``              name
    ``label_value``        value of the class in the mask
    ``objects``            number of objects: voxels that share a side belong to one
    ``voxels``             number of voxels of the mask
    ``volume_ml``          their volume in ml; empty for pictures, which have no millimetres
    ``mean_confidence``    mean probability inside the mask; empty where it is empty
    ``peak_confidence``    largest probability in the whole image, also where no object was found
    ``boxes``              a box per object, separated by semicolons: first voxel, then one after the last voxel
    =====================  ==========================================================================================

    Columns of confidence are empty where probabilities were not given.
    """

    name: ClassVar[str] = "csv"
    file_name: ClassVar[str] = "predictions.csv"

    def _record(self, prediction: Prediction) -> list[dict[str, Any]]:
        rows = []
        volume = prediction.volume_mm3
        for channel, (name, value) in enumerate(zip(prediction.class_names, prediction.label_values, strict=True)):
            found = [each for each in prediction.objects if each.channel == channel]
            voxels = sum(each.voxels for each in found)
            inside = [each.confidence * each.voxels for each in found if each.confidence is not None]
            peak = prediction.peak(channel)
            rows.append(
                {
                    "class": name,
                    "label_value": value,
                    "objects": len(found),
                    "voxels": voxels,
                    "volume_ml": None if volume is None else voxels * volume / 1000,
                    "mean_confidence": rounded_score(sum(inside) / voxels) if inside else None,
                    "peak_confidence": None if peak is None else rounded_score(peak),
                    "boxes": "; ".join(" ".join(map(str, (*each.low, *each.high))) for each in found),
                }
            )
        return rows

    def _write(self, listed: Sequence[tuple[str, Any]], path: Path) -> None:
        rows = [{"image": name, **row} for name, record in listed for row in record]
        numbers = dict.fromkeys(("volume_ml", "mean_confidence", "peak_confidence"), float)
        write_table(path, pd.DataFrame(rows, columns=list(_COLUMNS)).astype(numbers), float_format="%.6g")
