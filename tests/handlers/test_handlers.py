# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
import torch
from ignite.engine import Engine, Events
from monai.data import MetaTensor
from PIL import Image

from monai_bbox_mil.handlers import CaseReport, LossParts, ThresholdCalibrator, VolumeDice
from monai_bbox_mil.losses import GeneralizedMILLoss
from monai_bbox_mil.runs import latest_checkpoint
from monai_bbox_mil.visualize import CasePicture, load_pictures, save_comparison_grid, save_picture_grid


def case(name, pred_rows, mask_rows=(2, 6), spacing_mm=(1.0, 2.0, 5.0)):
    """Make a volume of three slices with a square in the middle one; pred and mask differ in their rows."""
    affine = torch.diag(torch.tensor([*spacing_mm, 1.0], dtype=torch.float64))
    original = MetaTensor(torch.rand(1, 12, 12, 3), affine=affine, meta={"filename_or_obj": f"data/{name}.nii.gz"})
    masks = []
    for low, high in (pred_rows, mask_rows):
        mask = torch.zeros(1, 12, 12, 3)
        mask[0, low:high, 2:6, 1] = 1
        masks.append(mask)
    label = torch.tensor([[mask_rows[0], 2, 1, mask_rows[1], 6, 2, 0]], dtype=torch.float32)
    return {"original": original, "mask": masks[1], "patient": name}, {"pred": masks[0], "label": label}


def run_report(cases, folder, **options):
    def step(engine, number):
        engine.state.batch = [cases[number][0]]
        return [cases[number][1]]

    engine = Engine(step)
    CaseReport(folder, ["organ"], threshold=0.4, **options).attach(engine)
    return engine.run(range(len(cases)))


def test_hand_computed_scores(tmp_path):
    state = run_report([case("a", (2, 6)), case("b", (2, 8)), case("c", (9, 9))], tmp_path)
    table = pd.read_csv(tmp_path / "cases.csv").set_index("case")
    assert table["dice"].tolist() == pytest.approx([1, 2 * 16 / 40, 0], abs=1e-4)
    assert table["box_iou"].tolist() == pytest.approx([1, 16 / 24, 0], abs=1e-4)
    assert table["hd95_mm"].tolist()[:2] == pytest.approx([0, 2])  # two extra rows of 1 mm
    assert np.isnan(table.loc["c", "hd95_mm"])
    assert table["pred_voxels"].tolist() == [16, 24, 0]
    assert table["threshold"].tolist() == [0.4] * 3
    assert state.metrics["mean_dice"] == pytest.approx((1 + 0.8) / 3)
    summary = pd.read_csv(tmp_path / "summary.csv").set_index(["class", "score"])
    assert summary.loc[("organ", "dice"), "mean"] == pytest.approx(0.6)
    assert summary.loc[("organ", "hd95_mm"), "count"] == 2


def test_the_picture_shows_best_median_and_worst(tmp_path):
    run_report([case(n, (2, 6 + i)) for i, n in enumerate("abcde")], tmp_path)
    with Image.open(tmp_path / "cases.png") as picture:
        assert picture.size[0] > 800
        assert picture.size[1] > 800
        colors = np.asarray(picture.convert("RGB")).reshape(-1, 3).astype(int)
    assert ((colors[:, 1] - colors[:, 0]) > 60).sum() > 500  # green boxes and masks


def test_without_masks_only_boxes_are_scored(tmp_path):
    inputs, outputs = case("a", (2, 8))
    del inputs["mask"]
    state = run_report([(inputs, outputs)], tmp_path)
    table = pd.read_csv(tmp_path / "cases.csv")
    assert table["box_iou"].tolist() == pytest.approx([16 / 24], abs=1e-4)
    assert table[["dice", "hd95_mm", "mask_voxels"]].isna().all(axis=None)
    assert "mean_dice" not in state.metrics
    assert (tmp_path / "cases.png").is_file()


def test_single_slices_are_measured_along_their_outline(tmp_path):
    inputs, outputs = case("a", (2, 7))
    inputs = {**inputs, "original": inputs["original"][..., 1:2], "mask": inputs["mask"][..., 1:2]}
    label = torch.tensor([[2.0, 2, 0, 6, 6, 1, 0]])
    run_report([(inputs, {"pred": outputs["pred"][..., 1:2], "label": label})], tmp_path)
    assert pd.read_csv(tmp_path / "cases.csv")["hd95_mm"].tolist() == pytest.approx([1.0])


