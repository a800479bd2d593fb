# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
"""What grey values say about boxes, where no mask does."""

from __future__ import annotations

import numpy as np
import pytest

from monai_bbox_mil.check_boxes.contrast import find_contrast_elsewhere


@pytest.mark.parametrize("reverse, expected", [(False, []), (True, ["contrast_elsewhere"])])
def test_reversed_boxes_show_by_the_grey_values_of_many_images(data, reverse, expected):
    rng = np.random.default_rng(0)
    for number in range(24):
        item = data.add(f"image{number}", box=[[0, 0, 0, 0]])
        voxels = rng.integers(0, 200, (40, 30, 1)).astype(np.int16)
        x, y = int(rng.integers(2, 10)), int(rng.integers(2, 20))
        voxels[x : x + 6, y : y + 6] += 300
        data.save(f"image{number}.nii.gz", voxels)
        item["box"] = [[40 - x - 6, y, 40 - x, y + 6] if reverse else [x, y, x + 6, y + 6]]
    result = data.check()
    assert [finding.kind for _, finding in result.all_findings] == expected
    if expected:
        assert "boxes stand out more if x is reversed" in result.findings[0].detail


def test_few_images_prove_nothing_about_contrast():
    rows = [{"": 0.0, "x is reversed": 1.0 + 0.01 * number} for number in range(19)]
    assert find_contrast_elsewhere(rows) is None
    assert find_contrast_elsewhere([*rows, rows[0]]) is not None
