# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
"""Where boxes come to lie: against the boxes of masks that went through the same transforms."""

from __future__ import annotations

import math
import warnings
from itertools import permutations, product

import nibabel
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from monai.transforms import (
    BorderPad,
    CenterSpatialCrop,
    Compose,
    Flip,
    LoadImage,
    Orientation,
    Resize,
    Rotate90,
    Spacing,
    SpatialCrop,
    SqueezeDim,
    Transform,
)
from PIL import Image

from monai_bbox_mil.annotations import boxes_from_world, boxes_to_world, read_boxes
from tests.annotations.annotations import (
    AFFINE,
    BOX,
    CLASSES,
    FILES,
    make_image,
    rotation,
    tight_box,
    write,
)

CODES_3D = ["".join(code) for axes in permutations(("RL", "AP", "SI")) for code in product(*axes)]
CODES_2D = ["".join(code) for axes in permutations(("RL", "AP")) for code in product(*axes)]


def world_annotation(box, affine) -> dict:
    return {"box": boxes_to_world(torch.tensor([box]), affine), "space": "world"}


@pytest.mark.parametrize("code", CODES_3D)
def test_3d_orientations_are_exact(code):
    assert len(CODES_3D) == 48
    mask = Orientation(code, labels=None)(make_image(box=BOX))
    expected = [[float(value) for value in tight_box(mask)]]
    assert read_boxes([BOX], mask)[0].tolist() == expected
    assert read_boxes(world_annotation(BOX, AFFINE), mask)[0].tolist() == expected


@pytest.mark.parametrize("size", [4, 3])
@pytest.mark.parametrize("code", CODES_2D)
def test_2d_orientations_are_exact(code, size):
    """With the 4x4 affine of NIfTI and the 3x3 one that ITK gives for a 2D file."""
    assert len(CODES_2D) == 8
    affine = torch.diag(torch.tensor([-2.0, 3, 5, 1], dtype=torch.float64)) if size == 4 else None
    affine = torch.diag(torch.tensor([-2.0, 3, 1], dtype=torch.float64)) if affine is None else affine
    mask = Orientation(code, labels=None)(make_image((20, 16), [4, 3, 10, 8], affine))
    expected = [[float(value) for value in tight_box(mask)]]
    assert read_boxes([[4, 3, 10, 8]], mask)[0].tolist() == expected
    world = boxes_to_world(torch.tensor([[4, 3, 10, 8]]), affine[[0, 1, -1]][:, [0, 1, -1]])
    assert read_boxes({"box": world, "space": "world"}, mask)[0].tolist() == expected


@pytest.mark.parametrize("start", CODES_3D[::7])
def test_file_in_any_orientation(start):
    """The file itself lies turned; its index space is what index boxes mean."""
    turned = Orientation(start, labels=None)(make_image(box=BOX))
    own = tight_box(turned)
    loaded = make_image(tuple(turned.shape[1:]), own, torch.as_tensor(turned.affine))
    mask = Compose([Orientation("PIR", labels=None), Rotate90(k=1, spatial_axes=(0, 2)), Flip([0, 1])])(loaded)
    assert read_boxes([own], mask)[0].tolist() == [[float(value) for value in tight_box(mask)]]


def test_oblique_affine_stays_exact_through_flips():
    affine = rotation(25) @ AFFINE
    mask = Compose([Flip([0, 2]), Rotate90(k=1)])(make_image(box=BOX, affine=affine))
    assert read_boxes([BOX], mask)[0].tolist() == [[float(value) for value in tight_box(mask)]]


@pytest.mark.parametrize(
    ("transform", "tolerance"),
    [
        (Resize((40, 32, 24), mode="nearest"), 1e-4),
        (Resize((10, 16, 6), mode="nearest"), 0.501),
        (Resize((33, 21, 17), mode="nearest"), 0.501),
        (Spacing((1.0, 1.0, 1.0), mode="nearest"), 0.501),
        (Spacing((1.3, 2.7, 1.9), mode="nearest"), 0.501),
        (SpatialCrop(roi_start=(2, 1, 1), roi_end=(19, 12, 9)), 1e-4),
        (SpatialCrop(roi_start=(6, 5, 3), roi_end=(9, 7, 20)), 1e-4),
        (CenterSpatialCrop((10, 10, 10)), 1e-4),
        (BorderPad([1, 2, 3, 0, 5, 4]), 1e-4),
        (Compose([Orientation("PSL", labels=None), Spacing((2, 1, 2), mode="nearest"), CenterSpatialCrop(12)]), 0.501),
    ],
    ids=[
        *("resize-double", "resize-half", "resize-odd", "spacing-1mm", "spacing-odd"),
        *("crop-around", "crop-through", "crop-center", "pad", "orientation-spacing-crop"),
    ],
)
def test_box_follows_the_mask(transform: Transform, tolerance: float):
    """Nearest neighbour sampling keeps a voxel if its centre is in the box, so edges differ by half a voxel at most."""
    mask = transform(make_image(box=BOX))
    for annotation in ([BOX], world_annotation(BOX, AFFINE)):
        boxes, _ = read_boxes(annotation, mask)
        torch.testing.assert_close(boxes[0], torch.tensor(tight_box(mask)).float(), atol=tolerance, rtol=0)


