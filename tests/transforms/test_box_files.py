# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
"""Box annotations against the boxes of masks that went through the same transforms."""

from __future__ import annotations

import json
import math
import warnings
from itertools import permutations, product
from pathlib import Path

import nibabel
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from monai.data import MetaTensor
from monai.transforms import (
    BorderPad,
    CenterSpatialCrop,
    Compose,
    Flip,
    LoadImage,
    Orientation,
    ResampleToMatch,
    Resize,
    Rotate90,
    Spacing,
    SpatialCrop,
    SqueezeDim,
    Transform,
)
from PIL import Image

from monai_bbox_mil.transforms.box_files import read_boxes, survey_boxes
from monai_bbox_mil.transforms.box_geometry import boxes_from_world, boxes_to_world, image_frame

FILES = Path(__file__).parent / "box_files"
CLASSES = ("prostate", "tumour")
SHAPE = (20, 16, 12)
BOX = [4, 3, 2, 10, 8, 6]
WHOLE = [0, 0, 0, 20, 16, 12]
# Left-handed, unequal spacings (mm) and an offset, so that a mixed-up axis, sign or half voxel shows.
AFFINE = torch.tensor([[-2, 0, 0, 38], [0, 2, 0, -10], [0, 0, 3, 5], [0, 0, 0, 1]], dtype=torch.float64)


def make_image(shape=SHAPE, box=None, affine=AFFINE, name="/data/case1.nii.gz", **meta) -> MetaTensor:
    """A mask as ``LoadImage`` would give it: ones in a box."""
    mask = torch.zeros(1, *shape)
    if box is not None:
        mask[(0, *(slice(a, b) for a, b in zip(box[: len(shape)], box[len(shape) :], strict=True)))] = 1
    meta = {"filename_or_obj": name, "original_affine": affine.numpy(), "spatial_shape": np.array(shape), **meta}
    return MetaTensor(mask, affine=affine, meta={key: value for key, value in meta.items() if value is not None})


def tight_box(mask: torch.Tensor) -> list[int]:
    """Half-open box of what is above a half in a mask."""
    where = (mask[0] > 0.5).nonzero()
    return [*where.amin(dim=0).tolist(), *(where.amax(dim=0) + 1).tolist()]


def write(path: Path, content: object) -> Path:
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def roi(**changes) -> dict:
    """A markups file of one ROI that is BOX; a value of None takes the key away."""
    markup = {"type": "ROI", "coordinateSystem": "RAS", "center": [25, 0, 15.5], "size": [12, 10, 12], **changes}
    return {"markups": [{key: value for key, value in markup.items() if value is not None}]}


def coco(bbox=(4, 3, 6, 5), category_id=0, **changes) -> dict:
    """A COCO file of one image and one box."""
    annotation = {"image_id": 1, "bbox": list(bbox), "category_id": category_id}
    return {"images": [{"id": 1, "file_name": "case1.nii.gz"}], "annotations": [annotation], **changes}


# ----------------------------------------------------------------------------- example files
FLAT = {"shape": (20, 16), "affine": torch.eye(4, dtype=torch.float64), "name": "/data/train/slice1.png"}
EXAMPLES = {
    "detection.json": ({}, [BOX, WHOLE]),
    "roi.mrk.json": ({}, [BOX, WHOLE]),
    "table.csv": ({}, [BOX, WHOLE]),
    "coco.json": (FLAT, [[4, 3, 10, 8], [0.5, 1, 20, 15.5]]),
    "yolo.txt": (FLAT, [[4, 3, 10, 8], [0.5, 1, 20, 15.5]]),
}


@pytest.mark.parametrize("name", EXAMPLES)
def test_example_file(name):
    options, expected = EXAMPLES[name]
    boxes, classes = read_boxes(FILES / name, make_image(**options), CLASSES)
    assert boxes.dtype == torch.float32 and classes.dtype == torch.int64
    torch.testing.assert_close(boxes, torch.tensor(expected, dtype=torch.float32))
    assert classes.tolist() == [1, 0]


@pytest.mark.parametrize("name", EXAMPLES)
def test_example_file_follows_a_flip(name):
    options, expected = EXAMPLES[name]
    image = Flip(0)(make_image(**options))
    boxes, _ = read_boxes(str(FILES / name), image, CLASSES)
    flipped = torch.tensor(expected, dtype=torch.float32)
    dims = image.ndim - 1
    flipped[:, [0, dims]] = 20 - flipped[:, [dims, 0]]
    torch.testing.assert_close(boxes, flipped)


