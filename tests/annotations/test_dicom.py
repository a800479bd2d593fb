# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
"""Boxes of RTSTRUCT and SEG against the boxes of the mask that they were made of."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch
from monai.transforms import Compose, Flip, LoadImage, Orientation, Rotate90, SaveImage, Spacing, SpatialCrop

from monai_bbox_mil.annotations import read_boxes
from monai_bbox_mil.annotations.outlines import slice_box
from monai_bbox_mil.boxes import pack_boxes, snap_boxes
from monai_bbox_mil.transforms import MaskToBoxTensor
from tests.dicom_files import ORIENTATIONS, SPACING_MM, to_patient, write_rtstruct, write_seg, write_series
from tests.dicom_scene import CENTRE, CLASSES, EDGE, MASKS, SHAPE, SQUARE, contours, file_boxes, square

EVERY = pytest.mark.parametrize("series", [(o, order) for o in ORIENTATIONS for order in (1, -1)], indirect=True)


def mask_boxes(masks) -> list[list[float]]:
    """Boxes of each slice of a one-hot mask."""
    return sorted(MaskToBoxTensor(slice_dim=-1)(masks).tolist())


def as_loaded(image, slices) -> np.ndarray:
    """The masks ``(2, *SHAPE)`` in the order of slices in which MONAI loads the series."""
    first = torch.linalg.inv(image.affine) @ torch.tensor(
        [*np.array(slices[0].ImagePositionPatient) * [-1, -1, 1], 1.0]
    )
    masks = MASKS if abs(float(first[2])) < 1e-3 else MASKS[:, :, ::-1]
    return np.moveaxis(masks, -1, 0).copy()


# ----------------------------------------------------------------------------- the series itself
@EVERY
def test_monai_loads_a_series_where_its_headers_say(series):
    image, slices, _ = series
    assert image.shape == (1, *SHAPE)
    for index in (0, 4):
        for pixel in ((0, 0), (19, 0), (3, 15)):
            point = to_patient(slices, index, np.array([pixel], dtype=float))[0] * [-1, -1, 1]
            voxel = torch.linalg.inv(image.affine) @ torch.tensor([*point, 1.0], dtype=torch.float64)
            where = voxel[:3].round().long().tolist()
            assert torch.allclose(voxel[:3], torch.tensor(where, dtype=torch.float64), atol=1e-4)
            value = np.frombuffer(slices[index].PixelData, np.uint16).reshape(SHAPE[1::-1])[pixel[1], pixel[0]]
            assert int(image[(0, *where)]) == int(value)


def test_slices_are_ordered_by_position_not_by_name_or_number(tmp_path):
    values = np.arange(np.prod(SHAPE)).reshape(SHAPE) % 1000
    write_series(tmp_path / "a", values, numbers=[4, 1, 6, 2, 5, 3])
    for index in range(6):
        (tmp_path / "a" / f"{index:03d}.dcm").rename(tmp_path / "a" / "dbface"[index])
    image = LoadImage(ensure_channel_first=True)(tmp_path / "a")
    assert np.array_equal(image[0].numpy(), values)
    assert image.affine.diag().abs().tolist() == pytest.approx([*SPACING_MM, 1])


# ----------------------------------------------------------------------------- boxes
@EVERY
@pytest.mark.parametrize("kind", ["BINARY", "LABELMAP", "FRACTIONAL"])
def test_seg_gives_the_boxes_of_its_mask(series, tmp_path, kind):
    image, slices, _ = series
    masks = MASKS.copy()
    if kind == "LABELMAP":  # which cannot hold both
        masks[..., 0] &= ~masks[..., 1]
    write_seg(tmp_path / "seg.dcm", slices, masks, CLASSES, kind)
    expected = as_loaded(image, slices)
    if kind == "LABELMAP":
        expected[0] &= ~expected[1]
    boxes = file_boxes(tmp_path / "seg.dcm", image)
    assert len(boxes) >= 10
    assert boxes == mask_boxes(expected)


@EVERY
@pytest.mark.parametrize(("level", "decimals"), [(CENTRE, 6), (EDGE, 6), (CENTRE, 1), (EDGE, 1)])
def test_rtstruct_gives_the_boxes_of_its_mask(series, tmp_path, level, decimals):
    """Contours through the rim's centres and along its edges alike, even where they are rounded to 0.1 mm."""
    image, slices, _ = series
    write_rtstruct(tmp_path / "rs.dcm", slices, contours(slices, level), decimals)
    assert file_boxes(tmp_path / "rs.dcm", image) == mask_boxes(as_loaded(image, slices))