def test_oblique_resampling_gives_the_enclosing_box():
    affine = rotation(30) @ torch.diag(torch.tensor([1.0, 1, 2, 1], dtype=torch.float64))
    image = make_image((40, 40, 12), [10, 12, 2, 30, 26, 6], affine)
    mask = Spacing((1, 1, 2), diagonal=True, mode="nearest", padding_mode="zeros")(image)
    box = read_boxes([[10, 12, 2, 30, 26, 6]], mask)[0][0]
    found = torch.tensor(tight_box(mask)).float()
    assert (box[:3] <= found[:3] + 0.51).all() and (box[3:] >= found[3:] - 0.51).all()
    # The corners of a turned rectangle are thin: sampling loses up to a voxel and a half of them.
    torch.testing.assert_close(box, found, atol=1.5, rtol=0)
    # 20 x 14 voxels of 1 mm turned by 30 degrees
    width = 20 * math.cos(math.pi / 6) + 14 * math.sin(math.pi / 6)
    assert (box[3] - box[0]).item() == pytest.approx(width, abs=1e-3)


def test_pending_lazy_transforms_count_as_done():
    done = Flip(0)(make_image(box=BOX))
    pending = Flip(0, lazy=True)(make_image(box=BOX))
    assert torch.equal(torch.as_tensor(pending.affine), AFFINE)
    assert read_boxes([BOX], pending)[0].tolist() == read_boxes([BOX], done)[0].tolist()


@settings(max_examples=50, deadline=None)
@given(
    axes=st.permutations(range(3)),
    scale=st.lists(st.floats(0.2, 5) | st.floats(-5, -0.2), min_size=3, max_size=3),
    offset=st.lists(st.floats(-300, 300), min_size=3, max_size=3),
    low=st.lists(st.integers(-5, 300), min_size=3, max_size=3),
    size=st.lists(st.integers(1, 300), min_size=3, max_size=3),
)
def test_world_round_trip(axes, scale, offset, low, size):
    affine = torch.eye(4, dtype=torch.float64)
    affine[:3, :3] = torch.diag(torch.tensor(scale, dtype=torch.float64))[list(axes)]
    affine[:3, 3] = torch.tensor(offset)
    boxes = torch.tensor([[*low, *(a + b for a, b in zip(low, size, strict=True))]], dtype=torch.float64)
    world = boxes_to_world(boxes, affine)
    torch.testing.assert_close(boxes_from_world(world, affine), boxes, atol=1e-6, rtol=0)
    volume = torch.tensor(size, dtype=torch.float64).prod() * torch.det(affine).abs()
    torch.testing.assert_close((world[0, 3:] - world[0, :3]).prod(), volume)


@pytest.mark.parametrize("reader", ["NibabelReader", "ITKReader"])
def test_nifti_from_both_readers(tmp_path, reader):
    nibabel.save(nibabel.Nifti1Image(make_image(box=BOX)[0].numpy(), AFFINE.numpy()), tmp_path / "case1.nii.gz")
    image = LoadImage(reader=reader, ensure_channel_first=True)(tmp_path / "case1.nii.gz")
    mask = Orientation("SPR", labels=None)(image)
    for name in ("detection.json", "table.csv", "roi.mrk.json"):
        boxes, _ = read_boxes(FILES / name, mask, CLASSES)
        torch.testing.assert_close(boxes[0], torch.tensor(tight_box(mask)).float(), atol=1e-4, rtol=0)


def test_png_has_no_original_affine(tmp_path):
    """MONAI's PIL reader stores no affine: after a flip the current one must not pass for the file's."""
    pixels = np.zeros((16, 20), np.uint8)
    pixels[3:8, 4:10] = 1
    Image.fromarray(pixels).save(tmp_path / "slice1.png")
    loaded = LoadImage(ensure_channel_first=True)(tmp_path / "slice1.png")
    assert "original_affine" not in loaded.meta
    for mask in (loaded, Flip(0)(loaded), Compose([Rotate90(), Resize((32, 40), mode="nearest")])(loaded)):
        for name in ("coco.json", "yolo.txt", "cvat.xml", "label_studio.json"):
            boxes, _ = read_boxes(FILES / name, mask, CLASSES)
            torch.testing.assert_close(boxes[0], torch.tensor(tight_box(mask)).float(), atol=1e-4, rtol=0)