@pytest.mark.parametrize("name", ["coco.json", "yolo.txt"])
def test_2d_file_for_a_volume_of_one_slice(name):
    options, expected = EXAMPLES[name]
    boxes, _ = read_boxes(FILES / name, make_image(**{**options, "shape": (20, 16, 1)}), CLASSES)
    expected = [[x, y, 0, a, b, 1] for x, y, a, b in expected]
    torch.testing.assert_close(boxes, torch.tensor(expected, dtype=torch.float32))


# ----------------------------------------------------------------------------- flips, turns, whole orientations
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


def rotation(degrees: float) -> torch.Tensor:
    c, s = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    matrix = torch.eye(4, dtype=torch.float64)
    matrix[:2, :2] = torch.tensor([[c, -s], [s, c]])
    return matrix


def test_oblique_affine_stays_exact_through_flips():
    affine = rotation(25) @ AFFINE
    mask = Compose([Flip([0, 2]), Rotate90(k=1)])(make_image(box=BOX, affine=affine))
    assert read_boxes([BOX], mask)[0].tolist() == [[float(value) for value in tight_box(mask)]]


# ----------------------------------------------------------------------------- resampling, crops and pads
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


# ----------------------------------------------------------------------------- real image files
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
        for name in ("coco.json", "yolo.txt"):
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


# ----------------------------------------------------------------------------- inline sources
@pytest.mark.parametrize(
    ("source", "classes", "expected"),
    [
        ([BOX], None, [0]),
        (torch.tensor([BOX]), None, [0]),
        (np.array([BOX, WHOLE], dtype=np.int16), None, [0, 0]),
        ({"box": [BOX]}, ("prostate",), [0]),
        ({"box": [BOX, WHOLE], "label": [1, 0]}, None, [1, 0]),
        ({"box": torch.tensor([BOX, WHOLE]), "label": torch.tensor([2, 1])}, (1, 2), [1, 0]),
        ({"box": [BOX], "label": ["1.0"]}, (0, 1), [1]),
        ({"box": [BOX], "label": np.array([1.0])}, ("1", "2"), [0]),
    ],
)
def test_inline(source, classes, expected):
    boxes, found = read_boxes(source, make_image(), classes)
    assert boxes.tolist() == [BOX, WHOLE][: len(expected)]
    assert found.tolist() == expected


def test_nothing_is_changed_in_place():
    image, source = Flip(0)(make_image()), {"box": torch.tensor([BOX]), "label": [0]}
    before = torch.as_tensor(image.affine).clone()
    read_boxes(source, image)
    assert torch.equal(torch.as_tensor(image.affine), before)
    assert source["box"].tolist() == [BOX] and source["label"] == [0]


MODES = {
    "xyzxyz": [4, 3, 2, 10, 8, 6],
    "xxyyzz": [4, 10, 3, 8, 2, 6],
    "xyxyzz": [4, 3, 10, 8, 2, 6],
    "xyzwhd": [4, 3, 2, 6, 5, 4],
    "cccwhd": [7, 5.5, 4, 6, 5, 4],
    "xyxy": [4, 3, 10, 8],
    "xxyy": [4, 10, 3, 8],
    "xywh": [4, 3, 6, 5],
    "ccwh": [7, 5.5, 6, 5],
}


@pytest.mark.parametrize("mode", MODES)
def test_every_box_mode(mode):
    shape = SHAPE if len(mode) == 6 else SHAPE[:2]
    boxes, _ = read_boxes({"box": [MODES[mode]], "box_mode": mode}, make_image(shape))
    assert boxes.tolist() == [BOX if len(mode) == 6 else [4, 3, 10, 8]]


def test_world_boxes_in_lps_and_ras():
    ras = {"box": [[19, -5, 9.5, 31, 5, 21.5]], "space": "world"}
    lps = {"box": [[-31, -5, 9.5, -19, 5, 21.5]], "space": "world", "coordinate_system": "LPS"}
    assert read_boxes(ras, make_image())[0].tolist() == [BOX]
    assert read_boxes(lps, make_image())[0].tolist() == [BOX]


