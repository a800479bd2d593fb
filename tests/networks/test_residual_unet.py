# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest
import torch

from monai_bbox_mil.networks import ResidualUNet


def test_initial_weights_match_the_published_code():
    torch.manual_seed(0)
    network = ResidualUNet()
    conv = network.bridge.exit.conv
    assert conv.weight.std().item() == pytest.approx((2 / (9 * conv.out_channels)) ** 0.5, rel=0.01)
    up = network.decoder[0].upsample.conv
    assert up.weight.abs().max().item() == pytest.approx((9 * up.out_channels) ** -0.5, rel=0.01)


@pytest.mark.parametrize("features", [(4, 8), (4, 6, 8)])
def test_number_of_levels(features: tuple[int, ...]):
    network = ResidualUNet(features=features).eval()
    assert network.divisor == 2 ** (len(features) - 1)
    assert [stage.exit.conv.out_channels for stage in network.encoder] == list(features[:-1])
    assert network.bridge.exit.conv.out_channels == features[-1]
    assert network(torch.zeros(1, 1, 9, 11)).shape == (1, 1, 9, 11)
