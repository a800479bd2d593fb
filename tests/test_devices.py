# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
"""What computes on tensors computes on each device as on the CPU: a tensor made on the wrong one raises."""

from __future__ import annotations

from functools import partial

import pytest
import torch
from ignite.engine import Engine

from monai_bbox_mil.bags import BoxBands, BoxPatches, CrossingLines, EmptyLines
from monai_bbox_mil.boxes import boxes_to_mask, check_box_tensor, clip_boxes, pack_boxes, snap_boxes, unpack_boxes
from monai_bbox_mil.handlers import VolumeDice
from monai_bbox_mil.inferers import RandAffineInferer
from monai_bbox_mil.losses import (
    BoxDeepSupervisionLoss,
    BoxPairwiseLoss,
    BoxSelfTrainingLoss,
    GeneralizedMILLoss,
    GlobalConstraintLoss,
    box_level_set,
    scale_box_tensor,
)
from monai_bbox_mil.metrics import BoxIoUMetric
from monai_bbox_mil.networks import ENet, ResidualUNet
from monai_bbox_mil.smooth_max import SMOOTH_MAXIMA, log_smooth_max

CPU = torch.device("cpu")
# Devices add in other orders.
assert_close = partial(torch.testing.assert_close, rtol=1e-4, atol=1e-5)
BASELINE = {"smooth_max": "max", "angles_deg": (0,), "unary": "bce", "negatives": "lines", "pairwise_region": "image"}
BOXES = {
    2: torch.tensor([[[2.0, 3, 9, 8, 0], [1, 1, 5, 5, -2]], [[0, 4, 12, 9, 1], [0, 0, 0, 0, -1]]]),
    3: torch.tensor([[[2.0, 3, 1, 9, 8, 4, 0], [1, 1, 0, 5, 5, 2, -2]], [[0, 4, 2, 12, 9, 5, 1], [0] * 6 + [-1]]]),
}


@pytest.fixture(params=[2, 3])
def boxes(request):
    return BOXES[request.param]


def logits_for(boxes):
    return torch.randn(2, 2, *(12, 10, 5)[: boxes.shape[-1] // 2])


@pytest.mark.parametrize(
    "loss",
    [
        GeneralizedMILLoss(),
        GeneralizedMILLoss(**BASELINE),
        BoxPairwiseLoss(),
        GlobalConstraintLoss(),
        BoxDeepSupervisionLoss(GeneralizedMILLoss()),
    ],
    ids=["generalized", "baseline", "pairwise", "constraint", "heads"],
)
def test_losses(device, loss, boxes):
    logits = logits_for(boxes)
    found = []
    for place in (CPU, device):
        moved = logits.to(place).requires_grad_()
        heads = [moved, moved[:, :, ::2, ::2]] if isinstance(loss, BoxDeepSupervisionLoss) else moved
        value = loss(heads, boxes.to(place))
        value.backward()
        assert value.device.type == moved.grad.device.type == place.type
        found.append((value.detach().cpu(), moved.grad.cpu()))
    assert_close(*found)


def test_self_training(device, boxes):
    logits, teacher = logits_for(boxes), logits_for(boxes)
    found = []
    for place in (CPU, device):
        loss = BoxSelfTrainingLoss(GeneralizedMILLoss(), box_weight=1.0)
        loss.teacher = teacher.to(place)
        found.append(loss(logits.to(place), boxes.to(place)).cpu())
    assert_close(*found)


def test_level_sets(device, boxes):
    logits = logits_for(boxes)
    on_device = box_level_set(logits.to(device), boxes)
    assert on_device.device.type == device.type
    assert_close(on_device.cpu(), box_level_set(logits, boxes))


@pytest.mark.parametrize("method", SMOOTH_MAXIMA)
def test_smooth_maxima_of_bags(device, method, boxes):
    logits = logits_for(boxes)
    found = []
    for place in (CPU, device):
        patches = BoxPatches(boxes, logits.shape, place)
        lines = log_smooth_max(patches.gather(logits.to(place)), CrossingLines(patches, (0, 30)), method)
        empty = log_smooth_max(-logits.to(place), EmptyLines(patches), method, -4.0)
        found.append((lines.cpu(), empty.cpu()))
    assert_close(*found)


def test_bands(device, boxes):
    logits = logits_for(boxes)
    found = []
    for place in (CPU, device):
        bands = BoxBands(boxes, logits.shape, 3, place)
        found.append(bands.sum(logits.to(place).flatten()[bands.pixel]).cpu())
    assert_close(*found)


def test_box_functions(device, boxes):
    shape = (12, 10, 5)[: boxes.shape[-1] // 2]
    found = []
    for place in (CPU, device):
        batch = boxes.to(place)
        check_box_tensor(batch, shape, 2)
        corners, classes, ignored = unpack_boxes(batch[0])
        clipped, left = clip_boxes(snap_boxes(corners), shape)
        results = (
            boxes_to_mask(batch, shape, 2),
            pack_boxes(clipped, classes, ignored),
            left,
            scale_box_tensor(batch, shape, [(size + 1) // 2 for size in shape]),
        )
        assert {result.device.type for result in results} == {place.type}
        found.append([result.cpu() for result in results])
    assert_close(*found)


def test_box_iou(device, boxes):
    prob = logits_for(boxes).sigmoid()
    found = []
    for place in (CPU, device):
        metric = BoxIoUMetric(thresholds=(0.3, 0.6))
        metric(prob.to(place), boxes.to(place))
        found.append(metric.aggregate().cpu())
    assert_close(*found, equal_nan=True)


@pytest.mark.parametrize("network", [ENet, ResidualUNet])
def test_networks(device, network):
    image = torch.randn(2, 1, 37, 20)  # a size that has to be padded
    output = network(1, 2).to(device).eval()(image.to(device))
    assert output.device.type == device.type and output.shape == (2, 2, 37, 20)


@pytest.mark.parametrize("spatial", [(16, 12), (8, 9, 7)])
def test_moved_inference(device, spatial):
    image = torch.randn(2, 1, *spatial, device=device)
    output = RandAffineInferer(rotate_deg=10.0, zoom=0.1)(image, lambda moved: moved)
    assert output.device.type == device.type and output.shape == image.shape


def test_volume_dice(device):
    evaluator = Engine(lambda engine, batch: {"pred": torch.full((2, 1, 4, 4), 5.0, device=device)})
    VolumeDice().attach(evaluator)
    evaluator.run([{"volume_index": torch.tensor([0, 1]), "mask": torch.ones(2, 1, 4, 4)}])
    assert evaluator.state.metrics["val_dice"] == 1.0
