# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
"""DICOM that other software wrote (QIICR/dcmqi), where its copy lies beside the project."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from monai_bbox_mil.annotations import read_boxes
from monai_bbox_mil.transforms import LoadCheckedImage

pytest.importorskip("highdicom", reason="the extra dicom is not installed")

PAIRS = [
    ("liver.dcm", "liver_seg.nrrd", "ct-3slice"),
    ("small/seg/label.seg", "small/nrrd/label.nrrd", "small/image"),
    ("small/seg/label.seg", "small/nrrd/label.nrrd", "small/multiframe/mf.dcm"),
    ("sparse-labelmap-noppv.dcm", "sparse_labelmap_noppv_seg.nrrd", "small/image"),
]
# Segments that overlap, and where their masks are: file and value.
OVERLAPPING = {"GREEN": (1, 1), "ORANGE": (2, 2), "PURPLE": (3, 3), "LIGHT_BLUE": (1, 4), "DARK_BLUE": (1, 5)}


def mask_boxes(mask, least=1, most=np.inf) -> list[list[float]]:
    """Boxes of each slice's components of ``least`` to ``most`` pixels."""
    found = []
    for z in range(mask.shape[2]):
        components, _ = ndimage.label(mask[:, :, z])
        sizes = np.bincount(components.ravel())[1:]
        for size, (x, y) in zip(sizes, ndimage.find_objects(components), strict=True):
            if least <= size <= most:
                found.append([x.start, y.start, z, x.stop, y.stop, z + 1])
    return sorted(found)


@pytest.mark.parametrize(("seg", "mask", "image"), PAIRS)
def test_a_seg_has_the_boxes_of_the_mask_that_says_what_it_means(real_data, seg, mask, image):
    folder = real_data / "dicom"
    image, mask = LoadCheckedImage(1)(folder / image), LoadCheckedImage(1)(folder / mask)
    assert np.allclose(image.affine, mask.affine, atol=1e-4)
    values = mask[0].numpy() > 0
    boxes, classes = read_boxes(folder / seg, image)
    assert sorted(boxes[classes == 0].tolist()) == mask_boxes(values, least=2)
    assert sorted(boxes[classes == -2].tolist()) == mask_boxes(values, most=1)
    boxes, classes = read_boxes(folder / seg, image, min_size=1)
    assert sorted(boxes.tolist()) == mask_boxes(values)
    assert set(classes.tolist()) == {0}


def test_segments_that_overlap(real_data):
    folder = real_data / "dicom"
    image = LoadCheckedImage(1)(folder / "ct-3slice")
    boxes, classes = read_boxes(folder / "partial_overlaps.dcm", image, list(OVERLAPPING))
    for channel, (number, value) in enumerate(OVERLAPPING.values()):
        mask = LoadCheckedImage(1)(folder / f"partial_overlaps-{number}.nrrd")[0].numpy()
        assert sorted(boxes[classes == channel].tolist()) == mask_boxes(mask == value) != []
