# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
"""MONAI Label's own app for bundles serves and trains ours unchanged, from masks."""

from __future__ import annotations

import io
import re
import shutil
from pathlib import Path

import nibabel
import numpy as np
import pytest
import torch
from monai.bundle import ConfigParser

from monai_bbox_mil.data import load_image_settings, save_image_settings
from tests.monailabel.phantom import AFFINE, SHAPE, dice, mask_of

pytest.importorskip("monailabel", reason="needs an environment with MONAI Label: tests/monailabel/run")

from tests.monailabel.server import running_server, sample_app, shrink

NAME = "boxes_segmentation"
SPACING_MM = [1.2, 1.7]  # not that of the images


@pytest.fixture(scope="module")
def server(tmp_path_factory, images, request):
    app = tmp_path_factory.mktemp("stock") / "monaibundle"
    shutil.copytree(sample_app("monaibundle"), app)
    bundle = app / "model" / NAME
    shutil.copytree(Path(request.config.rootpath) / "bundle" / "configs", bundle / "configs")
    shrink(bundle)
    training = bundle / "configs" / "train.yaml"
    resampling = re.sub(r"(?m)^spacing_mm: null", f"spacing_mm: {SPACING_MM}", training.read_text())
    training.write_text(resampling)
    (bundle / "models").mkdir()
    parser = ConfigParser()  # the app passes over a bundle without weights
    parser.read_config(str(bundle / "configs" / "inference.yaml"))
    torch.save(parser.get_parsed_content("network_def").state_dict(), bundle / "models" / "model.pt")
    save_image_settings(bundle / "models" / "image_settings.json", SPACING_MM, [48, 48])
    options = ["--conf", "models", NAME, "--conf", "zoo_source", "local", "--conf", "sam2", "false"]
    with running_server(app, images, *options, bundle=bundle) as running:
        yield running


def save_mask(server, name, folder):
    path = folder / f"{name}.nii.gz"
    nibabel.save(nibabel.Nifti1Image(mask_of(name), AFFINE), path)
    server.save_label(name, "final", path.name, io.BytesIO(path.read_bytes()))


def test_weights_without_a_threshold_are_not_used(server, tmp_path):
    info = server.get("/info/")
    assert info["models"][NAME]["type"] == "segmentation"
    assert info["models"][NAME]["labels"] == {"object": 1}
    assert list(info["trainers"]) == [NAME]
    with pytest.raises(RuntimeError, match="500"):
        server.infer(NAME, "e", tmp_path)
    assert server.told("expected a calibrated threshold, found no file")


def test_masks_train_it_and_predictions_come_back(server, tmp_path):
    for name in "abcd":
        save_mask(server, name, tmp_path)
    before = server.model_hash
    status, details = server.train(NAME)
    assert status == "DONE", details
    assert server.model_hash != before
    settings = load_image_settings(server.bundle / "models" / "image_settings.json")
    assert settings == {"spacing_mm": SPACING_MM, "image_size": [48, 48]}
    found = server.infer(NAME, "e", tmp_path)
    assert found.shape == SHAPE
    assert np.allclose(found.affine, AFFINE, atol=1e-4)
    assert dice(found.get_fdata(), mask_of("e")) > 0.6


def test_a_threshold_of_other_weights_is_not_used(server, tmp_path):
    model = server.bundle / "models" / "model.pt"
    kept = model.read_bytes()
    torch.save({name: 0.5 * value for name, value in torch.load(model).items()}, model)
    with pytest.raises(RuntimeError, match="500"):
        server.infer(NAME, "e", tmp_path)
    assert server.told("expected thresholds of the model.pt beside it")
    model.write_bytes(kept)