def test_a_prediction_of_another_size_raises(tmp_path):
    inputs, outputs = case("a", (2, 6))
    with pytest.raises(
        ValueError, match=r"a.nii.gz: mask must have the shape of pred \(1, 12, 12, 2\), got \(1, 12, 12, 3\)"
    ):
        run_report([(inputs, {**outputs, "pred": outputs["pred"][..., :2]})], tmp_path)
    with pytest.raises(ValueError, match="pictures must hold at least one case"):
        save_picture_grid(tmp_path / "x.png", [], ["a"])


def test_parts_are_averaged_over_the_epoch():
    loss = GeneralizedMILLoss(pairwise_weight=2.0)
    target = torch.tensor([[[1.0, 1, 4, 4, 0], [0.0, 0, 3, 3, 1]]])
    totals = []

    def step(engine, shift):
        totals.append(loss(torch.full((1, 2, 6, 6), float(shift)), target).item())

    engine = Engine(step)
    LossParts(loss).attach(engine)
    metrics = engine.run([-1, 2]).metrics
    assert set(metrics) == {f"train_{n}_class{c}" for n in ("loss", "unary", "pairwise") for c in (0, 1)}
    assert (metrics["train_loss_class0"] + metrics["train_loss_class1"]) / 2 == pytest.approx(sum(totals) / 2)


def test_a_part_that_the_loss_no_longer_has_is_no_longer_logged():
    class Changing:
        parts = {"first": torch.ones(1)}

    loss = Changing()
    trainer = Engine(lambda *_: None)
    LossParts(loss).attach(trainer)
    seen = []
    trainer.add_event_handler(Events.EPOCH_COMPLETED, lambda engine: seen.append(sorted(engine.state.metrics)))
    trainer.add_event_handler(Events.EPOCH_COMPLETED, lambda _: setattr(loss, "parts", {"second": torch.ones(1)}))
    trainer.run([0], max_epochs=2)
    assert seen == [["train_first"], ["train_second"]]


def test_a_loss_without_parts_adds_no_metrics():
    engine = Engine(lambda *_: None)
    LossParts(torch.nn.MSELoss()).attach(engine)
    assert engine.run([1]).metrics == {}


def test_calibration_finds_the_threshold_with_the_best_boxes(tmp_path):
    prob = torch.full((2, 1, 10, 10), 0.1)
    prob[:, :, 1:8, 1:8] = 0.3
    prob[:, :, 2:6, 2:6] = 0.42
    label = torch.tensor([[[2.0, 2, 6, 6, 0]]] * 2)
    engine = Engine(lambda *_: {"pred": prob, "label": label})
    ThresholdCalibrator(tmp_path / "threshold.json").attach(engine)
    state = engine.run([0])
    found = json.loads((tmp_path / "threshold.json").read_text())
    assert found["threshold"] == [0.4]
    assert found["num_images"] == 2
    assert found["calibrated_from"] == "boxes"
    assert state.metrics["box_iou"] == 1


def test_classes_that_meet_no_box_are_not_calibrated(tmp_path, caplog):
    """Use three channels: one fits its box, one is predicted but in no image, one is in an image but not predicted."""
    prob = torch.zeros(1, 3, 10, 10)
    prob[0, 0, 2:6, 2:6], prob[0, 1] = 0.42, 0.07
    label = torch.tensor([[[2.0, 2, 6, 6, 0], [1, 1, 3, 3, 2]]])
    path = tmp_path / "threshold.json"
    for channels, calibrated in (([0, 1, 2], [True, False, False]), ([1, 2], [False, False])):
        caplog.clear()
        rows = torch.stack([row for row in label[0] if int(row[4]) in channels])
        rows[:, 4] = torch.tensor([channels.index(int(code)) for code in rows[:, 4]])
        outputs = {"pred": prob[:, channels], "label": rows[None]}
        engine = Engine(lambda *_, outputs=outputs: outputs)
        ThresholdCalibrator(path, name="calibration").attach(engine)
        with caplog.at_level("INFO", logger="calibration"):
            engine.run([0])
        found = json.loads(path.read_text(), parse_constant=pytest.fail)  # NaN is not valid JSON
        assert found["calibrated"] == calibrated
        assert found["threshold"] == [0.25 if known else 0.5 for known in calibrated]
        assert found["calibrated_from"] == ("boxes" if any(calibrated) else "nothing")
        assert ("Threshold from boxes alone" in caplog.text) is any(calibrated)
        assert f"not calibrated for 2 of {len(channels)} classes" in caplog.text


