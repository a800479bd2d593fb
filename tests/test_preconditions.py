# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
"""What public functions do not take is refused by the name of the argument, and never passed over in silence."""

from __future__ import annotations

import pytest
import torch
from torch import nan, tensor, zeros

from monai_bbox_mil.bags import BoxBands, BoxPatches
from monai_bbox_mil.boxes import (
    box_codes,
    check_box_tensor,
    clip_boxes,
    pack_boxes,
    slice_box_tensor,
    snap_boxes,
    unpack_boxes,
)
from monai_bbox_mil.data import SharedLabels, pad_box_collate
from monai_bbox_mil.handlers import VolumeDice
from monai_bbox_mil.inferers import RandAffineInferer
from monai_bbox_mil.losses import (
    BoxDeepSupervisionLoss,
    BoxSelfTrainingLoss,
    GeneralizedMILLoss,
    box_level_set,
    box_self_training_loss,
    generalized_mil_loss,
    global_constraint_loss,
    scale_box_tensor,
)
from monai_bbox_mil.metrics import BoxIoUMetric, best_threshold

LOGITS = zeros(1, 1, 8, 8)
BOXES = tensor([[1.0, 1, 4, 4]])
TARGET = tensor([[[1.0, 1, 4, 4, 0]]])
NAN_TARGET = tensor([[[1.0, nan, 4, 4, 0]]])
CPU = torch.device("cpu")


@pytest.mark.parametrize(
    ("call", "named"),
    [
        (lambda: snap_boxes(zeros(1, 3)), "boxes"),
        (lambda: clip_boxes(BOXES, (8, 8, 8)), "boxes"),
        (lambda: clip_boxes(BOXES[0], (8, 8)), "boxes"),
        (lambda: pack_boxes(BOXES, tensor([0.5])), "classes"),
        (lambda: pack_boxes(BOXES, tensor([nan])), "classes"),
        (lambda: pack_boxes(BOXES, tensor([0]), tensor([True, False])), "ignored"),
        (lambda: box_codes(tensor([0, 1]), tensor([False])), "ignored"),
        (lambda: unpack_boxes(NAN_TARGET[0]), "box_tensor"),
        (lambda: slice_box_tensor(TARGET[0], 0), "box_tensor"),
        (lambda: check_box_tensor(TARGET, (8, 8, 8), 1), "target"),
        (lambda: check_box_tensor(TARGET[0], (8, 8), 1, "label"), "label"),
        (lambda: BoxPatches(TARGET, (8, 8), CPU), "images"),
        (lambda: BoxPatches(TARGET, (2, 1, 8, 8), CPU), "box_tensor"),
        (lambda: BoxPatches(NAN_TARGET, (1, 1, 8, 8), CPU), "box_tensor"),
        (lambda: BoxBands(zeros(1, 1, 7), (1, 1, 8, 8), 1, CPU), "box_tensor"),
        (lambda: BoxBands(TARGET, (1, 1, 8, 8), 0, CPU), "width"),
        (lambda: generalized_mil_loss(LOGITS, TARGET, unary="dice"), "unary"),
        (lambda: generalized_mil_loss(LOGITS, TARGET, negatives="none"), "negatives"),
        (lambda: generalized_mil_loss(LOGITS, TARGET, alpha=-1.0), "alpha"),
        (lambda: generalized_mil_loss(LOGITS, TARGET, beta=nan), "beta"),
        (lambda: generalized_mil_loss(LOGITS, TARGET, gamma=-2.0), "gamma"),
        (lambda: generalized_mil_loss(LOGITS, TARGET, core=2.0), "core"),
        (lambda: global_constraint_loss(LOGITS, TARGET, band_width=0), "band_width"),
        (lambda: global_constraint_loss(LOGITS, TARGET, size_bounds=(0.9, 0.1)), "size_bounds"),
        (lambda: box_level_set(LOGITS, TARGET, core=nan), "core"),
        (lambda: box_level_set(LOGITS, TARGET, roundness=-1.0), "roundness"),
        (lambda: box_self_training_loss(LOGITS, LOGITS[..., :4], TARGET), "teacher"),
        (lambda: box_self_training_loss(LOGITS, LOGITS, TARGET, outside_weight=-1.0), "outside_weight"),
        (lambda: BoxSelfTrainingLoss(GeneralizedMILLoss(), weight=nan), "weight"),
        (lambda: BoxDeepSupervisionLoss(GeneralizedMILLoss(), weights=(1.0, -1.0)), "weights"),
        (lambda: BoxDeepSupervisionLoss(GeneralizedMILLoss(), weights=()), "weights"),
        (lambda: scale_box_tensor(TARGET, (8, 8), (0, 4)), "new_shape"),
        (lambda: scale_box_tensor(TARGET, (0, 8), (4, 4)), "old_shape"),
        (lambda: scale_box_tensor(TARGET, (8, 8, 8), (4, 4)), "target"),
        (lambda: scale_box_tensor(TARGET[0], (8, 8), (4, 4)), "target"),
        (lambda: BoxIoUMetric(thresholds=()), "thresholds"),
        (lambda: BoxIoUMetric(thresholds=(0.5, nan)), "thresholds"),
        (lambda: best_threshold(zeros(1, 0), ()), "thresholds"),
        (lambda: VolumeDice(threshold=nan), "threshold"),
        (lambda: RandAffineInferer(rotate_deg=nan), "rotate_deg"),
        (lambda: SharedLabels([zeros(1), zeros(1).long()]), "labels"),
        (lambda: pad_box_collate([]), "batch"),
    ],
)
def test_what_does_not_fit_is_refused_by_its_name(call, named):
    with pytest.raises(ValueError, match=rf"\b{named}\b"):
        call()


def test_what_is_empty_is_no_mistake():
    assert snap_boxes(zeros(0, 4)).shape == clip_boxes(zeros(0, 4), (8, 8))[0].shape == (0, 4)
    assert pack_boxes(zeros(0, 4), zeros(0)).shape == (0, 5)
    assert len(unpack_boxes(zeros(0, 5))[0]) == len(slice_box_tensor(zeros(0, 7), 0)) == 0
    assert torch.isfinite(generalized_mil_loss(LOGITS, zeros(1, 0, 5)).unary).all()
    assert scale_box_tensor(zeros(1, 0, 5), (8, 8), (4, 4)).shape == (1, 0, 5)
