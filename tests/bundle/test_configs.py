# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
"""What MONAI's tools expect of the bundle's files."""

from __future__ import annotations

import re
import shutil

import pytest
import torch
from monai.bundle import ConfigParser, ConfigWorkflow
from monai.losses import DiceFocalLoss
from monai.transforms import Spacingd

from monai_bbox_mil.data import save_image_settings
from monai_bbox_mil.losses import GeneralizedMILLoss
from monai_bbox_mil.transforms import BoxTensorToMask
from tests.bundle.conftest import CONFIGS, TINY, places

OVERLAYS = ["promise12", "atlas", "decathlon"]


def parse(*names):
    return ConfigParser(ConfigParser.load_config_files([str(CONFIGS / f"{name}.yaml") for name in names]))


@pytest.mark.parametrize(
    ("names", "kind"),
    [
        (["train"], "train"),
        (["train", "experiments/boxes_as_masks"], "train"),
        (["train", "experiments/deepcut"], "train"),
        (["train", "evaluate"], "infer"),
        (["inference"], "infer"),
    ],
)
def test_all_required_properties_are_there(names, kind, phantom, trained, tmp_path):
    if "experiments/deepcut" in names:
        pytest.importorskip("pydensecrf", reason="the extra deepcut (pydensecrf2) is not installed")
    files = [str(CONFIGS / f"{name}.yaml") for name in names]
    shutil.copytree(trained, tmp_path, dirs_exist_ok=True)  # a training that begins moves what an earlier one left
    overrides = {**places(tmp_path, phantom), "bundle_root": str(CONFIGS.parent), "progress": False}
    workflow = ConfigWorkflow(workflow_type=kind, config_file=files, **overrides)
    workflow.initialize()
    try:
        assert workflow.check_properties() == []
    finally:
        workflow.finalize()


def test_inference_sees_images_as_training_does():
    train, inference = parse("train"), parse("inference")
    for key in ("network_def", "label_values", "in_channels", "bundle_root", "device"):
        assert inference[key] == train[key], key
    others = re.compile("Lambda|LoadCheckedImage|EnsureVolume")  # besides the geometry: a check, and loading
    loaded = [t for t in inference["preprocessing#transforms"] if not others.search(t["_target_"])]
    for mine, theirs in zip(loaded, train["image_transforms"], strict=True):
        different = {k for k in mine.keys() | theirs.keys() if mine.get(k) != theirs.get(k)}
        if theirs["_target_"] == "monai_bbox_mil.transforms.CropWithCountd":  # MONAI's crop, which counts boxes
            assert mine["_target_"] == "monai.transforms.ResizeWithPadOrCropd"
            different -= {"_target_", "classes", "min_size", "slice_dim"}
        assert different <= {"keys", "mode", "allow_missing_keys"}


def test_inference_takes_spacing_and_size_from_the_training_beside_the_weights(tmp_path):
    save_image_settings(tmp_path / "image_settings.json", [1.5, 2], (48, 64))
    parser = parse("inference")
    parser["ckpt_dir"] = str(tmp_path)
    assert parser.get_parsed_content("spacing_mm") == [1.5, 2]
    assert parser.get_parsed_content("slice_inferer").roi_size == [48, 64]
    (resampling,) = [t for t in parser.get_parsed_content("preprocessing").transforms if isinstance(t, Spacingd)]
    assert resampling.spacing_transform.pixdim.tolist() == [1.5, 2, -1]


def test_without_image_settings_inference_says_what_to_do_and_overrides_do_without(tmp_path):
    parser = parse("inference")
    parser["ckpt_dir"] = str(tmp_path)
    with pytest.raises(RuntimeError) as error:
        parser.get_parsed_content("preprocessing")
    assert "--spacing_mm None --image_size" in str(error.getrepr(chain=True))
    parser.update({"ckpt_dir": str(tmp_path), "spacing_mm": None, "image_size": [32, 32]})
    transforms = parser.get_parsed_content("preprocessing").transforms
    assert not any(isinstance(t, Spacingd) for t in transforms)
    assert transforms[0]({"image": "a.nii"}) == {"image": "a.nii"}


@pytest.mark.parametrize("overlay", [*OVERLAYS, "volumes"])
@pytest.mark.parametrize("base", ["train", "inference"])
def test_overlays_fit_training_and_inference(base, overlay):
    parser = parse(base, overlay)
    network = parser.get_parsed_content("network_def")
    classes = len(parser["label_values"])
    assert overlay not in OVERLAYS or len(parser["class_names"]) == classes
    with torch.no_grad():
        assert network.eval()(torch.zeros(1, 1, *parser["image_size"])).shape == (1, classes, *parser["image_size"])


