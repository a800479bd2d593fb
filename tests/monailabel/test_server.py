# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
"""One round after the other over HTTP: boxes, training, masks, scores, a corrected mask, training again.

The tests of this file are one story and run in its order; each names what the one before left behind.
"""

from __future__ import annotations

import io
import json
import subprocess

import nibabel
import numpy as np
import pytest

from tests.monailabel.phantom import AFFINE, NAMES, SHAPE, dice, mask_of, slice_boxes, slicer_markups

pytest.importorskip("monailabel", reason="needs an environment with MONAI Label: tests/monailabel/run")

from tests.monailabel.server import monailabel, running_server, shrink


@pytest.fixture(scope="module")
def server(tmp_path_factory, images):
    folder = tmp_path_factory.mktemp("server")
    subprocess.run(monailabel("apps", "--download", "--name", "boxes", "--output", folder), check=True)
    shrink(folder / "boxes" / "bundle")
    with running_server(folder / "boxes", images) as running:
        yield running


def test_the_app_lists_what_it_has(server):
    info = server.get("/info/")
    assert info["name"] == "Segmentation from boxes"
    assert {name: model["type"] for name, model in info["models"].items()} == {
        "segmentation": "segmentation",
        "box_prompt": "deepgrow",
    }
    assert list(info["trainers"]) == ["segmentation"]
    assert set(info["strategies"]) == {"box_iou", "random"}
    assert list(info["scoring"]) == ["box_iou"]
    assert info["labels"] == ["object"]
    assert info["datastore"]["total"] == len(NAMES)


def test_before_the_first_training_the_error_says_what_to_do(server, tmp_path):
    with pytest.raises(RuntimeError, match="no trained model yet.*label tag 'boxes'"):
        server.infer("segmentation", "a", tmp_path)
    status, details = server.train()
    assert status == "ERROR"
    assert "Nothing to learn from: no image of the datastore has boxes" in details


def test_boxes_train_a_model(server):
    for name in ("a", "b"):
        content = json.dumps(slicer_markups(slice_boxes(mask_of(name))))
        server.save_label(name, "boxes", f"{name}.mrk.json", content)
    for name in ("c", "d"):
        boxes = slice_boxes(mask_of(name))
        server.save_label(name, "boxes", f"{name}.json", json.dumps({"box": boxes, "label": [0] * len(boxes)}))
    assert server.model_hash is None
    status, details = server.train()
    assert status == "DONE", details
    assert server.model_hash


def test_a_mask_comes_back_in_the_image_s_geometry(server, tmp_path):
    found = server.infer("segmentation", "e", tmp_path)
    assert found.shape == SHAPE
    assert np.allclose(found.affine, AFFINE, atol=1e-4)
    assert dice(found.get_fdata(), mask_of("e")) > 0.6


def test_a_box_prompt_gives_a_mask_that_fits_the_box(server, tmp_path):
    mask = mask_of("e")
    low, high = np.argwhere(mask).min(0), np.argwhere(mask).max(0) + 1
    roi = [int(v) for pair in zip(low, high) for v in pair]
    reversed_roi = [roi[1], roi[0], roi[2], roi[3], roi[5], roi[4]]
    found = [server.infer("box_prompt", "e", tmp_path, roi=r).get_fdata() for r in (roi, reversed_roi)]
    assert np.array_equal(*found)
    assert np.array_equal(np.argwhere(found[0]).min(0), low)
    assert np.array_equal(np.argwhere(found[0]).max(0) + 1, high)
    assert dice(found[0], mask) > 0.8
    with pytest.raises(RuntimeError, match="roi is missing"):
        server.infer("box_prompt", "e", tmp_path)
    with pytest.raises(RuntimeError, match="roi must lie in the image"):
        server.infer("box_prompt", "e", tmp_path, roi=[100, 120, 100, 120, 0, 1])


def test_the_worst_fit_is_the_next_sample(server):
    server.call("POST", "/scoring/box_iou?run_sync=true", json={})
    scores = {name: server.get(f"/datastore/image/info?image={name}").get("box_iou") for name in NAMES}
    assert scores["e"] is None
    assert all(0 < scores[name] <= 1 for name in "abcd")
    sample = server.call("POST", "/activelearning/box_iou", json={}).json()
    assert sample["id"] == min("abcd", key=scores.get)


def test_a_corrected_mask_is_learned_from(server, tmp_path):
    worst = server.call("POST", "/activelearning/box_iou", json={}).json()["id"]
    corrected = tmp_path / f"{worst}.nii.gz"
    nibabel.save(nibabel.Nifti1Image(mask_of(worst), AFFINE), corrected)
    server.save_label(worst, "final", corrected.name, io.BytesIO(corrected.read_bytes()))
    before = server.model_hash
    status, details = server.train(max_epochs=8)
    assert status == "DONE", details
    assert server.model_hash != before
    assert server.call("POST", "/activelearning/box_iou", json={}).json()["id"] != worst
    assert dice(server.infer("segmentation", "e", tmp_path).get_fdata(), mask_of("e")) > 0.6


def test_what_is_not_there_is_refused(server, tmp_path):
    with pytest.raises(RuntimeError, match="400: .*There is no model .nothing."):
        server.infer("nothing", "a", tmp_path)
    with pytest.raises(RuntimeError, match="404: .*There is no image .nothing. in the datastore"):
        server.infer("segmentation", "nothing", tmp_path)


def test_a_second_training_has_to_wait(server):
    server.start_training(max_epochs=200)
    with pytest.raises(RuntimeError, match="429"):
        server.call("POST", "/train/segmentation", json={})
    assert server.call("DELETE", "/train/").json()["status"] == "STOPPED"
