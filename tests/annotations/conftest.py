# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import numpy as np
import pytest
from monai.transforms import LoadImage


@pytest.fixture
def series(tmp_path, request):
    """A DICOM series as MONAI loads it, its slices' headers, and the masks as a label map, loaded in the same way."""
    # Without the extra dicom these skip the test, not every test of this folder.
    from tests.dicom_files import write_series
    from tests.dicom_scene import MASKS, SHAPE

    orientation, order = getattr(request, "param", ("axial", 1))
    values = np.arange(np.prod(SHAPE)).reshape(SHAPE) % 1000
    slices = write_series(tmp_path / "image", values, orientation, order)
    write_series(tmp_path / "mask", np.where(MASKS[..., 1], 2, MASKS[..., 0]), orientation, order)
    image, mask = (LoadImage(ensure_channel_first=True)(tmp_path / name) for name in ("image", "mask"))
    return image, slices, mask
