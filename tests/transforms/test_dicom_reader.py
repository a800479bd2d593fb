# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
"""Values and places of DICOM images, against pydicom, and against MONAI's reader where that one is right."""

from __future__ import annotations

import nibabel
import numpy as np
import pytest
import torch
from monai.data import ITKReader, MetaTensor
from monai.transforms import LoadImage

from monai_bbox_mil.annotations import read_boxes
from monai_bbox_mil.data.image_files import find_images
from monai_bbox_mil.transforms import EnsureVolumed, LoadCheckedImage, LoadCheckedImaged, SaveLikeInput, SlabSpacing
from tests.dicom_files import (
    ORIENTATIONS,
    Dataset,
    Sequence,
    edit,
    pydicom,
    to_patient,
    uid,
    write_frames,
    write_rtstruct,
    write_seg,
    write_series,
)

SHAPE = (7, 6, 5)  # columns, rows, slices
VALUES = np.random.default_rng(3).integers(0, 4000, SHAPE)
LPS = np.array([-1, -1, 1])


def stored(path) -> np.ndarray:
    """``(columns, rows)`` as pydicom reads them."""
    return pydicom.dcmread(path).pixel_array.T.astype(np.float64)


# ----------------------------------------------------------------------------- values
@pytest.mark.parametrize("orientation", ORIENTATIONS)
@pytest.mark.parametrize("order", [1, -1])
def test_a_sound_series_is_read_as_monai_reads_it(tmp_path, orientation, order):
    write_series(tmp_path, VALUES, orientation, order)
    edit(tmp_path, RescaleIntercept=-1024)
    expected = LoadImage(reader=ITKReader(), ensure_channel_first=True)(tmp_path)
    image = LoadCheckedImage(1)(tmp_path)
    assert torch.equal(image.as_tensor(), expected.as_tensor())
    assert torch.allclose(image.affine, expected.affine, atol=1e-8)
    assert image.meta["filename_or_obj"] == str(tmp_path)
    assert image.meta["spatial_shape"].tolist() == list(SHAPE)


# ITK applies no slope of an MR image, though Philips writes one for each slice.
@pytest.mark.parametrize(("storage", "modality"), [("PositronEmissionTomography", "PT"), ("CT", "CT"), ("MR", "MR")])
def test_each_slice_has_its_own_slope(tmp_path, storage, modality):
    slopes, intercepts = (1, 0.25, 0.0007, 2, 3.5), (0, 0.5, 0, -100, 1e-3)
    write_series(tmp_path, VALUES)
    edit(tmp_path, SOPClassUID=getattr(uid, storage + "ImageStorage"), Modality=modality)
    for index, (slope, intercept) in enumerate(zip(slopes, intercepts, strict=True)):
        edit(tmp_path / f"{index:03d}.dcm", RescaleSlope=slope, RescaleIntercept=intercept)
    image = LoadCheckedImage(1)(tmp_path)[0].numpy()
    for index, (slope, intercept) in enumerate(zip(slopes, intercepts, strict=True)):
        assert np.allclose(image[..., index], stored(tmp_path / f"{index:03d}.dcm") * slope + intercept, rtol=1e-6)


@pytest.mark.parametrize("order", [range(5), (3, 0, 4, 1, 2)])
@pytest.mark.parametrize("slopes", [(1, 1, 1, 1, 1), (2, 0.5, 0.01, 4, 1)])
def test_each_frame_has_its_own_place_and_slope(tmp_path, order, slopes):
    write_frames(tmp_path / "a.dcm", VALUES, "axial", order)
    file = pydicom.dcmread(tmp_path / "a.dcm")
    for groups, slope in zip(file.PerFrameFunctionalGroupsSequence, slopes, strict=True):
        transformation = Dataset()
        transformation.RescaleSlope, transformation.RescaleIntercept, transformation.RescaleType = slope, 7, "US"
        groups.PixelValueTransformationSequence = Sequence([transformation])
    file.save_as(tmp_path / "a.dcm")
    image = LoadCheckedImage(1)(tmp_path / "a.dcm")[0].numpy()
    for index, slope in zip(order, slopes, strict=True):
        assert np.allclose(image[..., index], VALUES[..., index] * slope + 7, rtol=1e-6)


