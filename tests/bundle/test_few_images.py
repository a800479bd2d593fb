# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
"""First tries: one patient, no validation part, masks of other values than expected."""

from __future__ import annotations

import json
import warnings

import nibabel
import numpy as np
import pytest
import torch
from monai.bundle import ConfigParser

from monai_bbox_mil.csv_tables import read_table
from tests.bundle.conftest import CONFIGS, TINY, places, run_bundle


def write_images(folder, names, value=1, places=((3, 7), (5, 6), (8, 4))):
    """Volumes with a bright block, their masks, and entries of a data list."""
    entries = []
    for number, name in enumerate(names):
        rng = np.random.default_rng(number)
        mask = np.zeros((24, 24, 3), dtype=np.uint8)
        x, y = places[number]
        mask[x : x + 8, y : y + 9] = value
        image = (rng.normal(100, 5, mask.shape) + 60 * (mask > 0)).astype(np.float32)
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        for ending, voxels in (("", image), ("_mask", mask)):
            nibabel.save(nibabel.Nifti1Image(voxels, np.diag([1.0, 1, 3, 1])), folder / f"{name}{ending}.nii")
        entries.append({"image": f"{name}.nii", "label": f"{name}_mask.nii"})
    return entries


def error_of(*names, **overrides):
    with pytest.raises(RuntimeError) as error:
        run_bundle(*names, **overrides)
    return str(error.getrepr(chain=True))


def test_one_patient_trains_goes_on_and_is_evaluated(tmp_path):
    entries = write_images(tmp_path, ["a$\\frac$/NA"])
    (tmp_path / "datalist.json").write_text(json.dumps({"training": entries}))
    options = {**places(tmp_path, tmp_path), **TINY}
    with pytest.warns(UserWarning, match=r"no validation part.* last epoch"):
        run_bundle("train", max_epochs=1, **options)
    run_bundle("train", max_epochs=2, resume=True, **options)
    models = tmp_path / "models"
    last = torch.load(models / "checkpoint_epoch=2.pt", weights_only=True)
    torch.testing.assert_close(torch.load(models / "model.pt", weights_only=True), last["network"], rtol=0, atol=0)
    threshold = json.loads((models / "threshold.json").read_text())
    assert (threshold["threshold"], threshold["calibrated_from"]) == ([0.5], "nothing")
    message = error_of("train", "evaluate", **options)
    assert f"{tmp_path}: expected at least one image in the part 'validation', got none (training: 1" in message
    assert "--evaluated training" in message
    run_bundle("train", "evaluate", evaluated="training", **options)
    table = read_table(tmp_path / "eval" / "cases.csv", texts=["case", "patient"])
    assert table[["case", "patient"]].values.tolist() == [["NA", "NA"]]


@pytest.mark.filterwarnings("ignore:.*it counts as empty")
def test_masks_of_other_values_end_before_the_first_epoch(tmp_path):
    entries = write_images(tmp_path, "abc", 255)
    (tmp_path / "datalist.json").write_text(json.dumps({"training": entries[:2], "validation": entries[2:]}))
    message = error_of("train", max_epochs=1, **places(tmp_path, tmp_path), **TINY)
    assert "training: expected an object to learn from, got none in 2 images (class 1: 0)" in message
    assert 'give --label_values "[255]"' in message
    assert not list((tmp_path / "models").glob("*.pt"))
    parser = ConfigParser(ConfigParser.load_config_files([str(CONFIGS / "train.yaml")]))
    parser.update({**places(tmp_path, tmp_path), **TINY, "label_values": [255]})
    check = parser.get_parsed_content("object_check")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check()


@pytest.mark.parametrize(("supervision", "cut"), [("boxes", "of 6 boxes 3 are cut"), ("full", "boxes cut: 3, lost: 0")])
def test_what_image_size_cuts_is_told_for_each_supervision(tmp_path, supervision, cut):
    """Blocks of 8 x 9 pixels in all three slices; one of two reaches out of the 4 to 20 that are left of 24 pixels."""
    entries = write_images(tmp_path, "ab")
    items = [{"image": str(tmp_path / e["image"]), "mask": str(tmp_path / e["label"])} for e in entries]
    parser = ConfigParser(ConfigParser.load_config_files([str(CONFIGS / "train.yaml")]))
    parser.update({**TINY, "image_size": [16, 16], "supervision": supervision, "data_items": {"training": items}})
    with pytest.warns(UserWarning, match=rf'training: {cut}.*--image_size "\[32,16\]" would hold them all'):
        parser.get_parsed_content("object_check")()
