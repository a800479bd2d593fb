# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
"""ROIs by their numbers: an RTSTRUCT that lacks one, or has one for two ROIs, does not say whose its contours are."""

from __future__ import annotations

import pytest

from monai_bbox_mil.annotations import read_boxes
from tests.dicom_files import pydicom, write_rtstruct
from tests.dicom_scene import CLASSES, square


@pytest.fixture
def two_rois(series, tmp_path):
    image, slices, _ = series
    write_rtstruct(tmp_path / "rs.dcm", slices, {"organ": [square(slices)], "lesion": [square(slices, 3)]})
    return image, tmp_path / "rs.dcm", pydicom.dcmread(tmp_path / "rs.dcm")


def test_one_number_for_two_rois_is_refused(two_rois):
    image, path, file = two_rois
    file.StructureSetROISequence[1].ROINumber = file.StructureSetROISequence[0].ROINumber
    file.save_as(path)
    with pytest.raises(ValueError, match=r"rs\.dcm: expected a number for each ROI, got 7 for 'organ' and 'lesion'"):
        read_boxes(path, image, CLASSES)


@pytest.mark.parametrize(
    ("sequence", "keyword"), [("StructureSetROISequence", "ROINumber"), ("ROIContourSequence", "ReferencedROINumber")]
)
def test_a_number_that_is_missing_is_refused_with_the_name_of_the_file(two_rois, sequence, keyword):
    image, path, file = two_rois
    del file[sequence][1][keyword]
    file.save_as(path)
    with pytest.raises(ValueError, match=rf"rs\.dcm: cannot be read \(AttributeError: .*{keyword}'\); is the file"):
        read_boxes(path, image, CLASSES)