# ----------------------------------------------------------------------------- no boxes
CSV_HEADER = "x_min,y_min,x_max,y_max,z_min,z_max\n"


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.json", {"box": []}),
        ("a.json", {"box": [], "label": []}),
        ("a.json", []),
        ("a.json", coco(annotations=[])),
        ("a.json", {"markups": []}),
        ("a.txt", ""),
        ("a.txt", "\n\n"),
        ("a.csv", CSV_HEADER),
        ("a.csv", "image," + CSV_HEADER),
        ("a.csv", "image," + CSV_HEADER + "case1,,,,,,\ncase2,1,1,2,2,1,2\n"),
    ],
)
@pytest.mark.parametrize("shape", [(20, 16), SHAPE])
def test_zero_boxes(tmp_path, name, content, shape):
    boxes, classes = read_boxes(write(tmp_path / name, content), make_image(shape), CLASSES)
    assert boxes.shape == (0, 2 * len(shape)) and boxes.dtype == torch.float32
    assert classes.shape == (0,) and classes.dtype == torch.int64


# ----------------------------------------------------------------------------- details of the formats
def test_csv_slice_column(tmp_path):
    path = write(tmp_path / "a.csv", "Case, slice, x_min, y_min, x_max, y_max, Class\ncase1, 4, 1, 2, 3.5, 4, 2\n")
    boxes, classes = read_boxes(path, Flip(2)(make_image()), classes=(1, 2))
    assert boxes.tolist() == [[1, 2, 7, 3.5, 4, 8]] and classes.tolist() == [1]


def test_csv_without_image_column_needs_no_name(tmp_path):
    path = write(tmp_path / "a.csv", CSV_HEADER + "4,3,10,8,2,6\n")
    boxes, classes = read_boxes(path, make_image(name=None), classes=("prostate",))
    assert boxes.tolist() == [BOX] and classes.tolist() == [0]


@pytest.mark.parametrize(("classes", "expected"), [(None, 1), (("a", "b"), 1), ((1, 0), 0), ((5, 1), 1)])
def test_yolo_class_is_a_position_among_names(tmp_path, classes, expected):
    path = write(tmp_path / "a.txt", "1 0.5 0.5 0.5 0.5\n")
    assert read_boxes(path, make_image((20, 16)), classes)[1].tolist() == [expected]


@pytest.mark.parametrize("classes", [("tumour",), (3,), None])
def test_coco_category_by_name_or_number(tmp_path, classes):
    number = 0 if classes is None else 3
    content = coco(category_id=number, categories=[{"id": number, "name": "tumour"}])
    assert read_boxes(write(tmp_path / "a.json", content), make_image((20, 16)), classes)[1].tolist() == [0]


def test_coco_crowd_is_left_out_with_a_warning(tmp_path):
    content = coco()
    content["annotations"].append({"image_id": 1, "bbox": [0, 0, 20, 16], "category_id": 0, "iscrowd": 1})
    path = write(tmp_path / "a.json", content)
    with pytest.warns(UserWarning, match=r"a\.json: left out 1 boxes of .*case1\.nii\.gz with iscrowd"):
        boxes, _ = read_boxes(path, make_image((20, 16)))
    assert boxes.tolist() == [[4, 3, 10, 8]]


@pytest.mark.parametrize(
    "entry", ["case1.nii.gz", "case1.nii", "case1", "images/case1.nii.gz", "C:\\images\\case1.nii.gz"]
)
def test_image_names(tmp_path, entry):
    content = coco(images=[{"id": 0, "file_name": "case11.nii.gz"}, {"id": 1, "file_name": entry}])
    boxes, _ = read_boxes(write(tmp_path / "a.json", content), make_image((20, 16)))
    assert boxes.tolist() == [[4, 3, 10, 8]]


@pytest.mark.parametrize(
    ("changes", "classes", "expected"),
    [
        ({}, None, 0),
        ({"name": "R_3"}, None, 0),
        ({"label": {"value": 1}}, None, 1),
        ({"label": {"value": 2}, "name": "case1.nii.gz"}, (1, 2), 1),
        ({"name": "tumour"}, CLASSES, 1),
        ({"controlPoints": [{"label": "tumour-12"}]}, CLASSES, 1),
        ({"controlPoints": [{"label": "R-1", "description": "tumour"}]}, CLASSES, 1),
        ({}, ("prostate",), 0),
    ],
)
def test_slicer_class(changes, classes, expected):
    boxes, found = read_boxes(roi(**changes), make_image(), classes)
    assert boxes.tolist() == [BOX] and found.tolist() == [expected]


