# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from monai_bbox_mil.bags import box_bags, empty_line_bags, resolve_angles
from tests.reference.naive_mil import box_lines
from tests.strategies import angle_sets, boxes, random_object, seeds, shapes, tight_box


def pixels_of_bags(bags, shape):
    """The bags as sets of spatial indices; image and class are dropped."""
    place = torch.stack(torch.unravel_index(bags.pixel, shape), dim=1).tolist()
    found = [set() for _ in bags.channel]
    for number, pixel in zip(bags.bag.tolist(), place):
        found[number].add(tuple(pixel))
    return found


def one_box(box, code=0):
    return torch.tensor([[[*box, code]]], dtype=torch.float32)


@pytest.mark.parametrize(
    ("given_angles", "expected"),
    [
        ((-40, 40, 20), (-40, -20, 0, 20, 40)),
        ((-60, 60, 30), (-60, -30, 0, 30, 60)),
        ((0, 45, 45), (0, 45)),
        ((-30, 0, 30), (-30, 0, 30)),
        ((10, 20, 30), (10, 20, 30)),
        ((40, -40, 20), (40, -40, 20)),
        ((0, 25, -25), (0, 25, -25)),
        ((0,), (0,)),
        ([0, 40], (0, 40)),
        ((-40, -20, 0, 20), (-40, -20, 0, 20)),
    ],
)
def test_angles(given_angles, expected):
    assert resolve_angles(given_angles) == expected
    assert resolve_angles(resolve_angles(given_angles)) == expected


@pytest.mark.parametrize("angles", [(), (90,), (-95, 0), (0, 0), (float("nan"),)])
def test_bad_angles(angles):
    with pytest.raises(ValueError, match="angles_deg must hold distinct angles inside"):
        resolve_angles(angles)


def test_a_range_must_reach_its_stop():
    with pytest.raises(ValueError, match="whose step must lead from start to stop"):
        resolve_angles((-40, 45, 20))


@given(data=st.data(), shape=shapes, angles=angle_sets)
def test_bags_are_the_naive_lines(data, shape, angles):
    box = data.draw(boxes(shape))
    fast = pixels_of_bags(box_bags(one_box(box), shape, 1, angles), shape)
    naive = [set(line) for lines in box_lines(box, angles).values() for line in lines]
    assert sorted(map(sorted, fast)) == sorted(map(sorted, naive))


@given(data=st.data(), shape=shapes, angle=st.sampled_from([-75.0, -60, -45, -20, 0, 20, 40, 45, 60, 80]))
def test_lines_of_one_direction_and_angle_are_disjoint_and_cross_the_box(data, shape, angle):
    box = data.draw(boxes(shape))
    dims = len(shape)
    for (a, _, _), lines in box_lines(box, [angle]).items():
        seen = [pixel for line in lines for pixel in line]
        assert len(seen) == len(set(seen))
        for line in lines:
            along = {pixel[a] for pixel in line}
            assert {box[a], box[dims + a] - 1} <= along


@settings(max_examples=200)
@given(seed=seeds, size=shapes, angles=angle_sets)
def test_every_bag_of_a_tight_box_meets_its_object(seed, size, angles):
    voxels = random_object(seed, size)
    bags = pixels_of_bags(box_bags(one_box(tight_box(voxels)), size, 1, angles), size)
    assert bags
    assert all(bag & voxels for bag in bags)


@given(data=st.data(), shape=shapes)
def test_angle_zero_is_rows_and_columns(data, shape):
    box = data.draw(boxes(shape))
    dims = len(shape)
    ranges = [range(box[i], box[dims + i]) for i in range(dims)]
    inside = {p for p in pixels_of_bags(box_bags(one_box(box), shape, 1, [0]), shape) for p in p}
    lines = [{p for p in inside if p[axis] == index} for axis in range(dims) for index in ranges[axis]]
    bags = pixels_of_bags(box_bags(one_box(box), shape, 1, [0]), shape)
    assert sorted(map(sorted, bags)) == sorted(map(sorted, lines))


@given(
    data=st.data(), size=st.tuples(st.integers(2, 12), st.integers(2, 12)), angle=st.sampled_from([45.0, -45, 30, -75])
)
def test_lines_have_no_gaps(data, size, angle):
    for line in pixels_of_bags(box_bags(one_box([0, 0, *size]), size, 1, [angle]), size):
        rest, reached = set(line), {next(iter(line))}
        while reached:
            rest -= reached
            reached = {q for q in rest for p in reached if max(abs(q[0] - p[0]), abs(q[1] - p[1])) == 1}
        assert not rest


def test_an_object_off_its_box_misses_a_bag():
    """The property above can fail: an object that does not touch one side leaves a bag empty."""
    bags = pixels_of_bags(box_bags(one_box([0, 0, 4, 4]), (4, 4), 1, [0]), (4, 4))
    assert not all(bag & {(r, c) for r in range(4) for c in range(3)} for bag in bags)


def test_a_box_too_short_for_an_angle_has_no_line_there():
    """Ten rows, three columns: no diagonal leads from top to bottom, eight lead from left to right."""
    lines = box_lines([0, 0, 10, 3], [45])
    assert len(lines[0, 1, 45]) == 0
    assert len(lines[1, 0, 45]) == 8
    assert len(box_bags(one_box([0, 0, 10, 3]), (10, 3), 1, [45]).channel) == 8


def test_a_hand_drawn_scene():
    """Box of 3 rows and 4 columns at 45 degrees: two diagonals from top to bottom, one line from left to right."""
    bags = pixels_of_bags(box_bags(one_box([0, 0, 3, 4]), (3, 4), 1, [45]), (3, 4))
    assert bags == [{(0, 0), (1, 1), (2, 2)}, {(0, 1), (1, 2), (2, 3)}, {(0, 0), (1, 1), (1, 2), (2, 3)}]


def test_pixels_of_image_and_class():
    target = torch.tensor([[[0.0, 0, 1, 2, -1]], [[0.0, 1, 1, 3, 1]]])
    bags = box_bags(target, (2, 3), 2, [0])
    assert bags.channel.tolist() == [1, 1, 1]
    # image 1 of 2, class 1 of 2, row 0, columns 1 and 2 of 3
    assert sorted(bags.pixel.tolist()) == [19, 19, 20, 20]


def test_ignored_and_padding_rows_give_no_bags():
    target = torch.tensor([[[0.0, 0, 2, 2, -1], [0.0, 0, 2, 2, -2]]])
    bags = box_bags(target, (4, 4), 1, [0, 20])
    assert len(bags.pixel) == len(bags.bag) == len(bags.channel) == 0


@given(data=st.data(), shape=shapes)
def test_empty_lines_meet_no_box(data, shape):
    box = data.draw(boxes(shape))
    dims = len(shape)
    assume(any(box[i] > 0 or box[dims + i] < shape[i] for i in range(dims)))
    outside = torch.ones(1, 1, *shape, dtype=torch.bool)
    outside[(0, 0, *(slice(a, b) for a, b in zip(box[:dims], box[dims:])))] = False
    bags = pixels_of_bags(empty_line_bags(outside), shape)
    assert len(bags) == sum(shape[i] - (box[dims + i] - box[i]) for i in range(dims))
    assert all(outside[(0, 0, *pixel)] for bag in bags for pixel in bag)
