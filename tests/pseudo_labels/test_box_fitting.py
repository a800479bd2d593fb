# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest
import torch

from monai_bbox_mil.pseudo_labels import UNKNOWN, BoxHeights, PseudoLabelFitter
from tests.reference.naive_pseudo_labels import fit, pixels_of, sides_of


def random_scene(seed, dims, classes=2, images=3):
    """Logits of several images, each with up to three boxes, an ignored region and padding."""
    generator = torch.Generator().manual_seed(seed)
    sizes = [8, 9, 6][:dims]
    logits = torch.randn(images, classes, *sizes, generator=generator)
    target = torch.zeros(images, 4, 2 * dims + 1)
    target[..., -1] = -1
    for image in range(images):
        for row in range(int(torch.randint(0, 4, (), generator=generator))):
            ends = [sorted(torch.randperm(size + 1, generator=generator)[:2].tolist()) for size in sizes]
            code = int(torch.randint(0, classes, (), generator=generator))
            target[image, row] = torch.tensor([*(a for a, _ in ends), *(b for _, b in ends), code])
    target[0, 3] = torch.tensor([*[1] * dims, *[4] * dims, -2])
    return logits, target


@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize(
    "options",
    [
        {"usual_level": 0.0, "roundness": 0.0},
        {"usual_level": 0.5, "roundness": 0.3},
        {"usual_level": 1.0, "side_reach": 0.2, "roundness": 0.0},
        {"usual_level": 0.7, "core": 0.6, "roundness": 1.0},
    ],
)
def test_labels_are_those_of_plain_loops(dims, options):
    checked = 0
    for seed in range(8):
        logits, target = random_scene(seed, dims)
        fitter = PseudoLabelFitter(2, shape_weight=0, **options)
        heights = BoxHeights.of(logits, target)
        fitter.learn([heights])
        expected = fit(
            logits,
            target,
            fitter.level.tolist(),
            options.get("side_reach", 0.5),
            options.get("core", 1.0),
            options["roundness"],
        )
        labels = fitter.fit(heights)
        checked += int((expected == 1).sum())
        # A pixel whose height is its level to the last bit may fall on either side of it.
        assert int((labels != expected).sum()) <= 1
    assert checked > 100


def test_the_usual_level_is_the_quantile_of_the_lowest_sides():
    logits, target = random_scene(3, 2, images=6)
    fitter = PseudoLabelFitter(2, shape_weight=0, roundness=0, usual_level=0.25)
    fitter.learn([BoxHeights.of(logits[:2], target[:2]), BoxHeights.of(logits[2:], target[2:])])
    for channel in range(2):
        lowest = [
            min(sides_of({k: float(logits[image, channel][k]) for k in pixels_of(row)}, row, 1.0))
            for image, rows in enumerate(target.tolist())
            for *row, code in rows
            if code == channel
        ]
        assert float(fitter.level[channel]) == pytest.approx(float(torch.tensor(lowest).quantile(0.25)))


def test_every_side_of_every_lonely_box_is_reached():
    logits, target = (
        torch.randn(1, 1, 32, 32),
        torch.tensor([[[2.0, 3, 9, 12, 0], [20, 1, 31, 8, 0], [15, 20, 16, 21, 0]]]),
    )
    heights = BoxHeights.of(logits, target)
    fitter = PseudoLabelFitter(1)
    fitter.learn([heights])
    label = fitter.fit(heights)[0, 0]
    for a, b, c, d, _ in target[0].long().tolist():
        inside = label[a:c, b:d] == 1
        assert inside[0].any() and inside[-1].any() and inside[:, 0].any() and inside[:, -1].any()
        label[a:c, b:d] = 0
    assert not label.any()  # and nothing outside


def test_the_mean_shape_labels_a_box_in_which_the_teacher_sees_nothing():
    squared = (torch.arange(20)[:, None] - 9.5) ** 2 + (torch.arange(20) - 9.5) ** 2
    seen, disc = (2 - squared / 50)[None, None], squared < 100
    box = torch.tensor([[[0.0, 0, 20, 20, 0]]])
    fitter = PseudoLabelFitter(1, roundness=0)
    known, blank = BoxHeights.of(seen, box), BoxHeights.of(torch.zeros_like(seen), box)
    fitter.learn([known, known, blank])
    label = fitter.fit(blank)[0, 0] == 1
    overlap = 2 * (label & disc).sum() / (label.sum() + disc.sum())
    assert overlap > 0.9


def test_ignored_regions_are_unknown_except_in_boxes():
    target = torch.tensor([[[0.0, 0, 2, 2, 0], [1, 1, 4, 4, -2]]])
    heights = BoxHeights.of(torch.ones(1, 1, 5, 5), target)
    fitter = PseudoLabelFitter(1, shape_weight=0, roundness=0)
    fitter.learn([heights])
    label = fitter.fit(heights)[0, 0]
    assert label[:2, :2].eq(1).all() and int((label == UNKNOWN).sum()) == 8


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"shape_weight": -1.0}, "shape_weight must be at least 0"),
        ({"roundness": float("nan")}, "roundness must be at least 0"),
        ({"usual_level": 1.5}, r"usual_level must be in \[0, 1\]"),
        ({"side_reach": 0.0}, "side_reach must be greater than 0"),
        ({"core": 1.1}, "core must be greater than 0 and at most 1"),
    ],
)
def test_what_is_refused(options, message):
    with pytest.raises(ValueError, match=message):
        PseudoLabelFitter(1, **options)