def test_slicer_defaults():
    """Without a coordinate system the file is LPS; without a centre the only control point is it."""
    source = roi(coordinateSystem=None, center=None, controlPoints=[{"position": [-25, 0, 15.5]}])
    assert read_boxes(source, make_image())[0].tolist() == [BOX]
    assert read_boxes(roi(coordinateUnits=["mm", "UCUM", "millimeter"]), make_image())[0].tolist() == [BOX]


@pytest.mark.parametrize("system", ["RAS", "LPS"])
def test_slicer_rotated_roi_gives_the_enclosing_box(system):
    """A square of 8 mm turned by 45 degrees reaches 8 / sqrt(2) mm to each side; its axes are the matrix' columns."""
    image = make_image((64, 64, 8), affine=torch.diag(torch.tensor([1.0, 1, 2, 1], dtype=torch.float64)))
    sign = 1 if system == "RAS" else -1
    half = math.sqrt(0.5)
    turned = roi(
        coordinateSystem=system,
        center=[sign * 31.5, sign * 31.5, 7],
        size=[8, 8, 4],
        orientation=[half, -half, 0, half, half, 0, 0, 0, 1],
    )
    reach = 8 / math.sqrt(2)
    expected = torch.tensor([[32 - reach, 32 - reach, 3, 32 + reach, 32 + reach, 5]])
    torch.testing.assert_close(read_boxes(turned, image)[0], expected)


def test_slicer_rotated_roi_on_an_equally_rotated_image_is_tight():
    """The corners go straight to the image; a detour over a world box would loosen this one."""
    affine = rotation(30) @ AFFINE
    center = (affine @ torch.tensor([6.5, 5, 3.5, 1], dtype=torch.float64))[:3].tolist()
    source = roi(center=center, orientation=rotation(30)[:3, :3].ravel().tolist())
    boxes, _ = read_boxes(source, make_image(affine=affine))
    torch.testing.assert_close(boxes, torch.tensor([BOX]).float())


def test_format_can_be_forced(tmp_path):
    path = write(tmp_path / "boxes.dat", "0 0.5 0.5 0.5 0.5\n")
    assert read_boxes(path, make_image((20, 16)), format="yolo")[0].tolist() == [[5, 4, 15, 12]]


# ----------------------------------------------------------------------------- outside, cropped, clipped
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


# ----------------------------------------------------------------------------- what the image must provide
def test_index_boxes_after_the_original_affine_was_lost():
    target = make_image((10, 10, 10), affine=torch.diag(torch.tensor([4.0, 4, 4, 1], dtype=torch.float64)))
    image = ResampleToMatch()(make_image(), target)
    with pytest.raises(ValueError, match=r"original_affine'\], which .* lacks after ResampleToMatch"):
        read_boxes([BOX], image)
    world = boxes_to_world(torch.tensor([BOX]), AFFINE)
    expected = boxes_from_world(world, torch.as_tensor(target.affine)).clamp(min=0, max=10).float()
    torch.testing.assert_close(read_boxes({"box": world, "space": "world"}, image)[0], expected)
    with pytest.raises(ValueError, match="lacks after Flip"):
        read_boxes([BOX], Flip(0)(make_image(original_affine=None, name=None)))


def test_untransformed_image_needs_no_meta():
    image = MetaTensor(torch.zeros(1, *SHAPE), affine=AFFINE)
    assert read_boxes([BOX], image)[0].tolist() == [BOX]
    assert read_boxes(FILES / "roi.mrk.json", image, CLASSES)[0][0].tolist() == BOX


def test_2d_slice_of_a_volume_has_no_depth():
    image = make_image((20, 16), spatial_shape=np.array(SHAPE))
    with pytest.raises(ValueError, match=r"cannot place a 3D box in .*case1.*, a 2D slice of a volume"):
        read_boxes(roi(), image)


def test_yolo_needs_the_size_of_the_file(tmp_path):
    path = write(tmp_path / "a.txt", "0 0.5 0.5 0.5 0.5\n")
    with pytest.raises(ValueError, match=r"a\.txt: YOLO boxes need the size of the image's file"):
        read_boxes(path, Flip(0)(make_image((20, 16), spatial_shape=np.array([3, 20, 16]))))
    as_canonical = make_image((20, 16), as_closest_canonical=True)
    assert image_frame(as_canonical).original_shape == (20, 16, 1)
    assert image_frame(Flip(0)(as_canonical)).original_shape is None


