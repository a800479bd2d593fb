# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from monai_bbox_mil.bags import BoxPatches, CrossingLines, resolve_angles
from tests.reference.naive_mil import box_lines
from tests.strategies import angle_sets, boxes, random_logits, random_object, seeds, shapes, targets, tight_box

CPU = torch.device("cpu")


def one_box(box, code=0):
    return torch.tensor([[[*box, code]]], dtype=torch.float32)


def line_pixels(target, shape, angles):
    """Find the pixels of each crossing line, as a set of indices into ``shape`` ``(B, C, *spatial)``.

    Put a 1 into one pixel at a time: the lines whose sum changes contain that pixel.
    """
    patches = BoxPatches(target, shape, CPU)
    lines = CrossingLines(patches, angles)
    found = [set() for _ in range(sum(lines.per_class))]
    for pixel in patches.pixel_of_box.unique().tolist():
        hits = lines.sum((patches.pixel == pixel) * patches.in_box)
        assert set(hits.tolist()) <= {0.0, 1.0}
        for line in hits.nonzero()[:, 0].tolist():
            found[line].add(tuple(int(i) for i in torch.unravel_index(torch.tensor(pixel), shape)))
    return found


def box_line_pixels(box, shape, angles):
    """Do the same for one box in one image of one class, with spatial indices."""
    return [{pixel[2:] for pixel in line} for line in line_pixels(one_box(box), (1, 1, *shape), angles)]


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
    with pytest.raises(ValueError, match="angles_deg must be distinct angles in degrees"):
        resolve_angles(angles)


def test_a_range_must_reach_its_stop():
    with pytest.raises(ValueError, match="angles_deg must have a step that leads from start to stop"):
        resolve_angles((-40, 45, 20))


@given(data=st.data(), shape=shapes, angles=angle_sets)
def test_bags_equal_the_naive_lines(data, shape, angles):
    box = data.draw(boxes(shape))
    fast = box_line_pixels(box, shape, angles)
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
    bags = box_line_pixels(tight_box(voxels), size, angles)
    assert bags
    assert all(bag & voxels for bag in bags)


@given(data=st.data(), shape=shapes)
def test_angle_zero_is_rows_and_columns(data, shape):
    box = data.draw(boxes(shape))
    dims = len(shape)
    ranges = [range(box[i], box[dims + i]) for i in range(dims)]
    inside = {p for p in box_line_pixels(box, shape, [0]) for p in p}
    lines = [{p for p in inside if p[axis] == index} for axis in range(dims) for index in ranges[axis]]
    bags = box_line_pixels(box, shape, [0])
    assert sorted(map(sorted, bags)) == sorted(map(sorted, lines))


@given(
    data=st.data(), size=st.tuples(st.integers(2, 12), st.integers(2, 12)), angle=st.sampled_from([45.0, -45, 30, -75])
)
def test_lines_have_no_gaps(data, size, angle):
    for line in box_line_pixels([0, 0, *size], size, [angle]):
        rest, reached = set(line), {next(iter(line))}
        while reached:
            rest -= reached
            reached = {q for q in rest for p in reached if max(abs(q[0] - p[0]), abs(q[1] - p[1])) == 1}
        assert not rest


def test_an_object_that_misses_a_side_misses_a_bag():
    """Show that the property above can fail: an object that does not touch one side leaves a bag empty."""
    bags = box_line_pixels([0, 0, 4, 4], (4, 4), [0])
    assert not all(bag & {(r, c) for r in range(4) for c in range(3)} for bag in bags)


@pytest.mark.parametrize("margin", [1, 3])
def test_core_lines_of_a_loose_box_meet_the_object(margin):
    """Let ``core`` be the object's width over the box's: all core lines meet the object, but not all lines do."""
    tight, loose = [margin, margin, margin + 12, margin + 12], [0, 0, 12 + 2 * margin, 12 + 2 * margin]
    disc = {(i, j) for i in range(40) for j in range(40) if (i - margin - 5.5) ** 2 + (j - margin - 5.5) ** 2 <= 36.5}
    assert tight_box(disc) == tight
    core = 12 / (12 + 2 * margin)
    for angle in (0, 20, -40, 60):
        assert all(set(line) & disc for lines in box_lines(loose, [angle], core).values() for line in lines)
    assert not all(set(line) & disc for lines in box_lines(loose, [0]).values() for line in lines)


