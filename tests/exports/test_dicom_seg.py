# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
"""DICOM SEG, read back by our own reader and by highdicom."""

from __future__ import annotations

import numpy as np
import pydicom
import pytest
import torch
from monai.data import MetaTensor

from monai_bbox_mil.annotations import read_boxes
from monai_bbox_mil.boxes import pack_boxes, snap_boxes
from monai_bbox_mil.exports import Prediction, make_exports
from monai_bbox_mil.transforms import LoadCheckedImage, MaskToBoxTensor
from tests.dicom_files import edit, write_frames, write_series
from tests.dicom_scene import MASKS, SHAPE

CLASSES = ("Größe & «organ»", "lesion 2")
VALUES = (7, 1001)
LABELS = np.where(MASKS[..., 1], VALUES[1], np.where(MASKS[..., 0], VALUES[0], 0))


def load(path):
    return LoadCheckedImage()(path)


def predict(image, labels=LABELS, sure=True):
    label_map = MetaTensor(torch.as_tensor(labels)[None], affine=image.affine, meta=image.meta)
    prob = np.stack([labels == value for value in VALUES]) * 0.75 if sure else None
    return Prediction(label_map, VALUES, CLASSES, probabilities=prob)


def export(prediction, folder, classes=CLASSES):
    (writer,) = make_exports("dicom_seg", folder, classes)
    writer.add(prediction)
    writer.finish()
    return writer.path(prediction.image)


def found(path, image) -> list[list[float]]:
    boxes, channels = read_boxes(path, image, CLASSES, min_size=1)
    return sorted(pack_boxes(snap_boxes(boxes), channels).tolist())


def expected(labels) -> list[list[float]]:
    """A SEG is read as a box per component and slice."""
    return sorted(MaskToBoxTensor(VALUES, slice_dim=2)(np.asarray(labels)[None]).tolist())


def masks_of(path, image) -> np.ndarray:
    """Label map of a SEG, found by the positions of its frames."""
    file = pydicom.dcmread(path)
    labels = np.zeros(image.shape[1:], dtype=int)
    to_index = np.linalg.inv(image.affine.numpy()) @ np.diag([-1.0, -1, 1, 1])
    for groups, pixels in zip(file.PerFrameFunctionalGroupsSequence, file.pixel_array, strict=True):
        segment = groups.SegmentIdentificationSequence[0].ReferencedSegmentNumber
        position = groups.PlanePositionSequence[0].ImagePositionPatient
        column, row, index = (to_index @ [*map(float, position), 1.0])[:3].round(3)
        assert column == row == 0 and index % 1 == 0
        labels[..., int(index)][pixels.T > 0] = VALUES[segment - 1]
    return labels


@pytest.mark.parametrize("orientation", ["axial", "sagittal", "coronal", "oblique"])
@pytest.mark.parametrize("order", [1, -1])
def test_boxes_of_a_series_are_read_back(tmp_path, orientation, order):
    write_series(tmp_path / "Fall 1 ü", np.arange(np.prod(SHAPE)).reshape(SHAPE) % 1000, orientation, order)
    image = load(tmp_path / "Fall 1 ü")
    path = export(predict(image), tmp_path / "out")
    assert path == tmp_path / "out/dicom_seg/Fall 1 ü.dcm"
    assert found(path, image) == expected(LABELS)


@pytest.mark.parametrize("order", [[0, 1, 2, 3, 4, 5], [5, 4, 3, 2, 1, 0], [3, 0, 5, 1, 4, 2]])
def test_frames_of_one_file_in_any_order(tmp_path, order):
    write_frames(tmp_path / "a.dcm", np.arange(np.prod(SHAPE)).reshape(SHAPE) % 1000, "oblique", order)
    image = load(tmp_path / "a.dcm")
    path = export(predict(image), tmp_path / "out")
    assert found(path, image) == expected(LABELS)


@pytest.mark.parametrize("orientation", ["axial", "oblique"])
@pytest.mark.parametrize("order", [1, -1])
def test_masks_are_those_of_the_prediction_voxel_by_voxel(tmp_path, orientation, order):
    write_series(tmp_path / "a", np.zeros(SHAPE), orientation, order)
    labels = np.random.default_rng(0).choice([0, *VALUES], SHAPE)
    image = load(tmp_path / "a")
    path = export(predict(image, labels), tmp_path / "out")
    assert np.array_equal(masks_of(path, image), labels)


def test_slices_of_a_tilted_gantry(tmp_path):
    write_series(tmp_path / "a", np.zeros(SHAPE))
    for index, file in enumerate(sorted((tmp_path / "a").iterdir())):
        x, y, z = pydicom.dcmread(file).ImagePositionPatient
        edit(file, ImagePositionPatient=[x, y + 0.8 * index, z])
    image = load(tmp_path / "a")
    path = export(predict(image), tmp_path / "out")
    assert found(path, image) == expected(LABELS)
    assert np.array_equal(masks_of(path, image), LABELS)