def test_slices_may_differ_in_their_type(tmp_path):
    write_series(tmp_path, VALUES)
    edit(tmp_path / "000.dcm", BitsStored=8, HighBit=7, PixelData=(VALUES[..., 0].T % 256).astype("<u2").tobytes())
    edit(tmp_path / "001.dcm", PixelRepresentation=1, PixelData=(-VALUES[..., 1].T).astype("<i2").tobytes())
    edit(tmp_path / "002.dcm", PixelData=(65535 - VALUES[..., 2].T).astype("<u2").tobytes())
    image = LoadCheckedImage(1)(tmp_path)[0].numpy()
    assert np.array_equal(image[..., 0], VALUES[..., 0] % 256)
    assert np.array_equal(image[..., 1], -VALUES[..., 1])
    assert np.array_equal(image[..., 2], 65535 - VALUES[..., 2])


def test_compressed_slices(tmp_path):
    values = np.random.default_rng(5).integers(0, 4000, (64, 48, 3))
    write_series(tmp_path, values)
    for path in tmp_path.iterdir():
        file = pydicom.dcmread(path)
        file.compress(uid.RLELossless)
        file.save_as(path)
    assert np.array_equal(LoadCheckedImage(1)(tmp_path)[0].numpy(), values)


def test_colours_become_channels_and_monochrome1_is_inverted(tmp_path):
    colours = np.random.default_rng(4).integers(0, 256, (5, 6, 7, 3))  # slices, rows, columns
    write_series(tmp_path / "rgb", VALUES)
    for path, pixels in zip(sorted((tmp_path / "rgb").iterdir()), colours, strict=True):
        edit(path, PixelData=pixels.astype(np.uint8).tobytes())
    edit(tmp_path / "rgb", SamplesPerPixel=3, PhotometricInterpretation="RGB", PlanarConfiguration=0, BitsAllocated=8,
         BitsStored=8, HighBit=7)  # fmt: skip
    assert np.array_equal(LoadCheckedImage(3)(tmp_path / "rgb").numpy(), colours.transpose(3, 2, 1, 0))
    with pytest.raises(ValueError, match=r"rgb: expected 1 channel\(s\), got 3 of \(7, 6, 5\) voxels"):
        LoadCheckedImage(1)(tmp_path / "rgb")
    write_series(tmp_path / "one", VALUES)
    edit(tmp_path / "one", PhotometricInterpretation="MONOCHROME1", BitsStored=12, HighBit=11)
    assert np.array_equal(LoadCheckedImage(1)(tmp_path / "one")[0].numpy(), 4095 - VALUES)


def test_large_whole_numbers_stay_whole(tmp_path):
    large = 16_777_217 + VALUES[..., :1]
    write_series(tmp_path, VALUES[..., :1])
    edit(tmp_path, BitsAllocated=32, BitsStored=32, HighBit=31, PixelData=large[..., 0].T.astype("<u4").tobytes())
    assert np.array_equal(LoadCheckedImage(label_map=True)(tmp_path)[0].numpy(), large)


def test_several_images_become_channels(tmp_path):
    for name in "ab":
        write_series(tmp_path / name, VALUES + ord(name), order=-1)
    image = LoadCheckedImage(2)([tmp_path / "a", tmp_path / "b"])
    assert torch.equal(image[1].as_tensor() - image[0].as_tensor(), torch.ones(SHAPE))


def test_pixels_that_are_cut_short_are_refused(tmp_path):
    write_series(tmp_path, VALUES)
    whole = (tmp_path / "003.dcm").read_bytes()
    (tmp_path / "003.dcm").write_bytes(whole[:-30])
    with pytest.raises(ValueError, match=r"003\.dcm: expected pixels that ITK can decode, got"):
        LoadCheckedImage(1)(tmp_path)


def test_a_slope_of_nothing_is_refused(tmp_path):
    write_series(tmp_path, VALUES)
    edit(tmp_path, RescaleSlope=0)
    with pytest.raises(ValueError, match="expected a RescaleSlope other than 0"):
        LoadCheckedImage(1)(tmp_path)


