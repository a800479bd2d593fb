# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from collections import Counter

import pytest
import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812

from monai_bbox_mil.networks import ENet
from monai_bbox_mil.networks.enet import _unpool


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


def test_only_the_side_heads_are_frozen():
    frozen = {name for name, parameter in ENet().named_parameters() if not parameter.requires_grad}
    assert frozen == {f"side_head_{at}.{what}" for at in ("half", "quarter") for what in ("weight", "bias")}


def test_deep_supervision_returns_the_side_heads_at_full_size():
    network = ENet(1, 2, features=8, dropout_prob=(0, 0), deep_supervision=True).train()
    x = torch.randn(2, 1, 30, 33)
    stacked = network(x)
    assert stacked.shape == (2, 3, 2, 30, 33)
    half, quarter = stacked[:, 1, :, :28, :32], stacked[:, 2, :, :28, :32]
    assert torch.equal(half, half[..., ::2, ::2].repeat_interleave(2, -1).repeat_interleave(2, -2))
    assert torch.equal(quarter, quarter[..., ::4, ::4].repeat_interleave(4, -1).repeat_interleave(4, -2))
    assert not torch.equal(quarter, quarter[..., ::8, ::8].repeat_interleave(8, -1).repeat_interleave(8, -2))
    network.deep_supervision = False
    torch.testing.assert_close(network(x), stacked[:, 0])
    network.deep_supervision = True
    assert network.eval()(x).shape == (2, 2, 30, 33)


def test_initial_weights_match_the_published_code():
    network = ENet()
    conv = network.stage3[-1].shortcut
    assert conv.weight.std().item() == pytest.approx((2 / (9 * (128 + 64))) ** 0.5, rel=0.01)
    scales = torch.cat([m.weight for m in network.modules() if isinstance(m, nn.BatchNorm2d)])
    assert (scales.mean().item(), scales.std().item()) == pytest.approx((1, 0.02), abs=0.002)


def test_dropout_probabilities():
    dropouts = [module.p for module in ENet(dropout_prob=(0.2, 0.3)).modules() if isinstance(module, nn.Dropout)]
    # 0.2: 4 bottlenecks of stage 1, 2 down, 8 dilated, 2 up; 0.3: 4 each in stages 2 and 3, 3 in the decoder.
    assert Counter(dropouts) == {0.2: 16, 0.3: 11}


@pytest.mark.parametrize("shape", [(2, 3, 4, 6), (1, 2, 5, 7)])
def test_unpool_equals_max_unpool(shape: tuple[int, ...]):
    x = torch.randn(shape)
    pooled, indices = F.max_pool2d(x, 2, return_indices=True)
    expected = F.max_unpool2d(pooled, indices, 2, output_size=x.shape)
    assert torch.equal(_unpool(pooled, indices, x), expected)
