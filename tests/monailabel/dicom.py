# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
"""The phantom as DICOM series, an Orthanc that stores them, and DICOM segmentations as volumes."""

from __future__ import annotations

import contextlib
import io
import json
import os
import shutil
import subprocess
from pathlib import Path

import numpy as np
import requests
from pydicom import dcmread
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, MRImageStorage, generate_uid

from tests.monailabel.phantom import SHAPE, make_case
from tests.monailabel.server import free_port, wait_for

SPACING = (1.5, 1.5, 4.0)
ORIGIN = (-30.0, -20.0, 5.0)  # LPS mm, of the first voxel's centre
AFFINE = np.diag([-SPACING[0], -SPACING[1], SPACING[2], 1])  # RAS, as NIfTI has it
AFFINE[:3, 3] = -ORIGIN[0], -ORIGIN[1], ORIGIN[2]

ORTHANC = shutil.which("Orthanc", path=os.environ["PATH"] + os.pathsep + "/usr/sbin")
DICOMWEB = Path("/usr/share/orthanc/plugins/libOrthancDicomWeb.so")


def uid(kind, name):
    return generate_uid(entropy_srcs=[kind, name])


def slices(name, number):
    """The image of a case as the files of one MR series."""
    image = np.clip(make_case(number)[0], 0, None).astype(np.uint16)
    for z in range(SHAPE[2]):
        meta = FileMetaDataset()
        meta.MediaStorageSOPClassUID, meta.TransferSyntaxUID = MRImageStorage, ExplicitVRLittleEndian
        meta.MediaStorageSOPInstanceUID = uid(f"slice {z}", name)
        data = FileDataset(None, {}, file_meta=meta, preamble=bytes(128))
        data.is_little_endian, data.is_implicit_VR = True, False
        data.SOPClassUID, data.SOPInstanceUID = meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID
        data.PatientID, data.PatientName, data.PatientBirthDate, data.PatientSex = name, f"Phantom^{name}", "", ""
        data.StudyInstanceUID, data.StudyID, data.AccessionNumber = uid("study", name), name, ""
        data.StudyDate, data.StudyTime, data.ReferringPhysicianName = "20240101", "120000", ""
        data.SeriesInstanceUID, data.SeriesNumber, data.Modality = uid("series", name), 1, "MR"
        data.FrameOfReferenceUID, data.PositionReferenceIndicator = uid("frame", name), ""
        data.InstanceNumber = z + 1
        data.ImagePositionPatient = [ORIGIN[0], ORIGIN[1], ORIGIN[2] + z * SPACING[2]]
        data.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
        data.PixelSpacing, data.SliceThickness = [SPACING[1], SPACING[0]], SPACING[2]
        data.Columns, data.Rows, data.SamplesPerPixel = SHAPE[0], SHAPE[1], 1
        data.PhotometricInterpretation, data.PixelRepresentation = "MONOCHROME2", 0
        data.BitsAllocated, data.BitsStored, data.HighBit = 16, 16, 15
        data.WindowCenter, data.WindowWidth = 140, 200
        data.PixelData = image[..., z].T.tobytes()
        buffer = io.BytesIO()
        data.save_as(buffer, write_like_original=False)
        yield buffer.getvalue()


@contextlib.contextmanager
def running_orthanc(folder, cases):
    """Return the address of a DICOMweb store on this machine with ``cases``, names and numbers."""
    port, log = free_port(), folder / "orthanc.log"
    settings = {
        "StorageDirectory": str(folder / "storage"),
        "IndexDirectory": str(folder / "storage"),
        "HttpPort": port,
        "DicomServerEnabled": False,
        "RemoteAccessAllowed": False,
        "AuthenticationEnabled": False,
        "Plugins": [str(DICOMWEB)],
        "DicomWeb": {"Enable": True, "Root": "/dicom-web/"},
    }
    (folder / "orthanc.json").write_text(json.dumps(settings))
    url = f"http://127.0.0.1:{port}"
    with log.open("w") as stream:
        process = subprocess.Popen([ORTHANC, str(folder / "orthanc.json")], stdout=stream, stderr=subprocess.STDOUT)
    try:
        wait_for(process, url + "/system", log)
        for name, number in cases.items():
            for file in slices(name, number):
                requests.post(url + "/instances", data=file, timeout=60).raise_for_status()
        yield url + "/dicom-web"
    finally:
        process.terminate()
        process.wait(30)


def find_series(store, modality):
    """What a DICOMweb store has of a modality."""
    answer = requests.get(f"{store}/series?Modality={modality}", timeout=60)
    answer.raise_for_status()
    return answer.json()


def segmentation_volume(content):
    """The data set of a DICOM segmentation, and its mask in the image's voxels."""
    data = dcmread(io.BytesIO(content))
    mask = np.zeros(SHAPE, dtype=np.uint8)
    for frame, pixels in zip(data.PerFrameFunctionalGroupsSequence, data.pixel_array.reshape(-1, SHAPE[1], SHAPE[0])):
        z = (frame.PlanePositionSequence[0].ImagePositionPatient[2] - ORIGIN[2]) / SPACING[2]
        mask[..., round(z)] |= pixels.T
    return data, mask