def test_a_box_too_short_for_an_angle_has_no_line_there():
    """Take ten rows and three columns: no diagonal leads from top to bottom, and eight lead from left to right."""
    lines = box_lines([0, 0, 10, 3], [45])
    assert len(lines[0, 1, 45]) == 0
    assert len(lines[1, 0, 45]) == 8
    assert len(box_line_pixels([0, 0, 10, 3], (10, 3), [45])) == 8


def test_a_hand_drawn_scene():
    """Take 3 rows and 4 columns at 45 degrees: two diagonals from top to bottom, and one line from left to right."""
    bags = box_line_pixels([0, 0, 3, 4], (3, 4), [45])
    assert bags == [{(0, 0), (1, 1), (2, 2)}, {(0, 1), (1, 2), (2, 3)}, {(0, 0), (1, 1), (1, 2), (2, 3)}]


def test_lines_use_the_pixels_of_their_own_image_and_class():
    target = torch.tensor([[[0.0, 0, 1, 2, -1]], [[0.0, 1, 1, 3, 1]]])
    assert CrossingLines(BoxPatches(target, (2, 2, 2, 3), CPU), [0]).per_class == [0, 3]
    # image 1, class 1, row 0: two columns of one pixel each and one row of both
    first, second = (1, 1, 0, 1), (1, 1, 0, 2)
    assert line_pixels(target, (2, 2, 2, 3), [0]) == [{first}, {second}, {first, second}]


def test_lines_are_ordered_by_class():
    target = torch.tensor([[[0.0, 0, 1, 2, 1], [1.0, 1, 3, 3, 0]], [[0.0, 0, 2, 2, 2], [0.0, 0, 1, 1, 0]]])
    lines = line_pixels(target, (2, 3, 3, 3), [0])
    classes = [next(iter(line))[1] for line in lines]
    assert classes == sorted(classes)
    assert [classes.count(c) for c in range(3)] == CrossingLines(BoxPatches(target, (2, 3, 3, 3), CPU), [0]).per_class


def test_ignored_and_padding_rows_give_no_lines():
    target = torch.tensor([[[0.0, 0, 2, 2, -1], [0.0, 0, 2, 2, -2]]])
    patches = BoxPatches(target, (1, 1, 4, 4), CPU)
    lines, logits = CrossingLines(patches, [0, 20]), patches.gather(torch.ones(1, 1, 4, 4))
    assert lines.per_class == [0]
    assert len(lines.sum(logits)) == len(lines.max(logits)) == len(lines.size) == 0


@given(data=st.data(), shape=shapes, angles=angle_sets, seed=seeds)
def test_sum_max_and_size_of_several_boxes(data, shape, angles, seed):
    target = torch.tensor(data.draw(targets(shape, 2)), dtype=torch.float32)
    image = random_logits(seed, 2, 2, *shape).requires_grad_()
    patches = BoxPatches(target, image.shape, CPU)
    lines, values = CrossingLines(patches, angles), patches.gather(image)
    naive = [
        torch.stack([image[(b, c, *pixel)] for pixel in line])
        for c in range(2)
        for b, rows in enumerate(target.tolist())
        for *box, code in rows
        if code == c
        for group in box_lines([int(x) for x in box], angles).values()
        for line in group
    ]
    assert sorted(lines.size.tolist()) == sorted(len(line) for line in naive)
    for reduce in ("sum", "max"):
        fast = getattr(lines, reduce)(values)
        slow = torch.stack([image.new_zeros(()), *(getattr(line, reduce)() for line in naive)])[1:]
        assert torch.allclose(fast.sort().values, slow.sort().values, atol=1e-12)
        gradients = [
            torch.autograd.grad((x**2).sum() + 0 * image.sum(), image, retain_graph=True)[0] for x in (fast, slow)
        ]
        assert torch.allclose(*gradients, atol=1e-12)


def test_sums_support_complex_numbers_and_second_derivatives():
    patches = BoxPatches(one_box([1, 0, 5, 4]), (1, 1, 6, 5), CPU)
    lines = CrossingLines(patches, [-40, 0, 60])
    values = random_logits(0, len(patches.pixel)).requires_grad_()
    both = lines.sum(torch.complex(values, 2 * values))
    assert torch.allclose(both.imag, 2 * both.real)
    assert torch.allclose(both.real, lines.sum(values))
    assert torch.autograd.gradgradcheck(lambda v: lines.sum(v) ** 2, values)
