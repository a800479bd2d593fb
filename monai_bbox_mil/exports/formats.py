# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
"""The table of exports. A new one is a class, and a row here."""

from __future__ import annotations

import os
from collections.abc import Sequence

from monai_bbox_mil.exports.coco import CocoExport, CocoRunLengthExport
from monai_bbox_mil.exports.csv_table import TableExport
from monai_bbox_mil.exports.cvat import CvatExport, CvatMaskExport
from monai_bbox_mil.exports.dicom_seg import DicomSegExport
from monai_bbox_mil.exports.interface import Export
from monai_bbox_mil.exports.label_studio import LabelStudioBrushExport, LabelStudioExport
from monai_bbox_mil.exports.seg_nrrd import SegNrrdExport
from monai_bbox_mil.exports.slicer_rois import SlicerRoiExport
from monai_bbox_mil.exports.yolo import YoloExport, YoloSegmentationExport

__all__ = ["EXPORTS", "make_exports"]

EXPORTS: dict[str, type[Export]] = {
    each.name: each
    for each in (
        TableExport,
        CocoExport,
        CocoRunLengthExport,
        YoloExport,
        YoloSegmentationExport,
        SlicerRoiExport,
        SegNrrdExport,
        DicomSegExport,
        CvatExport,
        CvatMaskExport,
        LabelStudioExport,
        LabelStudioBrushExport,
    )
}


def make_exports(
    names: str | Sequence[str],
    output_dir: str | os.PathLike[str],
    class_names: Sequence[str],
    data_root_dir: str | os.PathLike[str] = "",
) -> list[Export]:
    """Make the exports of a run.

    Args:
        names: of :data:`EXPORTS`, as a list or separated by commas.
        output_dir: folder to write to.
        class_names: names of the classes.
        data_root_dir: folder that all images lie in, at any depth.

    Returns:
        one export per name, each once. Give each prediction to ``add``, and call ``finish`` at the end.

    Raises:
        ValueError: for an unknown name, or names of classes that a format cannot hold.

    Example:
        >>> [each.name for each in make_exports("coco, yolo", "masks", ["lesion"])]
        ['coco', 'yolo']
    """
    wanted = [name.strip() for name in (names.split(",") if isinstance(names, str) else names)]
    wanted = [name for name in dict.fromkeys(wanted) if name]
    unknown = [name for name in wanted if name not in EXPORTS]
    if unknown:
        raise ValueError(f"export: expected names among {', '.join(EXPORTS)}, got {', '.join(map(repr, unknown))}.")
    return [EXPORTS[name](output_dir, class_names, data_root_dir) for name in wanted]