@EVERY
def test_the_masks_compared_with_are_as_monai_loads_them(series):
    image, slices, mask = series
    organ, lesion = as_loaded(image, slices)
    assert np.array_equal(mask[0].numpy(), np.where(lesion, 2, organ))


@pytest.mark.parametrize("series", [("axial", 1), ("oblique", -1)], indirect=True)
@pytest.mark.parametrize(
    "moves",
    [
        [Flip(0), Rotate90(1, (0, 1))],
        [Orientation("RAS", labels=None)],
        [Spacing((1.4, 0.55, -1)), Flip(2)],
        [SpatialCrop(roi_start=(2, 0, 1), roi_end=(20, 13, 6))],
    ],
)
@pytest.mark.parametrize("kind", ["rs", "seg"])
@pytest.mark.filterwarnings("ignore:.*lie outside of:UserWarning")
def test_dicom_boxes_follow_the_image_as_those_of_other_formats_do(series, tmp_path, moves, kind):
    image, slices, _ = series
    rows = MaskToBoxTensor(slice_dim=-1)(as_loaded(image, slices))
    write_rtstruct(tmp_path / "rs.dcm", slices, contours(slices))
    write_seg(tmp_path / "seg.dcm", slices, MASKS, CLASSES)
    moved = Compose(moves)(image)
    boxes, channels = read_boxes({"box": rows[:, :-1], "label": rows[:, -1].long()}, moved)
    assert file_boxes(tmp_path / f"{kind}.dcm", moved) == sorted(pack_boxes(snap_boxes(boxes), channels).tolist())


def test_flips_and_turns_keep_boxes_tight(series, tmp_path):
    image, slices, _ = series
    write_seg(tmp_path / "seg.dcm", slices, MASKS, CLASSES)
    move = Compose([Flip((0, 2)), Rotate90(3, (0, 1))])
    masks = move(as_loaded(image, slices).astype(np.uint8))
    assert file_boxes(tmp_path / "seg.dcm", move(image)) == mask_boxes(masks)


def test_a_converted_image_takes_the_same_file(series, tmp_path):
    image, slices, _ = series
    save = SaveImage(
        output_dir=tmp_path, output_postfix="", output_ext=".nii.gz", separate_folder=False, print_log=False
    )
    save(image)
    write_rtstruct(tmp_path / "rs.dcm", slices, contours(slices))
    converted = LoadImage(ensure_channel_first=True)(tmp_path / "image.nii.gz")
    assert file_boxes(tmp_path / "rs.dcm", converted) == mask_boxes(as_loaded(image, slices))


def test_one_slice(tmp_path):
    slices = write_series(tmp_path / "image", np.zeros((*SHAPE[:2], 1)))
    write_rtstruct(tmp_path / "rs.dcm", slices, {"organ": [square(slices, 0)]})
    for path in (tmp_path / "image", tmp_path / "image" / "000.dcm"):
        image = LoadImage(ensure_channel_first=True)(path)
        assert file_boxes(tmp_path / "rs.dcm", image) == [[4, 5, 0, 9, 10, 1, 0]]


def test_a_point_and_a_line_are_one_pixel_thick(series, tmp_path):
    image, slices, _ = series
    drawn = [square(slices, 3, (4, 5), (4, 5))[:1], square(slices, 4, (4, 5), (8, 5))[:2]]
    write_rtstruct(tmp_path / "rs.dcm", slices, {"organ": drawn})
    assert file_boxes(tmp_path / "rs.dcm", image) == [[4, 5, 3, 5, 6, 4, 0], [4, 5, 4, 9, 6, 5, 0]]


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (2.0, 6.0, (2, 6)),  # edges
        (2.5, 5.5, (2, 6)),  # centres
        (1.8, 6.2, (2, 6)),  # less than a quarter of the next row is covered
        (1.7, 6.3, (1, 7)),  # more than a quarter
        (2.7, 5.3, (2, 6)),
        (2.8, 5.2, (3, 5)),
        (2.9, 3.0, (2, 3)),  # never nothing
        (2.8, 3.2, (3, 4)),
    ],
)
def test_a_row_counts_when_a_quarter_of_it_is_covered(low, high, expected):
    points = torch.tensor([[low, 1, 0.5], [high, 1, 0.5], [high, 4, 0.5]], dtype=torch.float64)
    _, corners = slice_box(points, 2, "")
    assert (corners[0, 0].item(), corners[-1, 0].item()) == expected


