# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
"""Where images of NIfTI are, and their masks: in ITK, and so in 3D Slicer, and in NiBabel."""

from __future__ import annotations

from itertools import product

import itk
import nibabel
import numpy as np
import pytest
import torch
from monai.data import MetaTensor

from monai_bbox_mil.annotations.frame import OTHER_AFFINE, WORLD_IS_AMBIGUOUS
from monai_bbox_mil.transforms import EnsureVolume, EnsureVolumed, LoadCheckedImage, LoadCheckedImaged, SaveLikeInput

SHAPE = (9, 8, 7)
SCANNER, ALIGNED = np.diag([2.0, 2, 3, 1]), np.diag([2.0, 2, 3, 1])
SCANNER[:3, 3], ALIGNED[:3, 3] = (1, 2, 3), (10, 20, 30)
VOXELS = np.random.default_rng(0).integers(0, 2, SHAPE).astype(np.int16)


def write(path, qform=(SCANNER, 0), sform=(SCANNER, 2), unit="unknown", voxels=VOXELS, endian="<", kind=None):
    """A NIfTI whose header says exactly this."""
    header = nibabel.Nifti1Header(endianness=endian)
    header.set_data_dtype(voxels.dtype)
    header.set_data_shape(voxels.shape)
    header.set_qform(*qform)
    header.set_sform(*sform)
    header["qform_code"], header["sform_code"] = qform[1], sform[1]
    header.set_xyzt_units(unit, "sec")
    nibabel.save((kind or nibabel.Nifti1Image)(voxels, None, header), path)
    return path


def itk_affine(path):
    """RAS mm, of what ITK makes of a file."""
    image = itk.imread(str(path))
    affine = np.eye(4)
    axes = image.GetImageDimension()
    affine[:axes, :axes] = itk.array_from_matrix(image.GetDirection()) * np.array(image.GetSpacing())
    affine[:axes, 3] = image.GetOrigin()
    return np.diag([-1.0, -1, 1, 1]) @ affine


def save_mask(path, folder):
    """The file of a mask with the image's own ones."""
    image = EnsureVolume()(LoadCheckedImage(1)(path))
    SaveLikeInput(folder)(image)
    return image, next(folder.glob("*"))


@pytest.mark.parametrize(("unit", "mm"), [("unknown", 1), ("meter", 1000), ("mm", 1), ("micron", 0.001)])
@pytest.mark.parametrize("endian", "<>")
def test_images_are_in_mm_and_masks_in_the_unit_of_their_image(tmp_path, unit, mm, endian):
    path = write(tmp_path / "a.nii.gz", qform=(SCANNER, 1), unit=unit, endian=endian)
    image, mask = save_mask(path, tmp_path / "out")
    expected = np.diag([mm, mm, mm, 1.0]) @ SCANNER
    assert np.allclose(itk_affine(path), expected)
    assert np.allclose(image.affine, expected) and np.allclose(image.meta["original_affine"], expected)
    assert np.allclose(itk_affine(mask), expected)
    header = nibabel.load(mask).header
    assert header.get_xyzt_units() == (unit, "unknown")
    assert np.allclose(header.get_best_affine(), SCANNER)
    assert np.array_equal(nibabel.load(mask).dataobj, VOXELS)


@pytest.mark.parametrize("codes", list(product(range(5), range(5))), ids=str)
def test_masks_overlay_their_image_in_every_program(tmp_path, codes):
    path = write(tmp_path / "a.nii", (SCANNER, codes[0]), (ALIGNED, codes[1]))
    image, mask = save_mask(path, tmp_path / "out")
    given, written = (nibabel.load(p).header for p in (path, mask))
    assert np.allclose(itk_affine(path), itk_affine(mask))
    assert np.allclose(given.get_best_affine(), written.get_best_affine())
    for form in ("get_qform", "get_sform"):
        (affine, code), (other, other_code) = (getattr(h, form)(coded=True) for h in (given, written))
        assert code == other_code and (code == 0 or np.allclose(affine, other))
    assert np.allclose(image.affine, given.get_best_affine())
    # Who reads world boxes can tell whether all programs agree; if not, ITK's place is one of the two that are known.
    places = [np.asarray(image.affine)]
    if all(codes) or not any(codes):
        assert "mm" in image.meta[WORLD_IS_AMBIGUOUS]
        places.append(image.meta[OTHER_AFFINE])
        assert not np.allclose(*places)
    else:
        assert WORLD_IS_AMBIGUOUS not in image.meta
    assert any(np.allclose(itk_affine(path), place, atol=1e-4) for place in places)


