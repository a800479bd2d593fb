# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
"""Tests with boxes and images that the loss splits: several blocks per row, several chunks per image."""

from __future__ import annotations

import pytest
import torch

from monai_bbox_mil.bags import row_sums
from monai_bbox_mil.bags.patches import LANES
from monai_bbox_mil.losses import GeneralizedMILLoss, box_pairwise_loss, focal, generalized_mil_loss
from tests.reference.naive_mil import mil_terms
from tests.strategies import random_logits

BASELINE = {"smooth_max": "max", "angles_deg": (0,), "unary": "bce", "negatives": "lines"}
STEEP = {"angles_deg": (-60, 60, 30)}
SYSTEMS = [{}, {"smooth_max": "alpha_quasimax", **STEEP}, {"smooth_max": "max", **STEEP}, BASELINE]
SHAPE = (40, 53)
# Rows of one, two and three blocks; overlaps; whole rows and columns; an ignored box over a box.
TARGET = [
    [[2, 3, 38, 20, 0], [10, 0, 30, 53, 1], [0, 30, 40, 50, 0], [5, 5, 9, 44, -2], [12, 10, 20, 13, 0]],
    [[0, 0, 7, 14, 1], [20, 20, 39, 36, 0], [22, 20, 39, 51, 1], [0, 0, 0, 0, -1], [1, 1, 30, 40, -3]],
]


def options_of(system):
    options = {"smooth_max": "alpha_softmax", "angles_deg": (-40, 40, 20), "unary": "focal", "negatives": "pixels"}
    return {**options, **system}


def value_and_gradient(terms, logits):
    return *terms, torch.autograd.grad((terms[0] + 3 * terms[1]).sum(), logits)[0]


@pytest.fixture(scope="module", params=range(len(SYSTEMS)), ids=["softmax", "quasimax steep", "max steep", "baseline"])
def twin(request):
    """Return a system, its logits, and the results of the naive twin."""
    system = SYSTEMS[request.param]
    logits = random_logits(request.param, 2, 2, *SHAPE).requires_grad_()
    o = options_of(system)
    angles = GeneralizedMILLoss(angles_deg=o["angles_deg"]).angles_deg
    naive = mil_terms(
        logits, TARGET, o["smooth_max"], 4.0, angles, o["unary"], 0.25, 2.0, o["negatives"], "box"
    )  # fmt: skip
    return system, logits.detach(), value_and_gradient(naive, logits)


@pytest.mark.parametrize("chunk", [None, 5])
def test_rows_of_several_blocks_equal_the_naive_twin(twin, chunk, monkeypatch):
    system, logits, expected = twin
    if chunk is not None:
        monkeypatch.setattr(row_sums, "_CHUNK", chunk)
        monkeypatch.setattr(focal, "_CHUNK", 7 * chunk)
    logits = logits.clone().requires_grad_()
    terms = generalized_mil_loss(logits, torch.tensor(TARGET, dtype=torch.float32), **options_of(system))
    for a, b in zip(value_and_gradient(terms, logits), expected):
        assert torch.allclose(a, b, atol=1e-10, rtol=1e-10)


def test_float32_is_close_to_the_naive_twin(twin):
    system, logits, expected = twin
    logits = logits.float().requires_grad_()
    terms = generalized_mil_loss(logits, torch.tensor(TARGET, dtype=torch.float32), **options_of(system))
    for a, b in zip(value_and_gradient(terms, logits), expected):
        assert torch.allclose(a.double(), b, atol=1e-5, rtol=1e-5)


def test_volumes_with_rows_of_two_blocks_equal_the_naive_twin():
    shape, target = (5, 4, 20), [[[0, 1, 1, 4, 4, 19, 0], [1, 0, 0, 5, 3, 6, 0]]]
    logits = random_logits(0, 1, 1, *shape).requires_grad_()
    naive = mil_terms(logits, target, "alpha_softmax", 4.0, (-40, 0, 60), "focal", 0.25, 2.0, "pixels", "box")
    expected = value_and_gradient(naive, logits)
    fast = generalized_mil_loss(logits, torch.tensor(target, dtype=torch.float32), angles_deg=(-40, 0, 60))
    for a, b in zip(value_and_gradient(fast, logits), expected):
        assert torch.allclose(a, b, atol=1e-10, rtol=1e-10)


@pytest.mark.parametrize("width", [LANES - 2, LANES - 1, LANES, LANES + 1, 2 * LANES - 2, 2 * LANES - 1])
def test_rows_that_exactly_fill_their_blocks(width):
    target = [[[1, 1, 6, 1 + width, 0], [2, 0, 4, width, 0]]]
    logits = random_logits(width, 1, 1, 7, 2 * LANES + 3).requires_grad_()
    naive = mil_terms(logits, target, "alpha_softmax", 4.0, (-45, 0, 20), "focal", 0.25, 2.0, "pixels", "box")
    expected = value_and_gradient(naive, logits)
    fast = generalized_mil_loss(logits, torch.tensor(target, dtype=torch.float32), angles_deg=(-45, 0, 20))
    for a, b in zip(value_and_gradient(fast, logits), expected):
        assert torch.allclose(a, b, atol=1e-10, rtol=1e-10)


def test_the_image_region_equals_one_box_over_the_image():
    logits = random_logits(3, 2, 3, *SHAPE)
    whole = torch.tensor([[[0.0, 0, *SHAPE, c] for c in range(3)]] * 2)
    assert torch.allclose(box_pairwise_loss(logits, whole), box_pairwise_loss(logits, whole[:, :1], "image"))
