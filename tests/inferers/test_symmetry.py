# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest
import torch

from monai_bbox_mil.inferers import SymmetryInferer


@pytest.mark.parametrize(
    ("options", "views"),
    [
        ({}, 1),
        ({"flip_axes": (0,)}, 2),
        ({"flip_axes": (0, 1)}, 4),
        ({"quarter_turns": True}, 4),
        ({"flip_axes": (0,), "quarter_turns": True}, 8),
        ({"flip_axes": (0, 1), "quarter_turns": True}, 8),
    ],
)
def test_each_view_is_seen_once_and_turned_back(options, views):
    image, seen = torch.rand(2, 1, 6, 6), []
    output = SymmetryInferer(**options)(image, lambda shown: seen.append(shown) or 2 * shown)
    torch.testing.assert_close(output, 2 * image)
    assert len(seen) == views
    assert len({tuple(shown.flatten().tolist()) for shown in seen}) == views


def test_the_mean_has_the_symmetry():
    torch.manual_seed(0)
    network, inferer = torch.nn.Conv2d(1, 2, 3, padding=1), SymmetryInferer((0, 1), quarter_turns=True)
    image = torch.rand(1, 1, 8, 8)
    output = inferer(image, network)
    for moved in (lambda x: x.flip(2), lambda x: x.rot90(1, (2, 3))):
        torch.testing.assert_close(inferer(moved(image), network), moved(output))
    assert not torch.allclose(network(image), output)


def test_volumes_of_unequal_sides_are_flipped_along_any_axis():
    image = torch.rand(1, 1, 4, 5, 6)
    torch.testing.assert_close(SymmetryInferer((0, 2))(image, lambda shown: shown), image)


def test_what_is_refused():
    with pytest.raises(ValueError, match="flip_axes must hold distinct axes"):
        SymmetryInferer((0, 0))
    with pytest.raises(ValueError, match="flip_axes must be spatial axes of the input, from 0 to 1"):
        SymmetryInferer((2,))(torch.zeros(1, 1, 4, 4), lambda shown: shown)
