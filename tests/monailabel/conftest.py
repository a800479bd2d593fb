# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from importlib.util import find_spec

import nibabel
import pytest

from tests.monailabel.phantom import AFFINE, NAMES, make_case

collect_ignore = [] if find_spec("monailabel") else ["dicom.py", "server.py"]


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    """A folder of images."""
    folder = tmp_path_factory.mktemp("images")
    for number, name in enumerate(NAMES):
        nibabel.save(nibabel.Nifti1Image(make_case(number)[0], AFFINE), folder / f"{name}.nii.gz")
    return folder