# ----------------------------------------------------------------------------- what is refused wherever images are read
def two_series(folder):
    for name in "ab":
        write_series(folder, VALUES, name=name + "{}.dcm")


def missing_slice(folder):
    write_series(folder, VALUES)
    (folder / "002.dcm").unlink()


def two_phases(folder):
    write_series(folder, VALUES, name="a{}.dcm")
    write_series(folder, VALUES, name="b{}.dcm")
    edit(folder, SeriesInstanceUID="1.2.3", FrameOfReferenceUID="1.2.4")


@pytest.mark.parametrize("make", [two_series, missing_slice, two_phases])
@pytest.mark.parametrize("use", ["with a mask", "with boxes", "in prediction"])
def test_one_geometry_for_all_uses(tmp_path, make, use):
    folder = tmp_path / "images" / "case"
    make(folder)
    image = MetaTensor(torch.zeros(1, *SHAPE), meta={"filename_or_obj": str(folder)})
    nibabel.save(nibabel.Nifti1Image(np.zeros(SHAPE, np.uint8), np.eye(4)), tmp_path / "mask.nii")
    item = {"image": folder, "mask": tmp_path / "mask.nii"}
    uses = {
        "with a mask": lambda: LoadCheckedImaged(["image", "mask"])(item),
        "with boxes": lambda: read_boxes([[1, 1, 1, 2, 2, 2]], image),
        "in prediction": lambda: find_images(folder.parent),
    }
    with pytest.raises(
        Exception, match=r"case: expected (the slices of one|slices at equal|one slice at each)"
    ) as error:
        uses[use]()
    assert isinstance(error.value.__cause__ or error.value, ValueError)


def test_a_seg_or_rtstruct_is_no_image_and_no_mask(tmp_path):
    slices = write_series(tmp_path / "a", VALUES)
    write_seg(tmp_path / "seg", slices, np.ones((*SHAPE, 1), dtype=bool), ["organ"])
    write_rtstruct(tmp_path / "rs.dcm", slices, {})
    with pytest.raises(ValueError, match=r"seg: expected an image or a mask, got a DICOM SEG.*box in a data list"):
        LoadCheckedImage()(tmp_path / "seg")
    with pytest.raises(ValueError, match=r"rs\.dcm: expected a DICOM image, got a DICOM file without pixels"):
        LoadCheckedImage()(tmp_path / "rs.dcm")


# ----------------------------------------------------------------------------- where predictions are written
def tilted(folder) -> list:
    slices = write_series(folder, VALUES)
    for index, path in enumerate(sorted(folder.iterdir())):
        slices[index].ImagePositionPatient = [-10, 20 + 0.8 * index, 5 + 3 * index]
        edit(path, ImagePositionPatient=slices[index].ImagePositionPatient)
    return slices


SERIES = {
    **{f"{o} {order}": lambda f, o=o, order=order: write_series(f, VALUES, o, order) for o in ORIENTATIONS
       for order in (1, -1)},
    "tilted": tilted,
}  # fmt: skip


@pytest.mark.parametrize("kind", SERIES)
@pytest.mark.parametrize("spacing_between_slices", [None, -3])
def test_a_mask_is_written_where_its_slice_lies(tmp_path, kind, spacing_between_slices):
    slices = SERIES[kind](tmp_path / "a")
    edit(tmp_path / "a", SpacingBetweenSlices=spacing_between_slices)
    number, pixel = 3, (4, 1)
    value = VALUES[(*pixel, number)]
    image = LoadCheckedImage(1)(tmp_path / "a")
    mask = MetaTensor((image.as_tensor() == value).float(), meta=dict(image.meta), affine=image.affine)
    SaveLikeInput(tmp_path / "masks")(mask)
    saved = nibabel.load(tmp_path / "masks" / "a_segmentation.nii.gz")
    found = nibabel.affines.apply_affine(saved.affine, np.argwhere(np.asarray(saved.dataobj))) * LPS
    wanted = to_patient(slices, number, np.array([pixel], dtype=float))
    assert np.abs(found - wanted).sum(axis=1).min() < 1e-3
    assert len(found) == (value == VALUES).sum()
    again = LoadCheckedImaged(["image", "mask"])(
        {"image": tmp_path / "a", "mask": tmp_path / "masks" / "a_segmentation.nii.gz"}
    )
    EnsureVolumed(["image", "mask"])(again)  # refuses images that do not lie in one place