def test_forms_that_differ_by_rounding_say_the_same(tmp_path):
    angle = 0.3
    oblique = SCANNER.copy()
    oblique[:2, :2] = 2 * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    rounded = oblique.round(3)
    image = LoadCheckedImage(1)(write(tmp_path / "a.nii", (oblique, 1), (rounded, 1)))
    assert not np.array_equal(oblique, rounded) and WORLD_IS_AMBIGUOUS not in image.meta
    moved = oblique.copy()
    moved[0, 3] += 1
    image = LoadCheckedImage(1)(write(tmp_path / "b.nii", (oblique, 1), (moved, 1)))
    assert WORLD_IS_AMBIGUOUS in image.meta


def test_a_broken_form_beside_a_good_one_says_nothing(tmp_path):
    path = write(tmp_path / "a.nii", (SCANNER, 1), (np.diag([0.0, 0, 0, 1]), 1))
    image = LoadCheckedImage(1)(path)
    assert np.allclose(image.affine, SCANNER) and WORLD_IS_AMBIGUOUS not in image.meta


def test_an_sform_alone_counts_also_with_the_spacing_left_out(tmp_path):
    """MONAI takes the qform then, which is not set."""
    path = write(tmp_path / "a.nii", (np.eye(4), 0), (ALIGNED, 2))
    image = LoadCheckedImage(1)(path)
    assert np.allclose(nibabel.load(path).affine, ALIGNED) and np.allclose(image.affine, ALIGNED)


@pytest.mark.parametrize("shape", [(9, 8), (9, 8, 1), (9, 8, 7, 1), (9, 1, 1)])
def test_axes_that_a_volume_may_have_more_or_less(tmp_path, shape):
    voxels = VOXELS.ravel()[: np.prod(shape)].reshape(shape)
    path = write(tmp_path / "a.nii.gz", (SCANNER, 1), (ALIGNED, 2), "micron", voxels)
    _, mask = save_mask(path, tmp_path / "out")
    assert np.array_equal(np.squeeze(nibabel.load(mask).dataobj), voxels.squeeze())
    assert np.allclose(nibabel.load(mask).affine, ALIGNED) and np.allclose(
        itk_affine(mask)[:2, :2], SCANNER[:2, :2] / 1e3
    )


@pytest.mark.parametrize("endian", "<>")
@pytest.mark.parametrize("named", [".hdr", ".img"])
def test_pairs_of_header_and_voxels(tmp_path, endian, named):
    write(tmp_path / "a.img", (SCANNER, 1), (ALIGNED, 2), "micron", endian=endian, kind=nibabel.Nifti1Pair)
    image = LoadCheckedImage(1)(tmp_path / f"a{named}")
    assert np.array_equal(image[0], VOXELS)
    assert np.allclose(image.affine, np.diag([0.001, 0.001, 0.001, 1]) @ ALIGNED)
    assert WORLD_IS_AMBIGUOUS in image.meta


@pytest.mark.parametrize("endian", "<>")
def test_analyze_says_nothing_of_the_place(tmp_path, endian):
    header = nibabel.AnalyzeHeader(endianness=endian)
    header.set_data_dtype(np.int16)
    nibabel.save(nibabel.AnalyzeImage(VOXELS, np.diag([-2.0, 2, 3, 1]), header), tmp_path / "a.img")
    image = LoadCheckedImage(1)(tmp_path / "a.hdr")
    assert np.array_equal(image[0], VOXELS)
    assert "Analyze" in image.meta[WORLD_IS_AMBIGUOUS]