def test_segments_and_patient(tmp_path):
    slices = write_series(tmp_path / "a", np.zeros(SHAPE))
    edit(tmp_path / "a", SpecificCharacterSet="ISO_IR 100", PatientName="Müller^Jörg")
    path = export(predict(load(tmp_path / "a")), tmp_path / "out")
    file = pydicom.dcmread(path)
    assert [each.SegmentLabel for each in file.SegmentSequence] == list(CLASSES)
    assert [each.SegmentAlgorithmType for each in file.SegmentSequence] == ["AUTOMATIC"] * 2
    assert str(file.PatientName) == "Müller^Jörg" and file.PatientID == slices[0].PatientID
    assert file.StudyInstanceUID == slices[0].StudyInstanceUID
    assert file.FrameOfReferenceUID == slices[0].FrameOfReferenceUID
    assert file.SeriesInstanceUID != slices[0].SeriesInstanceUID


@pytest.mark.parametrize(
    ("charset", "patient"), [("", "A^B"), (["", "ISO 2022 IR 87"], "Yamada^Tarou=山田^太郎"), (None, "A^B")]
)
def test_texts_of_any_character_set(tmp_path, charset, patient):
    write_series(tmp_path / "a", np.zeros(SHAPE))
    edit(tmp_path / "a", SpecificCharacterSet=charset, PatientName=patient)
    file = pydicom.dcmread(export(predict(load(tmp_path / "a")), tmp_path / "out"))
    assert str(file.PatientName) == patient and file.SegmentSequence[0].SegmentLabel == CLASSES[0]


def test_a_series_without_the_tags_that_deidentification_removes(tmp_path):
    write_series(tmp_path / "a", np.zeros(SHAPE))
    gone = [
        "AccessionNumber",
        "StudyID",
        "StudyDate",
        "StudyTime",
        "SeriesDate",
        "PatientName",
        "PatientID",
        "PatientBirthDate",
        "PatientSex",
        "ReferringPhysicianName",
        "SliceThickness",
        "SeriesNumber",
        "InstanceNumber",
    ]
    edit(tmp_path / "a", **dict.fromkeys(gone))
    image = load(tmp_path / "a")
    path = export(predict(image), tmp_path / "out")
    assert found(path, image) == expected(LABELS)
    for name in ("SOPInstanceUID", "FrameOfReferenceUID"):
        write_series(tmp_path / name, np.zeros(SHAPE))
        edit(tmp_path / name, **{name: None})
        with pytest.raises(ValueError, match=rf"export dicom_seg: expected {name} in .*\.dcm, to which a SEG refers"):
            export(predict(load(tmp_path / name)), tmp_path / "out")


def test_an_image_without_objects_has_a_seg_without_pixels(tmp_path):
    write_series(tmp_path / "a", np.zeros(SHAPE))
    image = load(tmp_path / "a")
    path = export(predict(image, np.zeros(SHAPE, dtype=int)), tmp_path / "out")
    assert not pydicom.dcmread(path).pixel_array.any()
    with pytest.raises(ValueError, match="For an image without objects, give an empty list of boxes instead"):
        read_boxes(path, image, CLASSES)


def test_one_class_may_be_absent(tmp_path):
    write_series(tmp_path / "a", np.zeros(SHAPE))
    image, labels = load(tmp_path / "a"), np.where(VALUES[1] == LABELS, VALUES[1], 0)
    path = export(predict(image, labels), tmp_path / "out")
    assert found(path, image) == expected(labels)
    assert [each.SegmentLabel for each in pydicom.dcmread(path).SegmentSequence] == list(CLASSES)


def test_what_is_refused(tmp_path):
    write_series(tmp_path / "a", np.zeros(SHAPE))
    image = load(tmp_path / "a")
    shifted = image.clone()
    shifted.affine[0, 3] += 0.7
    with pytest.raises(ValueError, match=r"expected a prediction in the grid of .*a, .*up to 1\.00 voxels off"):
        export(predict(shifted), tmp_path / "out")
    with pytest.raises(ValueError, match=r"in the grid of .*which has \(20, 16, 6\) voxels, got \(20, 16, 5\)"):
        export(predict(image, LABELS[..., :5]), tmp_path / "out")
    nifti = Prediction(LABELS[None], VALUES, CLASSES, tmp_path / "b.nii.gz", affine=np.eye(4))
    with pytest.raises(ValueError, match=r"is a DICOM series.*got .*b\.nii\.gz. Export seg_nrrd instead"):
        export(nifti, tmp_path / "out")
    for name in ("a\\b", "a\nb", "x" * 65):
        with pytest.raises(ValueError, match="expected class_names of at most 64 characters without backslashes"):
            make_exports("dicom_seg", tmp_path, [name])
    assert not list(tmp_path.rglob("out/**/*.dcm"))
