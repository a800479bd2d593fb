# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
"""Two objects in a DICOM series, and what tests of its annotations ask of them."""

from __future__ import annotations

import numpy as np

from monai_bbox_mil.annotations import read_boxes
from monai_bbox_mil.boxes import pack_boxes, snap_boxes
from tests.dicom_files import to_patient, trace

CLASSES = ("organ", "lesion")
SHAPE = (20, 16, 6)
EDGE, CENTRE = 0.5, 1 - 1e-6


def make_masks() -> np.ndarray:
    """Organ and lesion ``(*SHAPE, 2)``: bent, single pixels, at the rim, neighbours over a corner, in a hole."""
    masks = np.zeros((*SHAPE, 2), dtype=bool)
    organ, lesion = masks[..., 0], masks[..., 1]
    organ[2:9, 3:12, 1:4] = True
    organ[5:8, 5:9, 2] = False
    organ[6, 7, 2] = True
    organ[12:19, 2:4, 3] = organ[12:14, 2:14, 3] = True
    organ[0:3, 14:16, 0] = True
    lesion[4:6, 4:6, 2] = lesion[6:9, 6:8, 2] = True
    lesion[19, 15, 5] = lesion[10, 0, 1] = lesion[15, 5:11, 5] = True
    return masks


MASKS = make_masks()


def file_boxes(path, image, classes=CLASSES, min_size=1) -> list[list[float]]:
    """Rows of the box tensor that a file gives for an image, in order."""
    boxes, channels = read_boxes(path, image, classes, min_size=min_size)
    return sorted(pack_boxes(snap_boxes(boxes), channels).tolist())


def contours(slices, level=CENTRE) -> dict[str, list[np.ndarray]]:
    """Contours of both masks by their ROI's name, mm LPS."""
    return {
        name: [to_patient(slices, index, line) for index, line in trace(MASKS[..., channel], level)]
        for channel, name in enumerate(CLASSES)
    }


def square(slices, index=2, first=(4, 5), last=(8, 9)) -> np.ndarray:
    """Rectangle through the centres of two pixels."""
    (a, b), (c, d) = first, last
    return to_patient(slices, index, np.array([[a, b], [c, b], [c, d], [a, d]], dtype=float))


# The row of the box tensor that it leads to.
SQUARE = [4.0, 5.0, 2.0, 9.0, 10.0, 3.0, 0.0]
