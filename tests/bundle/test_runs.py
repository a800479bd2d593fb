# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
"""Training, evaluation and inference end to end, through MONAI's own entry point."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys

import nibabel
import numpy as np
import pandas as pd
import pytest
import torch
from monai.bundle import ConfigParser
from monai.transforms import LoadImage
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from monai_bbox_mil.data import get_datalist, load_image_settings
from monai_bbox_mil.transforms import MaskToBoxTensor
from tests.bundle.conftest import CONFIGS, TINY, places, run_bundle


def test_training_leaves_model_threshold_checkpoint_and_events(trained):
    models = {path.name for path in (trained / "models").iterdir()}
    assert models == {
        "model.pt",
        "threshold.json",
        "image_settings.json",
        "model_card.json",
        "checkpoint_epoch=2.pt",
    }
    assert load_image_settings(trained / "models" / "image_settings.json") == {
        "spacing_mm": None,
        "image_size": [32, 32],
    }
    found = json.loads((trained / "models" / "threshold.json").read_text())
    assert found["calibrated_from"] == "boxes"
    assert 0 < found["threshold"][0] < 1
    assert found["num_images"] > 0
    tags = set()
    for path in (trained / "eval").glob("events.out.tfevents.*"):
        tags |= set(EventAccumulator(str(path)).Reload().Tags()["scalars"])
    assert {"train_iteration_loss", "train_loss", "train_unary", "train_pairwise", "val_loss"} <= tags
    assert "train_self_training" not in tags


def test_the_model_is_that_of_the_last_epoch_where_self_training_ended_it(phantom, tmp_path):
    overlays = "train", "experiments/recommended", "experiments/self_training"
    run_bundle(*overlays, max_epochs=3, **places(tmp_path, phantom), **TINY)
    logged = logged_scalars(tmp_path, "val_loss")
    assert box_loss_of_model(tmp_path, phantom) == pytest.approx(logged[-1], rel=1e-4)
    assert len(logged_scalars(tmp_path, "train_self_training")) == 2  # of three epochs, the first is of the box loss


def test_the_model_is_that_of_the_lowest_validation_loss(phantom, tmp_path):
    """Trained uphill, so that the lowest loss is not the last one."""
    run_bundle("train", max_epochs=2, **{"optimizer#maximize": True}, **places(tmp_path, phantom), **TINY)
    logged = logged_scalars(tmp_path, "val_loss")
    assert min(logged) < 0.999 * logged[-1]
    assert box_loss_of_model(tmp_path, phantom) == pytest.approx(min(logged), rel=1e-4)


def box_loss_of_model(folder, phantom):
    """The loss on the validation boxes with the stored weights."""
    parser = ConfigParser(ConfigParser.load_config_files([str(CONFIGS / "train.yaml")]))
    parser.update({**TINY, **places(folder, phantom)})
    network, loss = parser.get_parsed_content("network"), parser.get_parsed_content("loss")
    network.load_state_dict(torch.load(folder / "models" / "model.pt", weights_only=True))
    network.eval()
    total = count = 0
    for batch in parser.get_parsed_content("validate#dataloader"):
        with torch.no_grad():
            total += loss(network(batch["image"]), batch["label"]).item() * len(batch["image"])
        count += len(batch["image"])
    return total / count


def logged_scalars(folder, tag):
    events = [EventAccumulator(str(p)).Reload() for p in (folder / "eval").glob("events.out.tfevents.*")]
    (found,) = [e.Scalars(tag) for e in events if tag in e.Tags()["scalars"]]
    return [scalar.value for scalar in found]


def test_half_precision_on_a_cpu_learns_the_same(trained, phantom, tmp_path):
    """Validation losses of both epochs near those of float32; they differ, or it was not in half precision."""
    run_bundle("train", max_epochs=2, amp=True, **places(tmp_path, phantom), **TINY)
    half, full = logged_scalars(tmp_path, "val_loss"), logged_scalars(trained, "val_loss")
    assert half != full
    assert half[1] < half[0]
    assert half == pytest.approx(full, rel=0.05)
    assert not torch.is_autocast_enabled("cpu")


def test_the_model_is_a_plain_state_dict(trained):
    parser = ConfigParser(ConfigParser.load_config_files([str(CONFIGS / "train.yaml")]))
    parser.update(TINY)
    network = parser.get_parsed_content("network_def")
    network.load_state_dict(torch.load(trained / "models" / "model.pt", weights_only=True))


def test_training_goes_on_from_a_checkpoint(trained, phantom, tmp_path):
    shutil.copytree(trained / "models", tmp_path / "models")
    run_bundle("train", max_epochs=3, resume=True, **places(tmp_path, phantom), **TINY)
    states = [
        torch.load(p / f"models/checkpoint_epoch={e}.pt", weights_only=True) for p, e in ((trained, 2), (tmp_path, 3))
    ]
    two, three = (state["trainer"]["iteration"] for state in states)
    assert three * 2 == two * 3 > 0
    assert states[1]["lr_scheduler"]["last_epoch"] == 3
    with pytest.raises(RuntimeError) as error:
        run_bundle("train", resume=True, **places(tmp_path / "new", phantom), **TINY)
    assert "no checkpoint_epoch=N.pt to resume from" in str(error.getrepr(chain=True))


def test_evaluation_scores_and_shows_every_validation_case(trained, phantom):
    run_bundle("train", "evaluate", **places(trained, phantom), **TINY)
    table = pd.read_csv(trained / "eval" / "cases.csv")
    expected = [item["patient"] for item in get_datalist(phantom)["validation"]]
    assert table["patient"].tolist() == expected
    assert table["dice"].between(0, 1).all()
    assert table["box_iou"].between(0, 1).all()
    mask = LoadImage()(get_datalist(phantom)["validation"][0]["mask"])
    assert table["mask_voxels"][0] == int((mask == 1).sum())  # at the image's own size, not the network's
    with Image.open(trained / "eval" / "cases.png") as picture:
        assert min(picture.size) > 200


def test_evaluation_without_a_threshold_says_what_to_do(trained, phantom, tmp_path):
    (tmp_path / "models").mkdir()
    shutil.copy(trained / "models" / "model.pt", tmp_path / "models")
    with pytest.raises(RuntimeError) as error:
        run_bundle("train", "evaluate", **places(tmp_path, phantom), **TINY)
    assert "expected a calibrated threshold, found no file" in str(error.getrepr(chain=True))
    run_bundle("train", "evaluate", threshold=0.5, **places(tmp_path, phantom), **TINY)
    assert (pd.read_csv(tmp_path / "eval" / "cases.csv")["threshold"] == 0.5).all()


def test_full_supervision_is_one_override(phantom, tmp_path):
    run_bundle("train", max_epochs=1, supervision="full", **places(tmp_path, phantom), **TINY)
    run_bundle("train", "evaluate", **places(tmp_path, phantom), **TINY)
    assert (pd.read_csv(tmp_path / "eval" / "cases.csv")["threshold"] == 0.5).all()


@pytest.mark.parametrize("box_slice_dim", [None, -1])
def test_a_3d_network_trains_evaluates_and_predicts(phantom, tmp_path, box_slice_dim):
    options = {**TINY, **places(tmp_path, phantom), "image_size": [32, 32, 16], "box_slice_dim": box_slice_dim}
    run_bundle("train", "volumes", max_epochs=1, **options)
    run_bundle("train", "evaluate", "volumes", **options)
    table = pd.read_csv(tmp_path / "eval" / "cases.csv")
    assert table["patient"].tolist() == [item["patient"] for item in get_datalist(phantom)["validation"]]
    parser = ConfigParser(ConfigParser.load_config_files([str(CONFIGS / f"{n}.yaml") for n in ("train", "volumes")]))
    parser.update(options)
    item = parser.get_parsed_content("train#dataset")[0]
    assert item["image"].shape == (1, 32, 32, 16)
    thickness = item["label"][:, 5] - item["label"][:, 2]
    assert len(thickness) > 0
    assert (thickness == 1).all() if box_slice_dim == -1 else (thickness > 1).all()
    if box_slice_dim is None:
        masks = {"dataset_dir": str(phantom), "ckpt_dir": str(tmp_path / "models"), "output_dir": str(tmp_path / "out")}
        shape = {key: options[key] for key in ("image_size", "network_def#features", "progress")}
        run_bundle("inference", "volumes", **shape, **masks)
        assert len(list((tmp_path / "out").glob("*.mhd"))) > 0


def test_boxes_as_masks_train_evaluate_and_need_no_threshold(phantom, tmp_path):
    names = ["train", "experiments/boxes_as_masks"]
    run_bundle(*names, max_epochs=1, **places(tmp_path, phantom), **TINY)
    run_bundle(*names, "evaluate", **places(tmp_path, phantom), **TINY)
    table = pd.read_csv(tmp_path / "eval" / "cases.csv")
    assert (table["threshold"] == 0.5).all()
    assert table["dice"].between(0, 1).all()


def test_deepcut_relabels_saves_the_last_epoch_and_goes_on(phantom, tmp_path):
    pytest.importorskip("pydensecrf", reason="the extra deepcut (pydensecrf2) is not installed")
    names, options = ["train", "experiments/deepcut"], {**places(tmp_path, phantom), **TINY}
    run_bundle(*names, max_epochs=3, deepcut_interval=1, **options)
    three = torch.load(tmp_path / "models" / "checkpoint_epoch=3.pt", weights_only=True)
    model = torch.load(tmp_path / "models" / "model.pt", weights_only=True)
    torch.testing.assert_close(model, three["network"], rtol=0, atol=0)
    # One phase of one epoch: Adam has only seen the last third of the steps.
    assert 3 * next(iter(three["optimizer"]["state"].values()))["step"] == three["trainer"]["iteration"]
    run_bundle(*names, max_epochs=4, deepcut_interval=2, resume=True, **options)
    four = torch.load(tmp_path / "models" / "checkpoint_epoch=4.pt", weights_only=True)
    # With phases of two epochs none ends between the third and the fourth.
    assert torch.equal(three["deepcut"]["labels"], four["deepcut"]["labels"])
    torch.testing.assert_close(four["deepcut"]["first_weights"], three["deepcut"]["first_weights"])
    run_bundle(*names, "evaluate", **options)
    assert (pd.read_csv(tmp_path / "eval" / "cases.csv")["threshold"] == 0.5).all()


@pytest.mark.parametrize("overlays", [[], ["volumes"]])
def test_rounds_of_pseudo_labels_resume_to_the_same_bits(phantom, tmp_path, overlays):
    names, tiny = ["train", *overlays, "pseudo_labels"], {**TINY, "rounds": 2}
    if overlays:
        tiny |= {"image_size": [32, 32, 16], "batch_size": 2}
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    run_bundle(*names, max_epochs=6, **places(whole, phantom), **tiny)
    # Half the epochs of the same schedule: stopped in the middle of the second round.
    run_bundle(*names, max_epochs=3, epochs_per_round=2, **places(parts, phantom), **tiny)
    run_bundle(*names, max_epochs=6, resume=True, **places(parts, phantom), **tiny)
    first, second = (torch.load(folder / "models" / "model.pt", weights_only=True) for folder in (whole, parts))
    torch.testing.assert_close(first, second, rtol=0, atol=0)
    state = torch.load(whole / "models" / "checkpoint_epoch=6.pt", weights_only=True)
    assert state["pseudo_labels"]["labels"].any()
    for folder in (whole, parts):
        assert {path.name for path in (folder / "eval").glob("*.png")} == {"labels_round_1.png", "labels_round_2.png"}
    assert 3 * next(iter(state["optimizer"]["state"].values()))["step"] == state["trainer"]["iteration"]
    run_bundle(*names, "evaluate", **places(parts, phantom), **tiny)
    assert pd.read_csv(parts / "eval" / "cases.csv")["dice"].between(0, 1).all()


@pytest.mark.parametrize("kind", ["files", "inline"])
def test_training_from_box_annotations_alone(phantom, tmp_path, kind):
    """A data list of images and boxes, no mask anywhere, in the index space of images that training resamples."""
    parts = {}
    for part, items in get_datalist(phantom).items():
        parts[part] = []
        for item in items:
            boxes = MaskToBoxTensor(slice_dim=-1)(LoadImage(ensure_channel_first=True)(item["mask"]))
            entry = {"image": item["image"], "patient": item["patient"]}
            if kind == "inline":
                entry |= {"box": boxes[:, :6].tolist(), "label": boxes[:, 6].long().tolist(), "box_mode": "xyzxyz"}
            else:
                table = pd.DataFrame(boxes[:, :6], columns=["x_min", "y_min", "z_min", "x_max", "y_max", "z_max"])
                table.assign(label="organ").to_csv(tmp_path / f"{item['patient']}.csv", index=False)
                entry["box"] = f"{item['patient']}.csv"
            parts[part].append(entry)
    (tmp_path / "boxes.json").write_text(json.dumps(parts))
    options = {"datalist": str(tmp_path / "boxes.json"), "spacing_mm": [2.0, 2.0]}
    options["box_classes"] = ["organ"] if kind == "files" else None
    run_bundle("train", max_epochs=1, **places(tmp_path, tmp_path), **options, **TINY)
    run_bundle("train", "evaluate", **places(tmp_path, tmp_path), **options, **TINY)
    table = pd.read_csv(tmp_path / "eval" / "cases.csv")
    assert table["box_iou"].notna().all()
    assert table["dice"].isna().all()


def test_boxes_from_files_are_the_boxes_from_masks(phantom, tmp_path):
    """Both ways of the same annotation lead to one training target."""
    item = get_datalist(phantom)["training"][0]
    boxes = MaskToBoxTensor(slice_dim=-1)(LoadImage(ensure_channel_first=True)(item["mask"]))
    parser = ConfigParser(ConfigParser.load_config_files([str(CONFIGS / "train.yaml")]))
    parser.update({**TINY, "ckpt_dir": str(tmp_path)})
    preprocessing = parser.get_parsed_content("train#preprocessing")
    from_mask = preprocessing(item)["label"]
    inline = {"box": boxes[:, :6].tolist(), "label": boxes[:, 6].long().tolist()}
    from_boxes = preprocessing({"image": item["image"], "box": inline})["label"]
    assert len(from_mask) > 0
    assert sorted(from_mask.tolist()) == sorted(from_boxes.tolist())


def test_inference_keeps_geometry_and_file_type(trained, phantom, tmp_path):
    images = tmp_path / "images"
    images.mkdir()
    source = get_datalist(phantom)["validation"][0]["image"]
    for file in (source, source.replace(".mhd", ".raw")):
        shutil.copy(file, images)
    array = np.asarray(LoadImage()(source))
    affine = np.array([[-1.5, 0, 0, 4], [0, 1.5, 0, -7], [0, 0, 4, 1], [0, 0, 0, 1.0]])
    nibabel.save(nibabel.Nifti1Image(array.astype(np.int16), affine), images / "volume.nii.gz")
    Image.fromarray((array[..., 2].T * 255 / array.max()).astype(np.uint8)).save(images / "slice.png")
    run_bundle("inference", dataset_dir=str(images), ckpt_dir=str(trained / "models"),
               output_dir=str(tmp_path / "masks"), **TINY)  # fmt: skip
    written = sorted(path.name for path in (tmp_path / "masks").iterdir())
    case = os.path.basename(source).removesuffix(".mhd")
    assert [n for n in written if not n.endswith("raw")] == [
        f"{case}_segmentation.mhd", "slice_segmentation.png", "volume_segmentation.nii.gz"
    ]  # fmt: skip
    for path in images.iterdir():
        if path.suffix != ".raw":
            stem, dot, extension = path.name.partition(".")
            image = LoadImage()(path)
            mask = LoadImage()(tmp_path / "masks" / f"{stem}_segmentation{dot}{extension}")
            assert mask.shape == image.shape
            assert torch.allclose(mask.affine, image.affine, atol=1e-4)
            assert set(mask.unique().tolist()) <= {0, 1}


def test_inference_exports_what_its_masks_show(trained, phantom, tmp_path):
    folders = {"ckpt_dir": str(trained / "models"), "dataset_dir": str(phantom), "output_dir": str(tmp_path)}
    run_bundle("inference", **folders, **TINY, export="csv,slicer_rois", class_names=["gland"])
    table = pd.read_csv(tmp_path / "predictions.csv")
    assert {*table["class"]} == {"gland"}
    masks = sorted(tmp_path.glob("*_segmentation.mhd"))
    assert len(table) == len(masks) > 1
    for volume, path in zip(table.sort_values("image")["volume_ml"], masks):
        mask = LoadImage()(path)
        expected = float((mask > 0).sum() * mask.pixdim.prod()) / 1000
        assert volume == pytest.approx(expected, rel=1e-3)
    rois = list((tmp_path / "slicer_rois").glob("**/*.mrk.json"))
    assert rois and all(json.loads(path.read_text())["markups"][0]["type"] == "ROI" for path in rois)


def test_inference_agrees_with_evaluation(trained, phantom, tmp_path):
    """The mask that is written is the prediction that was scored; spacing and size are those of the training."""
    run_bundle("train", "evaluate", **places(trained, phantom), **TINY)
    network_only = {key: value for key, value in TINY.items() if key != "image_size"}
    run_bundle("inference", dataset_dir=str(phantom), ckpt_dir=str(trained / "models"),
               output_dir=str(tmp_path / "masks"), **network_only)  # fmt: skip
    row = pd.read_csv(trained / "eval" / "cases.csv").iloc[0]
    mask = LoadImage()(tmp_path / "masks" / f"{row['case']}_segmentation.mhd")
    assert int(mask.sum()) == row["pred_voxels"]


def test_an_empty_folder_and_a_wrong_one_are_told(tmp_path):
    for config, folder in (("inference", tmp_path), ("train", tmp_path), ("train", tmp_path / "nowhere")):
        with pytest.raises(RuntimeError) as error:
            run_bundle(config, **places(tmp_path, folder), **TINY)
        assert str(folder) in str(error.getrepr(chain=True))


def test_a_patient_in_both_parts_is_refused(phantom, tmp_path):
    item = get_datalist(phantom)["training"][0]
    entry = {"image": item["image"], "label": item["mask"], "patient": "p1"}
    (tmp_path / "list.json").write_text(json.dumps({"training": [entry], "validation": [entry]}))
    with pytest.raises(RuntimeError) as error:
        run_bundle("train", datalist=str(tmp_path / "list.json"), **places(tmp_path, tmp_path), **TINY)
    assert "p1" in str(error.getrepr(chain=True))


def command_line(*arguments):
    pairs = [f"--{key}={value}" for key, value in TINY.items()]
    return [*arguments, *pairs, "--max_epochs=1"]


def test_the_command_line_from_another_folder(phantom, tmp_path):
    """With a bundle of its own, whose folders are used: only the images are named."""
    shutil.copytree(CONFIGS, tmp_path / "mine" / "configs")
    module = [
        sys.executable,
        "-m",
        "monai.bundle",
        "run",
        f"--config_file={tmp_path / 'mine' / 'configs' / 'train.yaml'}",
    ]
    options = [f"--dataset_dir={phantom}"]
    environment = {**os.environ, "PYTHONPATH": str(CONFIGS.parents[1])}
    done = subprocess.run(
        command_line(*module, *options), cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "mine" / "trained" / "threshold.json").is_file()
    assert list((tmp_path / "mine" / "eval").glob("events*"))


@pytest.mark.parametrize(
    ("folder", "options"),
    [
        ("sunnybrook_lv", {"spacing_mm": [8.0, 8.0]}),
        ("soop_flair", {"spacing_mm": [6.0, 6.0]}),
        ("hippocampus", {"spacing_mm": [2.0, 2.0], "label_values": [1, 2]}),
    ],
)
def test_real_images_by_naming_their_folder(real_data, tmp_path, folder, options):
    listed = get_datalist(real_data / folder)
    assert min(len(part) for part in listed.values()) >= 14
    few = {part: items[:2] for part, items in listed.items()}
    options |= {"data_items": few}
    run_bundle("train", max_epochs=1, **places(tmp_path, real_data / folder), **options, **TINY)
    run_bundle("train", "evaluate", **places(tmp_path, real_data / folder), **options, **TINY)
    table = pd.read_csv(tmp_path / "eval" / "cases.csv")
    assert len(table) == 2 * len(options.get("label_values", [1]))
    assert (table["mask_voxels"] > 0).all()