@pytest.mark.parametrize(
    ("names", "overrides", "slice_dim"),
    [(["train"], {}, None), (["train", "volumes"], {}, None), (["train", "volumes"], {"box_slice_dim": -1}, -1)],
)
def test_thresholds_are_calibrated_on_boxes_cut_as_those_given(names, overrides, slice_dim):
    parser = parse(*names)
    parser.update(overrides)
    assert parser.get_parsed_content("calibrate#handlers")[1].metric.slice_dim == slice_dim


def test_boxes_as_masks_are_the_boxes_filled_in(phantom):
    """Label of the naive floor against the boxes of the same volume, and its loss against that of full supervision."""
    labels = {}
    for supervision in ("boxes", "boxes_as_masks", "full"):
        parser = parse("train")
        parser.update({**TINY, **places(phantom, phantom), "supervision": supervision})
        labels[supervision] = parser.get_parsed_content("train#dataset")
        boxes_only = supervision == "boxes"
        assert isinstance(parser.get_parsed_content("loss"), GeneralizedMILLoss if boxes_only else DiceFocalLoss)
    some = 0
    for boxes, filled, masks in zip(*(map(d.plain, range(len(d))) for d in labels.values())):
        expected = BoxTensorToMask(1)(boxes["label"], boxes["image"].shape[1:])
        assert (filled["label"] == expected).all()
        assert (masks["label"] <= filled["label"]).all()
        some += int((masks["label"] < filled["label"]).any())
    assert some > 10


def test_deepcut_holds_what_the_paper_states():
    parser = parse("train", "experiments/deepcut")
    assert parser.get_parsed_content("full_loss").__class__ is torch.nn.BCEWithLogitsLoss
    assert parser["deepcut_interval"] == 10
    assert parser["max_epochs"] % parser["deepcut_interval"] == 0
    refine = parser["refine"]
    assert [refine[k] for k in ("appearance_px", "appearance_grey", "smoothness_px", "iterations")] == [10, 20, 1, 5]
    assert parser["train#handlers"][-1]["_target_"] == "monai_bbox_mil.handlers.DeepCut"
    # The learning rate starts again with each phase.
    scheduler = parser.get_parsed_content("lr_scheduler")
    rates = []
    for _ in range(20):
        rates.append(scheduler.get_last_lr()[0])
        scheduler.optimizer.step()
        scheduler.step()
    assert rates[0] == rates[10] == parser["learning_rate"]
    assert max(rates[5:10]) < 0.6 * rates[0]


def test_what_is_recommended_is_the_default():
    preset = ConfigParser.load_config_file(str(CONFIGS / "experiments" / "recommended.yaml"))
    train = parse("train")
    assert preset == {name: train[name] for name in preset}


def test_an_unknown_supervision_is_told():
    parser = parse("train")
    parser["supervision"] = "box"
    with pytest.raises(RuntimeError) as error:
        parser.get_parsed_content("train#preprocessing")
    assert "supervision" in str(error.value)
    cause = str(error.value.__cause__)
    assert "'box' is not a valid value" in cause
    assert all(f"'{name}'" in cause for name in ("boxes", "boxes_as_masks", "full"))


def test_overlays_hold_what_the_paper_states():
    promise12, atlas = parse("train", "promise12"), parse("train", "atlas")
    for parser, batch, rate, parameters in ((promise12, 16, 1e-4, 19_644_961), (atlas, 80, 5e-4, 459_530)):
        optimizer = parser.get_parsed_content("optimizer")
        assert isinstance(optimizer, torch.optim.Adam)
        assert optimizer.defaults["lr"] == rate
        assert tuple(optimizer.defaults["betas"]) == (0.9, 0.99)
        assert parser["batch_size"] == batch
        assert sum(p.numel() for p in parser.get_parsed_content("network_def").parameters()) == parameters
    assert promise12.get_parsed_content("box_loss").angles_deg == (-40, -20, 0, 20, 40)
    assert atlas.get_parsed_content("box_loss").angles_deg == (-60, -30, 0, 30, 60)


@pytest.mark.parametrize("path", sorted(CONFIGS.rglob("*.yaml")), ids=lambda path: path.stem)
def test_every_target_exists_and_is_written_in_full(path):
    from pydoc import locate

    targets = re.findall(r"_target_: ([^\s,}]+)", path.read_text())
    for target in targets:
        assert "." in target, target
        assert locate(target) is not None, target


@pytest.mark.parametrize("path", sorted(CONFIGS.rglob("*.yaml")), ids=lambda path: path.stem)
def test_every_hyperparameter_has_a_comment(path):
    bare = [
        line
        for line in path.read_text().splitlines()
        if re.match(r"[a-z_0-9#]+: *(?!{_target_)[^ &\"$#][^#]*$", line)
        and not line.startswith(("in_channels", "seed"))
    ]
    assert [line for line in bare if not line.rstrip().endswith(":")] == []