# ----------------------------------------------------------------------------- classes
def test_classes_by_name_label_or_number(series, tmp_path):
    image, slices, _ = series
    write_rtstruct(tmp_path / "rs.dcm", slices, {"lesion": [square(slices)], " organ ": [square(slices, 1)]})
    boxes = [[4, 5, 1, 9, 10, 2, 0], [4, 5, 2, 9, 10, 3, 1]]
    assert file_boxes(tmp_path / "rs.dcm", image) == boxes
    write_seg(tmp_path / "seg.dcm", slices, MASKS, CLASSES)
    by_label = file_boxes(tmp_path / "seg.dcm", image)
    assert file_boxes(tmp_path / "seg.dcm", image, (1, 2)) == by_label
    assert file_boxes(tmp_path / "seg.dcm", image, ("1", "lesion")) == by_label


def test_what_is_no_class_is_left_out_with_a_warning(series, tmp_path):
    image, slices, _ = series
    write_rtstruct(tmp_path / "rs.dcm", slices, {"BODY": [square(slices, 1)], "organ": [square(slices)]})
    with pytest.warns(UserWarning, match=r"rs\.dcm: left out the ROIs \['BODY'\], which are not among the classes"):
        assert file_boxes(tmp_path / "rs.dcm", image, ("organ",)) == [SQUARE]
    write_seg(tmp_path / "seg.dcm", slices, MASKS, CLASSES)
    both = file_boxes(tmp_path / "seg.dcm", image)
    with pytest.warns(UserWarning, match=r"seg\.dcm: left out the segments \['organ'\]"):
        assert file_boxes(tmp_path / "seg.dcm", image, ("lesion",)) == [[*r[:-1], 0] for r in both if r[-1] == 1]


def test_the_only_roi_needs_no_class(series, tmp_path):
    image, slices, _ = series
    write_rtstruct(tmp_path / "rs.dcm", slices, {"anything": [square(slices)]})
    assert file_boxes(tmp_path / "rs.dcm", image, None) == [SQUARE]
    write_seg(tmp_path / "seg.dcm", slices, MASKS[..., :1], ["anything"], omit_empty_frames=False)
    organ = [row for row in mask_boxes(as_loaded(image, slices)) if row[-1] == 0]
    assert file_boxes(tmp_path / "seg.dcm", image, None) == organ


def test_open_contours_are_left_out_with_a_warning(series, tmp_path):
    image, slices, _ = series
    write_rtstruct(tmp_path / "points.dcm", slices, {"organ": [square(slices)]}, kind="POINT")
    with (
        pytest.warns(UserWarning, match=r"points\.dcm: left out 1 contours that are not closed \(POINT\)"),
        pytest.raises(
            ValueError, match=r"points\.dcm: expected at least one outline in \['organ'\], got none\. .*empty"
        ),
    ):
        read_boxes(tmp_path / "points.dcm", image, CLASSES)


def test_a_contour_drawn_twice_is_no_hole(series, tmp_path):
    image, slices, _ = series
    write_rtstruct(
        tmp_path / "rs.dcm", slices, {"organ": [square(slices)], "lesion": [square(slices, 2, (5, 6), (7, 8))]}
    )
    assert file_boxes(tmp_path / "rs.dcm", image) == [SQUARE, [5, 6, 2, 8, 9, 3, 1]]
    write_rtstruct(tmp_path / "rs.dcm", slices, {"organ": [square(slices)] * 2})
    assert file_boxes(tmp_path / "rs.dcm", image) == [SQUARE] * 2


def test_a_plain_reading_warns_of_nothing(series, tmp_path):
    image, slices, _ = series
    write_rtstruct(tmp_path / "rs.dcm", slices, contours(slices))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        read_boxes(tmp_path / "rs.dcm", image, CLASSES)