def test_boxes_of_a_tilted_series_are_those_of_its_masks(tmp_path):
    slices = tilted(tmp_path / "a")
    masks = np.zeros((*SHAPE, 1), dtype=bool)
    masks[1:4, 2:5, 1] = masks[3:6, 0:3, 3] = True
    image = LoadCheckedImage(1)(tmp_path / "a")
    write_seg(tmp_path / "seg.dcm", slices, masks, ["organ"])
    corners = [to_patient(slices, 1, np.array([[1, 2], [3, 2], [3, 4], [1, 4]], dtype=float)),
               to_patient(slices, 3, np.array([[3, 0], [5, 0], [5, 2], [3, 2]], dtype=float))]  # fmt: skip
    write_rtstruct(tmp_path / "rs.dcm", slices, {"organ": corners})
    for name in ("seg.dcm", "rs.dcm"):
        boxes, _ = read_boxes(tmp_path / name, image)
        assert sorted(boxes.tolist()) == [[1, 2, 1, 4, 5, 2], [3, 0, 3, 6, 3, 4]]
    # A Slicer ROI around the second object, mm LPS, where slice 3 is: 2.4 mm along y.
    sizes = np.array([3 * 0.7, 3 * 1.1, 3])
    centre = np.array([-10 + 4 * 0.7, 20 + 2.4 + 1 * 1.1, 5 + 3 * 3])
    roi = {"type": "ROI", "roiType": "Box", "coordinateSystem": "LPS", "orientation": [1, 0, 0, 0, 1, 0, 0, 0, 1],
           "center": centre.tolist(), "size": sizes.tolist()}  # fmt: skip
    boxes, _ = read_boxes({"markups": [roi]}, image)
    assert boxes.tolist() == [pytest.approx([3, 0, 3, 6, 3, 4], abs=1e-4)]


def test_boxes_of_a_tilted_series_stay_tight_when_it_is_straightened(tmp_path):
    slices = tilted(tmp_path / "a")
    masks = np.zeros((*SHAPE, 1), dtype=bool)
    masks[1:4, 2:5, 1] = True
    write_seg(tmp_path / "seg.dcm", slices, masks, ["organ"])
    straight = SlabSpacing((0.35, 0.55, -1))(LoadCheckedImage(1)(tmp_path / "a"))
    boxes, _ = read_boxes(tmp_path / "seg.dcm", straight)
    first, last = (to_patient(slices, 1, np.array([p]))[0] for p in ((0.5, 1.5), (3.5, 4.5)))  # its outer edges
    to_voxels = torch.linalg.inv(straight.affine).numpy()
    low, high = ((to_voxels @ [*(point * LPS), 1])[:2] + 0.5 for point in (first, last))
    assert boxes[0].tolist() == pytest.approx([*low, 1, *high, 2], abs=1e-4)


def test_a_tilted_series_is_straightened_by_resampling(tmp_path):
    """In-plane spacing moves the slices in their planes to where they lie in the patient; values keep their place."""
    slices = tilted(tmp_path / "a")
    image = LoadCheckedImage(1)(tmp_path / "a")
    straight = SlabSpacing((0.35, 0.55, -1), mode="nearest")(image)
    assert torch.allclose(straight.affine[:3, 2], torch.tensor([0, 0, 3.0], dtype=torch.float64), atol=1e-6)
    for number in range(SHAPE[2]):
        point = to_patient(slices, number, np.array([[4.0, 1.0]]))[0] * LPS
        voxel = torch.linalg.inv(straight.affine) @ torch.tensor([*point, 1.0], dtype=torch.float64)
        x, y, z = voxel[:3].round().long().tolist()
        assert int(straight[0, x, y, z]) == VALUES[4, 1, number]