@pytest.mark.parametrize(
    ("source", "image", "options", "error", "message"),
    [
        ([BOX], torch.zeros(1, *SHAPE), {}, TypeError, "image must be a channel-first .*MetaTensor, got Tensor"),
        ([BOX], MetaTensor(torch.zeros(1, 4)), {}, ValueError, r"2 or 3 spatial axes, got the shape \(1, 4\)"),
        ([BOX], make_image(affine=0 * AFFINE), {}, ValueError, "image.affine must be one invertible matrix"),
        (3, make_image(), {}, TypeError, "source must be a path, a mapping or a list of boxes, got int"),
        ([BOX], make_image(), {"classes": "prostate"}, TypeError, "classes must be a sequence .* string 'prostate'"),
        ([BOX], make_image(), {"format": "voc"}, ValueError, r"format must be one of \('auto', .*got 'voc'"),
        ([BOX], make_image(), {"format": "csv"}, ValueError, "format 'csv' is read from files only, got a list"),
        ([BOX], make_image(), {"format": "dicom"}, ValueError, "format 'dicom' is read from files only, got a list"),
    ],
)
def test_wrong_arguments(source, image, options, error, message):
    with pytest.raises(error, match=message):
        read_boxes(source, image, **options)


# ----------------------------------------------------------------------------- malformed files
FLAT_CSV = "x_min,y_min,x_max,y_max\n"
BAD_3D = [
    ("a.xml", "<a/>", r"expected the extension \.json, \.txt, \.csv, \.dcm or format=\.\.\., got '\.xml'"),
    ("a.json", "", "expected JSON, got an empty file"),
    ("a.json", '{"box": [', "expected JSON, got an error in line 1"),
    ("a.json", "3", "box: expected a list, got 3"),
    ("a.json", {"boxes": [], "label": []}, r"expected the key 'box', .*got \['boxes', 'label'\]"),
    ("a.json", {"box": "abc"}, "box: expected a list, got 'abc'"),
    ("a.json", {"box": [BOX, [1, 2, 3]]}, r"box\[1\]: expected 4 or 6 numbers, got 3: \[1, 2, 3\]"),
    ("a.json", {"box": [BOX[:4]], "box_mode": "xyzxyz"}, r"box\[0\]: expected 6 numbers, got 4"),
    ("a.json", {"box": [BOX], "box_mode": "xyxy"}, r"box\[0\]: expected 4 numbers, got 6"),
    ("a.json", {"box": [BOX], "box_mode": "yx"}, "expected a box_mode of monai.data.box_utils, got 'yx'"),
    ("a.json", '{"box": [[NaN, 3, 2, 10, 8, 6]]}', r"box\[0\]: expected 4 or 6 finite numbers, got \[nan"),
    ("a.json", {"box": [["a", 3, 2, 10, 8, 6]]}, r"box\[0\]: expected 4 or 6 finite numbers, got \['a'"),
    ("a.json", {"box": [[4, 8, 2, 10, 8, 6]]}, r"expected min < max on every axis, got min \[4.* and max \[10"),
    ("a.json", {"box": [[4, 8, 2, -1, 1, 1]], "box_mode": "xyzwhd"}, r"box\[0\]: expected min < max"),
    ("a.json", {"box": [BOX], "label": [0, 1]}, r"expected one label a box \(1\), got 2"),
    ("a.json", {"box": [BOX], "space": "mm"}, "expected space 'index', or 'world' .*got 'mm' with 'RAS'"),
    ("a.json", {"box": [BOX], "coordinate_system": "LPS"}, "got 'index' with 'LPS'"),
    (
        "a.json",
        {"box": [[4, 3, 10, 8]]},
        r"box\[0\]: a 2D box needs an image of one slice.*case1.*\(20, 16, 12\) voxels",
    ),
    ("a.json", {"box": [BOX], "label": ["cat"]}, "without classes a label must be a 0-based channel, got 'cat'"),
    ("a.json", {"box": [BOX], "label": [-1]}, "a 0-based channel, got -1"),
    ("a.json", {"box": [BOX], "label": [0.5]}, "a 0-based channel, got 0.5"),
    ("a.csv", "", "expected a header line, got an empty file"),
    ("a.csv", "a;b\n1;2\n", "expected the columns x_min, y_min, x_max, y_max, .*got a;b"),
    ("a.csv", "x_min,y_min,x_max,y_max,z_min\n", "expected the columns .*got x_min, y_min, x_max, y_max, z_min"),
    ("a.csv", FLAT_CSV + "1,1,2,2\n", "row 2: a 2D box needs an image of one slice"),
    ("a.csv", CSV_HEADER + "1,1,2,2,1\n", "row 2: expected 6 values as in the header, got 5"),
    ("a.csv", CSV_HEADER + "1,1,2,,1,2\n", "row 2: expected 6 finite numbers"),
    ("a.csv", CSV_HEADER + "1,1,2,1,1,2\n", "row 2: expected min < max"),
    ("a.csv", "slice," + FLAT_CSV + "1.5,1,1,2,2\n", "row 2: expected a whole number as slice, got '1.5'"),
    ("a.csv", "case," + CSV_HEADER + "case2,1,1,2,2,1,2\n", "expected /data/case1.nii.gz in the column 'case'"),
    ("a.mrk.json", {"markups": [{"type": "Line"}]}, r"markups\[0\]: expected a markup of type 'ROI', got 'Line'"),
    ("a.mrk.json", {"markups": [{}]}, r"markups\[0\]: expected the keys \['type'\], got \[\]"),
    ("a.mrk.json", {"markups": ["ROI"]}, r"markups\[0\]: expected a mapping with the keys \['type'\], got str"),
    ("a.mrk.json", roi(size=None), r"markups\[0\]: expected the keys \['size', 'center'\]"),
    ("a.mrk.json", roi(center=None), r"markups\[0\]: expected the keys \['size', 'center'\]"),
    ("a.mrk.json", roi(size=[12, 10]), r"markups\[0\], size: expected 3 numbers, got 2"),
    ("a.mrk.json", roi(size=[12, 0, 12]), r"markups\[0\], size: expected min < max"),
    ("a.mrk.json", roi(orientation=[0] * 9), r"markups\[0\]: expected an orientation of three unit vectors"),
    ("a.mrk.json", roi(coordinateSystem="IJK"), r"expected coordinateSystem 'LPS' or 'RAS', .*got 'IJK'"),
    ("a.mrk.json", roi(coordinateUnits="um"), "got 'RAS', 'um' and False"),
    ("a.mrk.json", roi(insideOut=True), "got 'RAS', 'mm' and True"),
]
BAD_2D = [
    ("a.json", {"box": [BOX]}, r"box\[0\]: expected a box with 2 axes as .*case1\.nii\.gz has, got 3"),
    ("a.txt", "0 0.5 0.5 0.5\n", "line 1, after the class: expected 4 numbers, got 3"),
    ("a.txt", "0 0.5 0.5 0.5 0.5\n\n0 10 10 5 5\n", "line 3: expected parts of the image between 0 and 1"),
    ("a.txt", "0 0.5 0.5 0 0.5\n", "line 1: expected min < max"),
    ("a.txt", "cat 0.5 0.5 0.5 0.5\n", "a 0-based channel, got 'cat'"),
    ("a.json", {"images": []}, r"expected the keys \['images', 'annotations'\], got \['images'\]"),
    ("a.json", coco(images=[]), "expected /data/case1.nii.gz once among the images, got 0 of 0"),
    ("a.json", coco(images=[{"id": i, "file_name": f"{i}/case1"} for i in "ab"]), "once among the images, got 2 of 2"),
    ("a.json", coco(images=[{"id": 1}]), r"images\[0\]: expected the keys \['id', 'file_name'\]"),
    (
        "a.json",
        coco(images=[{"id": 1, "file_name": "case1", "width": 16, "height": 20}]),
        r"to have width and height \(20, 16\), got \(16, 20\)",
    ),
    ("a.json", coco(annotations=[{"image_id": 1}]), r"annotations\[0\]: expected the keys \['bbox', 'category_id'\]"),
    ("a.json", coco(bbox=(1, 2, 3)), r"annotations\[0\]: expected 4 numbers, got 3"),
    ("a.json", coco(bbox=(1, 2, 0, 3)), r"annotations\[0\]: expected min < max"),
    ("a.json", coco(categories=[{"id": 1, "name": "a"}]), r"without classes the category ids must be 0, 1, "),
    ("a.json", coco(category_id=4, categories=[{"id": 0, "name": "a"}]), r"a category_id among \['0'\], got 4"),
]
BAD_CLASSES = [
    ("a.json", {"box": [BOX], "label": ["cat"]}, r"box\[0\]: expected one of the classes \('prostate', .*got 'cat'"),
    ("a.json", {"box": [BOX]}, r"box\[0\]: expected one of the classes \('prostate', 'tumour'\), got no label"),
    ("a.mrk.json", roi(name="R"), r"markups\[0\]: expected one of the classes .*got 'R'"),
    ("a.csv", "class," + CSV_HEADER + "cat,4,3,10,8,2,6\n", "row 2: expected one of the classes .*got 'cat'"),
    ("a.csv", "class," + CSV_HEADER + ",4,3,10,8,2,6\n", "row 2: expected one of the classes .*got no label"),
    ("a.txt", "2 0.5 0.5 0.5 0.5\n", r"line 1: expected a class 0\.\.1 of \('prostate', 'tumour'\), got '2'"),
]