def test_a_mask_that_has_been_moved_gets_its_own_affine(tmp_path):
    path = write(tmp_path / "a.nii", (SCANNER, 1), (SCANNER, 1), "micron")
    SaveLikeInput(tmp_path / "out")(
        MetaTensor(torch.ones(1, *SHAPE), affine=ALIGNED, meta={"filename_or_obj": str(path)})
    )
    assert np.allclose(itk_affine(tmp_path / "out" / "a_segmentation.nii"), ALIGNED)


@pytest.mark.parametrize("shear", [0.0, 0.3])
def test_a_sheared_mask_has_no_qform_that_would_place_it_otherwise(tmp_path, shear):
    """As of a CT with a tilted gantry, whose masks are NIfTI."""
    affine = SCANNER.copy()
    affine[1, 2] = shear
    folder = tmp_path / "series"
    folder.mkdir()
    SaveLikeInput(tmp_path / "out")(
        MetaTensor(torch.ones(1, *SHAPE), affine=affine, meta={"filename_or_obj": str(folder)})
    )
    header = nibabel.load(tmp_path / "out" / "series_segmentation.nii.gz").header
    assert np.allclose(header.get_sform(), affine) and (header["qform_code"] == 0) == bool(shear)
    assert header.get_xyzt_units()[0] == "mm"


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.int32, np.float64])
@pytest.mark.parametrize("endian", "<>")
@pytest.mark.parametrize(("slope", "inter"), [(1, 0), (1, -1024), (0.1, 7.5), (-3e-7, 0.25)])
def test_scaled_voxels_are_nibabels(tmp_path, dtype, endian, slope, inter):
    header = nibabel.Nifti1Header(endianness=endian)
    header.set_data_dtype(dtype)
    path = tmp_path / "a.nii.gz"
    voxels = np.random.default_rng(0).integers(0, 200, SHAPE).astype(dtype)
    image = nibabel.Nifti1Image(voxels, SCANNER, header)
    image.header.set_slope_inter(slope, inter)
    nibabel.save(image, path)
    expected = nibabel.load(path).get_fdata()
    found = LoadCheckedImage(1)(path)
    assert found.dtype == torch.float32
    assert np.allclose(found[0], expected, rtol=1e-6, atol=1e-12)
    labels = LoadCheckedImage(label_map=True)(path)
    assert np.array_equal(labels[0], expected)
    assert labels.is_floating_point() == bool((expected % 1).any())


def test_a_mask_in_the_place_of_the_other_form(tmp_path):
    """ITK wrote it for an image whose forms differ: the voxels fit, and so do the places."""
    image, mask = write(tmp_path / "a.nii", (SCANNER, 1), (ALIGNED, 2)), tmp_path / "b.nii"
    seen = itk.imread(str(image))
    itk.imwrite(seen, str(mask))
    for keys in (["image", "mask"], ["mask", "image"]):
        loaded = EnsureVolumed(keys)(LoadCheckedImaged(keys)({"image": image, "mask": mask}))
        assert torch.allclose(loaded["image"].affine, loaded["mask"].affine)
        assert loaded["mask"].sum() == VOXELS.sum()
    elsewhere = SCANNER.copy()
    elsewhere[0, 3] = 99
    write(mask, (elsewhere, 1), (elsewhere, 1))
    with pytest.raises(ValueError, match="must lie in one place"):
        EnsureVolumed(keys)(LoadCheckedImaged(keys)({"image": image, "mask": mask}))


def test_a_mask_without_a_unit_has_that_of_its_image(tmp_path):
    """NiBabel leaves it out where a mask is made from the image's affine alone."""
    image, mask = write(tmp_path / "a.nii", unit="micron"), tmp_path / "b.nii"
    nibabel.save(nibabel.Nifti1Image(VOXELS, nibabel.load(image).affine), mask)
    for keys in (["image", "mask"], ["mask", "image"]):
        loaded = EnsureVolumed(keys)(LoadCheckedImaged(keys)({"image": image, "mask": mask}))
        assert torch.allclose(loaded["image"].affine, loaded["mask"].affine)
    write(mask, unit="mm")
    with pytest.raises(ValueError, match="must lie in one place"):
        EnsureVolumed(keys)(LoadCheckedImaged(keys)({"image": image, "mask": mask}))
