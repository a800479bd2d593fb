# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
"""From DICOM series and their annotations to a trained network and its masks, with the bundle as it is."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
import torch
from monai.bundle import ConfigParser
from monai.transforms import LoadImage

from monai_bbox_mil.data import get_datalist
from tests.bundle.conftest import CONFIGS, TINY, places, run_bundle
from tests.dicom_files import to_patient, trace, write_rtstruct, write_seg, write_series


@pytest.fixture(scope="module")
def dicom(phantom, tmp_path_factory):
    """The phantom's first patients as series; RTSTRUCTs for training and a SEG for validation."""
    folder = tmp_path_factory.mktemp("dicom")
    parts: dict[str, list[dict]] = {"training": [], "validation": []}
    listed = get_datalist(phantom)
    chosen = [("training", item) for item in listed["training"][:3]] + [("validation", listed["validation"][0])]
    for number, (part, item) in enumerate(chosen):
        name, orientation = f"1.2.840.{number}", ("axial", "coronal")[number % 2]
        image, mask = (np.asarray(LoadImage()(item[key])) for key in ("image", "mask"))
        # Saved from the last slice to the first: the files' order is not the volume's.
        slices = write_series(folder / "images" / name, image, orientation, order=-1, spacing_mm=(1.5, 1.5, 4.0))
        path = folder / f"{name}.dcm"
        if part == "training":
            outlines = [to_patient(slices, index, line) for index, line in trace(mask == 1, 1 - 1e-6)]
            write_rtstruct(path, slices, {"organ": outlines})
        else:
            write_seg(path, slices, mask[..., None] == 1, ["organ"])
        parts[part].append({"image": f"images/{name}", "box": path.name})
    (folder / "datalist.json").write_text(json.dumps(parts))
    return folder


def test_training_evaluation_and_prediction(dicom, tmp_path):
    options = {"box_classes": ["organ"], "spacing_mm": [2.0, 2.0], **places(tmp_path, dicom), **TINY}
    run_bundle("train", max_epochs=1, **options)
    run_bundle("train", "evaluate", **options)
    table = pd.read_csv(tmp_path / "eval" / "cases.csv")
    assert table["case"].tolist() == table["patient"].tolist() == ["1.2.840.3"]
    assert table["box_iou"].notna().all()
    run_bundle("inference", dataset_dir=str(dicom / "images"), ckpt_dir=str(tmp_path / "models"),
               output_dir=str(tmp_path / "masks"), spacing_mm=[2.0, 2.0], **TINY)  # fmt: skip
    written = sorted(path.name for path in (tmp_path / "masks").iterdir())
    assert written == [f"1.2.840.{number}_segmentation.nii.gz" for number in range(4)]
    for number in range(4):
        image = LoadImage()(dicom / "images" / f"1.2.840.{number}")
        mask = LoadImage()(tmp_path / "masks" / written[number])
        assert mask.shape == image.shape
        assert torch.allclose(mask.affine, image.affine, atol=1e-4)


def test_one_series_by_its_own_folder(dicom, tmp_path):
    parser = ConfigParser(ConfigParser.load_config_files([str(CONFIGS / "inference.yaml")]))
    folder = dicom / "images" / "1.2.840.0"
    parser.update({**TINY, "dataset_dir": str(folder), "output_dir": str(tmp_path / "masks"), "threshold": 0.5})
    save = parser.get_parsed_content("postprocessing").transforms[-1]
    (item,) = parser.get_parsed_content("dataset").data
    save({"pred": LoadImage(ensure_channel_first=True)(item["image"])})
    assert [str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*.nii.gz")] == [
        "masks/1.2.840.0_segmentation.nii.gz"
    ]


def test_the_network_is_taught_the_boxes_of_the_masks(dicom, phantom, tmp_path):
    """An axial series, whose slices MONAI turns over, against the volume it was made of."""
    parser = ConfigParser(ConfigParser.load_config_files([str(CONFIGS / "train.yaml")]))
    parser.update({**TINY, **places(tmp_path, dicom), "box_classes": ["organ"]})
    preprocessing = parser.get_parsed_content("train#preprocessing")
    from_dicom = preprocessing(get_datalist(dicom)["training"][0])
    from_mask = preprocessing(get_datalist(phantom)["training"][0])
    boxes, depth = from_mask["label"].clone(), from_mask["image"].shape[-1]
    boxes[:, [2, 5]] = depth - boxes[:, [5, 2]]
    assert len(boxes) > 0
    assert sorted(from_dicom["label"].tolist()) == sorted(boxes.tolist())
    torch.testing.assert_close(from_dicom["image"].as_tensor(), from_mask["image"].as_tensor().flip(-1))