def test_calibration_boxes_volumes_slice_by_slice(tmp_path):
    """A slanted object fits its boxes slice by slice; one box around the whole object would be much larger."""
    prob = torch.full((1, 1, 10, 10, 2), 0.1)
    prob[0, 0, 1:4, 1:4, 0], prob[0, 0, 3:8, 3:8, 1] = 0.42, 0.42
    label = torch.tensor([[[1.0, 1, 0, 4, 4, 1, 0], [3, 3, 1, 8, 8, 2, 0]]])
    engine = Engine(lambda *_: {"pred": prob, "label": label})
    found = {}
    for slice_dim in (-1, None):
        ThresholdCalibrator(tmp_path / "threshold.json", slice_dim=slice_dim).attach(engine)
        found[slice_dim] = engine.run([0]).metrics["box_iou"]
    assert found == {-1: 1.0, None: pytest.approx((9 + 25) / (2 * 49))}


def test_the_latest_checkpoint_has_the_highest_epoch(tmp_path):
    for epoch in (9, 10, 2):
        torch.save({}, tmp_path / f"checkpoint_epoch={epoch}.pt")
    (tmp_path / "checkpoint_epoch=11.pt.tmp").touch()
    assert latest_checkpoint(tmp_path).endswith("checkpoint_epoch=10.pt")
    with pytest.raises(FileNotFoundError, match="no checkpoint_epoch=N.pt to resume from"):
        latest_checkpoint(tmp_path / "nothing")


def test_slices_of_a_volume_are_scored_together():
    """Split volume 0 over two batches: 4 + 2 voxels predicted, 4 + 4 in the mask, 4 + 0 in both. Volume 1 is empty."""
    logits, mask = torch.full((3, 1, 4, 4), -2.0), torch.zeros(3, 1, 4, 4)
    logits[0, 0, 0], mask[0, 0, 0] = 2.0, 1
    logits[1, 0, 0, :2], mask[1, 0, 3] = 2.0, 1
    batches = [([0], torch.tensor([0])), ([1, 2], torch.tensor([0, 1]))]

    def step(engine, batch):
        chosen, volume = batch
        engine.state.batch = {"mask": mask[chosen], "volume_index": volume}
        return {"pred": logits[chosen]}

    engine = Engine(step)
    VolumeDice(metric_name="dice").attach(engine)
    assert engine.run(batches).metrics["dice"] == pytest.approx((2 * 4 / (6 + 8) + 1) / 2)


def test_without_masks_there_is_no_volume_dice():
    engine = Engine(lambda *_: {"pred": torch.zeros(1, 1, 4, 4)})
    VolumeDice().attach(engine)
    assert engine.run([{"volume_index": torch.tensor([0])}]).metrics == {}


def test_kept_pictures_can_be_loaded_and_compared(tmp_path):
    cases = [case(n, (2, 6 + i)) for i, n in enumerate("ab")]
    del cases[1][0]["mask"]
    run_report(cases, tmp_path, keep_pictures=True)
    kept = load_pictures(tmp_path / "pictures.npz")
    assert sorted(kept) == ["a", "b"]
    assert kept["a"].title == "a"
    assert kept["a"].image.dtype == np.uint8
    assert kept["a"].pred.sum() == kept["a"].mask.sum() == 16
    assert kept["b"].mask is None
    assert kept["a"].boxes.tolist() == [[2, 2, 6, 6, 0]]
    assert kept["a"].aspect == 2.0
    low, high = np.percentile(cases[0][0]["original"][0, ..., 1], (1, 99.5))
    levels = np.clip((np.asarray(cases[0][0]["original"][0, ..., 1]) - low) / (high - low), 0, 1)
    assert np.abs(kept["a"].image / 255 - levels).max() < 0.003
    rows = [(name, {"one": picture, "two": picture}) for name, picture in kept.items()]
    save_comparison_grid(tmp_path / "grid.png", rows, ["organ"])
    with Image.open(tmp_path / "grid.png") as picture:
        assert picture.size[0] > picture.size[1] > 300
    with pytest.raises(ValueError, match="pictures must hold at least one case"):
        save_comparison_grid(tmp_path / "x.png", [], ["a"])


def test_a_comparison_shows_the_part_with_boxes_and_predictions(tmp_path):
    """Draw a small box around a bright spot of a black image: most of the whole image would be black."""
    image = np.zeros((90, 90), dtype=np.uint8)
    image[30:60, 30:60] = 200
    region = np.zeros((1, 90, 90), dtype=bool)
    region[0, 42:48, 42:48] = True
    seen = CasePicture("a", image, np.array([[42, 42, 48, 48, 0]]), region, region)
    far = seen._replace(pred=np.roll(region, 40, axis=1))

    def black(*pictures):
        rows = [("a", {str(number): picture for number, picture in enumerate(pictures)})]
        save_comparison_grid(tmp_path / "grid.png", rows, ["organ"])
        with Image.open(tmp_path / "grid.png") as picture:
            return (np.asarray(picture.convert("L")) < 20).mean()

    assert black(seen) < 0.05
    assert black(seen, far) > 0.3
