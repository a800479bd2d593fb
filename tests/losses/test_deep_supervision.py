# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest
import torch
from monai.data import DataLoader
from monai.losses import DeepSupervisionLoss
from monai.networks.nets import DynUNet, SegResNetDS
from torch.nn.functional import adaptive_max_pool2d, adaptive_max_pool3d

from monai_bbox_mil.boxes import BoxBatch
from monai_bbox_mil.data import pad_box_collate
from monai_bbox_mil.losses import BoxDeepSupervisionLoss, GeneralizedMILLoss, GlobalConstraintLoss, scale_box_tensor
from monai_bbox_mil.transforms import MaskToBoxTensor

TARGET = torch.tensor([[[3.0, 5.0, 20.0, 27.0, 0.0], [0, 0, 0, 0, -1]], [[1.0, 1, 9, 30, -2], [8, 8, 24, 24, 0]]])


@pytest.mark.parametrize("size", [(16, 16), (8, 32), (4, 4), (32, 32), (64, 48)])
def test_scaled_boxes_match_the_scaled_mask(size):
    mask = torch.zeros(1, 1, 32, 32)
    mask[..., 5:20, 11:31] = 1
    target = MaskToBoxTensor()(mask[0])[None]
    if max(size) <= 32:
        scaled = adaptive_max_pool2d(mask, size)
    else:
        scaled = mask.repeat_interleave(size[0] // 16, 2).repeat_interleave(size[1] // 16, 3)
        scaled = adaptive_max_pool2d(scaled, size)
    assert scale_box_tensor(target, (32, 32), size).tolist() == [MaskToBoxTensor()(scaled[0]).tolist()]


def test_scaled_boxes_of_volumes():
    mask = torch.zeros(1, 1, 16, 16, 8)
    mask[..., 5:11, 2:15, 3:6] = 1
    target = MaskToBoxTensor()(mask[0])[None]
    scaled = MaskToBoxTensor()(adaptive_max_pool3d(mask, (8, 4, 4))[0])
    assert scale_box_tensor(target, (16, 16, 8), (8, 4, 4)).tolist() == [scaled.tolist()]


def test_scaling_keeps_padding_and_ignored_regions():
    scaled = scale_box_tensor(TARGET, (32, 32), (16, 16))
    assert scaled.tolist() == [[[1, 2, 10, 14, 0], [0, 0, 0, 0, -1]], [[0, 0, 5, 15, -2], [4, 4, 12, 12, 0]]]


@pytest.mark.parametrize("loss", [GeneralizedMILLoss(), GlobalConstraintLoss()])
def test_heads_are_weighted_and_summed(loss):
    heads = [torch.randn(2, 1, n, n, generator=torch.Generator().manual_seed(n)) for n in (32, 16, 8)]
    scaled = [scale_box_tensor(TARGET, (32, 32), (n, n)) for n in (32, 16, 8)]
    alone = [loss(head, boxes) for head, boxes in zip(heads, scaled)]
    wrapped = BoxDeepSupervisionLoss(loss)
    torch.testing.assert_close(wrapped(heads, BoxBatch(TARGET, (32, 32))), alone[0] + alone[1] / 2 + alone[2] / 4)
    torch.testing.assert_close(
        BoxDeepSupervisionLoss(loss, [1, 0.3, 2])(heads, TARGET), alone[0] + 0.3 * alone[1] + 2 * alone[2]
    )
    torch.testing.assert_close(wrapped(heads[0], TARGET), alone[0])
    torch.testing.assert_close(wrapped(torch.stack([heads[0]] * 2, 1), TARGET), 1.5 * alone[0])
    loss(heads[0], TARGET)
    assert {key: value.tolist() for key, value in wrapped.parts.items()} == {
        k: v.tolist() for k, v in loss.parts.items()
    }


def test_heads_that_do_not_fit_raise():
    loss = BoxDeepSupervisionLoss(GeneralizedMILLoss(), [1.0])
    with pytest.raises(ValueError, match="weights must have one number per head"):
        loss([torch.zeros(2, 1, 32, 32)] * 2, TARGET)
    with pytest.raises(ValueError, match="at least one head"):
        loss([], TARGET)
    with pytest.raises(ValueError, match=r"boxes were made for, \(32, 32\), got \(16, 16\)"):
        loss([torch.zeros(2, 1, 16, 16)], BoxBatch(TARGET, (32, 32)))


def test_networks_with_several_heads_learn():
    dynunet = DynUNet(
        2, 1, 1, [3] * 4, [1, 2, 2, 2], [2] * 3, filters=[4, 4, 8, 8], deep_supervision=True, deep_supr_num=2
    )
    for network in (dynunet, SegResNetDS(2, init_filters=4, out_channels=1, blocks_down=(1, 1, 1), dsdepth=3)):
        torch.manual_seed(0)
        BoxDeepSupervisionLoss(GeneralizedMILLoss())(network.train()(torch.randn(2, 1, 32, 32)), TARGET).backward()
        assert all(p.grad is not None and p.grad.isfinite().all() for p in network.parameters())


@pytest.mark.parametrize("heads", [[torch.zeros(2, 1, 32, 32)] * 2, (torch.zeros(2, 1, 32, 32),)])
def test_the_error_for_a_list_of_heads_names_the_wrapper(heads):
    with pytest.raises(TypeError, match=r"input must be one tensor.*BoxDeepSupervisionLoss\(loss\)"):
        GeneralizedMILLoss()(heads, TARGET)


@pytest.mark.parametrize("shape", [(2, 2, 1, 32, 32), (2, 3, 1, 8, 8, 8)])
def test_the_error_for_stacked_heads_names_the_wrapper(shape):
    target = TARGET if len(shape) == 5 else torch.tensor([[[1.0, 1, 1, 4, 4, 4, 0]]] * 2)
    with pytest.raises(ValueError, match=r"BoxDeepSupervisionLoss\(loss\)"):
        GeneralizedMILLoss()(torch.zeros(shape), target)


def test_the_error_in_monais_wrapper_names_ours():
    items = [{"image": torch.zeros(1, 32, 32), "label": rows} for rows in TARGET]
    batch = next(iter(DataLoader(items, batch_size=2, collate_fn=pad_box_collate)))
    heads = [batch["image"], batch["image"][..., ::2, ::2]]
    with pytest.raises(TypeError, match="target must be a mask to be interpolated, .*BoxDeepSupervisionLoss instead"):
        DeepSupervisionLoss(GeneralizedMILLoss())(heads, batch["label"])
    assert DeepSupervisionLoss(GeneralizedMILLoss())(batch["image"], batch["label"]).isfinite()  # one head