def test_2d_nifti_slice_that_lies_sagittal(tmp_path):
    """The 2x2 part of its affine is singular; the box needs the whole matrix."""
    affine = np.array([[0, 0, 3.0, 1], [-2, 0, 0, 2], [0, 1, 0, 3], [0, 0, 0, 1]])
    pixels = make_image((20, 16), [4, 3, 10, 8])[0].numpy()
    nibabel.save(nibabel.Nifti1Image(pixels, affine), tmp_path / "slice1.nii")
    mask = Flip(1)(LoadImage(ensure_channel_first=True)(tmp_path / "slice1.nii"))
    assert mask.ndim == 3
    assert read_boxes([[4, 3, 10, 8]], mask)[0].tolist() == [[4, 8, 10, 13]]
    world = {"box": [[-1, -17, 5.5, 2, -5, 10.5]], "space": "world"}
    assert read_boxes(world, mask)[0].tolist() == [[4, 8, 10, 13]]
    with pytest.raises(ValueError, match="a 2D box in world coordinates needs an axial slice"):
        read_boxes({"box": [[0, 0, 1, 1]], "space": "world"}, mask)


def test_squeezed_slice_keeps_its_box():
    """SqueezeDim makes the affine 3x3 and leaves the original one 4x4."""
    affine = AFFINE.clone()
    affine[2, 3] = 40
    mask = Compose([Flip(0), SqueezeDim(-1)])(make_image((20, 16, 1), [4, 3, 0, 10, 8, 1], affine))
    assert mask.affine.shape == (3, 3)
    assert read_boxes([[4, 3, 10, 8]], mask)[0].tolist() == [[float(value) for value in tight_box(mask)]]


def test_thick_original_of_a_single_slice():
    """A 2D box on one slice cut out of a volume means that slice."""
    image = SpatialCrop(roi_start=(0, 0, 7), roi_end=(20, 16, 8))(make_image())
    assert read_boxes([[4, 3, 10, 8]], image)[0].tolist() == [[4, 3, 0, 10, 8, 1]]


def test_crop_clips_and_drops_with_a_warning(tmp_path):
    image = SpatialCrop(roi_start=(0, 0, 0), roi_end=(10, 16, 12))(make_image())
    content = {"box": [BOX, [8, 0, 0, 14, 2, 2], [10, 0, 0, 14, 2, 2]], "label": [0, 1, 2]}
    path = write(tmp_path / "a.json", content)
    with pytest.warns(
        UserWarning, match=r"a\.json: 1 of 3 boxes lie outside of .*case1.*cropping.*dropped: box\[2\]\."
    ):
        boxes, classes = read_boxes(path, image)
    assert boxes.tolist() == [BOX, [8, 0, 0, 10, 2, 2]] and classes.tolist() == [0, 1]


def test_box_that_touches_the_crop_leaves_no_sliver():
    """World coordinates in a file are rounded: here the edges overlap by 0.0001 mm, which is no voxel."""
    image = SpatialCrop(roi_start=(0, 4, 0), roi_end=(20, 16, 12))(make_image())
    touching = boxes_to_world(torch.tensor([[0, 0, 0, 3, 4, 4]]), AFFINE)
    touching[0, 4] += 1e-4
    with pytest.warns(UserWarning, match="1 of 1 boxes"):
        boxes, _ = read_boxes({"box": touching, "space": "world"}, image)
    assert boxes.shape == (0, 6)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (
            [[20, 0, 0, 25, 2, 2]],
            r"\(20, 16, 12\) voxels in its file, got \[20\.0, 0\.0, 0\.0, 25\.0, 2\.0, 2\.0\] voxels",
        ),
        (
            {"box": [[-31, -5, 9.5, -19, 5, 21.5]], "space": "world"},
            r"spans \[-1\.0, -11\.0, 3\.5, 39\.0, 21\.0, 39\.5\] mm RAS in its file, "
            r"got \[-31\.0, -5\.0, 9\.5, -19\.0, 5\.0, 21\.5\] mm RAS",
        ),
    ],
)
@pytest.mark.parametrize("transform", [None, SpatialCrop(roi_start=(1, 1, 1), roi_end=(9, 9, 9)), Flip(0)])
def test_box_outside_of_the_file_is_an_error(source, message, transform):
    image = make_image() if transform is None else transform(make_image())
    with pytest.raises(ValueError, match=r"inline annotation of /data/case1\.nii\.gz, box\[0\]: .*" + message):
        read_boxes(source, image)


def test_box_outside_of_a_file_of_unknown_size_is_dropped():
    image = Flip(0)(make_image(spatial_shape=None))
    with pytest.warns(UserWarning, match="1 of 1 boxes"):
        assert read_boxes([[20, 0, 0, 25, 2, 2]], image)[0].shape == (0, 6)


def test_box_inside_raises_no_warning():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        image = make_image()
        read_boxes([BOX], image)