@pytest.mark.parametrize(
    ("shape", "classes", "name", "content", "message"),
    [(SHAPE, None, *case) for case in BAD_3D]
    + [(SHAPE[:2], None, *case) for case in BAD_2D]
    + [((20, 16, 1) if case[0] == "a.txt" else SHAPE, CLASSES, *case) for case in BAD_CLASSES],
)
def test_malformed_file(tmp_path, shape, classes, name, content, message):
    path = write(tmp_path / name, content)
    with pytest.raises(ValueError, match=message) as caught:
        read_boxes(path, make_image(shape), classes)
    assert str(caught.value).startswith(str(path))


def test_file_that_is_not_text(tmp_path):
    path = tmp_path / "a.json"
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ValueError, match=r"a\.json: expected a text file"):
        read_boxes(path, make_image())


def test_missing_file(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"none\.json"):
        read_boxes(tmp_path / "none.json", make_image())


@pytest.mark.parametrize(
    ("name", "content"), [("a.json", coco()), ("a.csv", "image," + CSV_HEADER + "case1,4,3,10,8,2,6\n")]
)
def test_formats_of_several_images_need_the_image_name(tmp_path, name, content):
    with pytest.raises(ValueError, match=rf"{name}: expected image\.meta\['filename_or_obj'\]"):
        read_boxes(write(tmp_path / name, content), make_image(name=None))


