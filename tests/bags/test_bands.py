# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st

from monai_bbox_mil.bags import BoxBands
from monai_bbox_mil.boxes import boxes_to_mask
from tests.strategies import random_logits, seeds, shapes, targets

CPU = torch.device("cpu")


@given(data=st.data(), shape=shapes, width=st.integers(1, 10), seed=seeds)
def test_the_bands_of_each_axis_are_the_slices_of_the_boxes(data, shape, width, seed):
    target, dims = data.draw(targets(shape, 2)), len(shape)
    image = random_logits(seed, 2, 2, *shape)
    bands = BoxBands(torch.tensor(target, dtype=torch.float32), image.shape, width, CPU)
    naive = []
    for axis in range(dims):
        for b, rows in enumerate(target):
            for row in rows:
                if row[-1] >= 0:
                    inside = image[b, row[-1]][tuple(slice(*ends) for ends in zip(row[:dims], row[dims:-1]))]
                    naive += [(row[-1], part.shape[axis], part.sum()) for part in inside.split(width, axis)]
    assert bands.channel.tolist() == [channel for channel, _, _ in naive]
    assert bands.thickness.tolist() == [thickness for _, thickness, _ in naive]
    expected = torch.stack([torch.zeros((), dtype=torch.float64), *(total for _, _, total in naive)])[1:]
    assert torch.allclose(bands.sum(image.flatten()[bands.pixel]), expected)


@given(data=st.data(), shape=shapes)
def test_pixels_are_those_of_the_boxes_and_ignored_boxes(data, shape):
    target = torch.tensor(data.draw(targets(shape, 2)), dtype=torch.float32)
    bands = BoxBands(target, (2, 2, *shape), 3, CPU)
    ignored = torch.where(target[..., -1:] < -1, target, -1)
    ignored[..., -1] = torch.where(ignored[..., -1] < -1, -2 - ignored[..., -1], -1)
    for pixel, rows in ((bands.pixel, target), (bands.ignored_pixel, ignored)):
        assert pixel.unique().tolist() == boxes_to_mask(rows, shape, 2).flatten().nonzero()[:, 0].tolist()