@pytest.mark.parametrize("name", EXAMPLES)
def test_a_survey_has_the_boxes_that_are_read(name):
    image = Flip(0)(make_image(**EXAMPLES[name][0]))
    boxes, classes = read_boxes(FILES / name, image, CLASSES)
    survey = survey_boxes(FILES / name, image, CLASSES)
    torch.testing.assert_close(survey.boxes.float(), boxes)
    assert torch.equal(survey.classes, classes) and survey.classes.tolist() == [1, 0]
    assert survey.faults == [] and len(survey.places) == 2
    assert survey.space == ("world" if name == "roi.mrk.json" else "index")


def test_a_survey_notes_each_fault_and_keeps_the_rest(tmp_path):
    rows = [
        "5,6,3,9,8,4,prostate",
        "9,6,3,5,8,4,prostate",
        ",6,3,9,8,4,tumour",
        "5,6,3,9,8,4,liver",
        "30,6,3,39,8,4,tumour",
    ]
    path = write(tmp_path / "a.csv", "\n".join(["x_min,y_min,z_min,x_max,y_max,z_max,label", *rows]))
    survey = survey_boxes(path, make_image(), classes=CLASSES)
    assert survey.boxes.tolist() == pytest.approx([[5, 6, 3, 9, 8, 4], [30, 6, 3, 39, 8, 4]])
    assert (survey.places, survey.classes.tolist(), survey.space) == (["row 2", "row 6"], [0, 1], "index")
    assert [(fault.place, fault.kind) for fault in survey.faults] == [
        ("row 3", "min_not_below_max"),
        ("row 4", "not_finite"),
        ("row 5", "unknown_class"),
    ]
    assert survey.faults[2].message == "expected one of the classes ('prostate', 'tumour'), got 'liver'."


def test_a_survey_refuses_what_is_no_annotation(tmp_path):
    with pytest.raises(ValueError, match=r"a\.json: expected JSON"):
        survey_boxes(write(tmp_path / "a.json", "{"), make_image())
