# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
"""The pixels of boxes, one box after the other, and their positions in their boxes."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from monai_bbox_mil.bags.inputs import check_batch
from monai_bbox_mil.bags.ragged import ragged_arange
from monai_bbox_mil.boxes import PADDING, unpack_boxes

__all__ = ["BoxPixels"]


class BoxPixels:
    """Every pixel of every box, one box after the other.

    Args:
        box_tensor: ``(B, N_max, 2*D + 1)`` on the CPU. The corners must be whole voxels inside the image.
        shape: ``(B, C, *spatial)`` of the network's output.
        device: device on which to make the tables.

    Attributes:
        num_boxes: number of boxes ``N``, without ignored regions.
        size: ``(D, N)`` int64 on the CPU, size of each box in pixels along each axis.
        channel: ``(N,)`` int64 on the CPU, class of each box.
        pixel: ``(K,)`` flat index in ``(B, C, *spatial)`` of each pixel. A pixel that several boxes cover appears once
            for each of them.
        box: ``(K,)`` index of the box that each entry of ``pixel`` belongs to.
        place: ``D`` tensors ``(K,)``, distance in pixels from the low side of the box along each axis.
        ignored_pixel: flat index of each pixel in the ignored regions.

    Raises:
        ValueError: if ``box_tensor`` does not fit ``shape``.

    Example:
        >>> pixels = BoxPixels(torch.tensor([[[0.0, 1, 2, 3, 0]]]), (1, 1, 2, 3), torch.device("cpu"))
        >>> pixels.pixel, pixels.place[1]
        (tensor([1, 2, 4, 5]), tensor([0, 1, 0, 1]))
    """

    def __init__(self, box_tensor: Tensor, shape: Sequence[int], device: torch.device) -> None:
        check_batch(box_tensor, shape)
        num_classes, spatial = shape[1], tuple(shape[2:])
        dims = len(spatial)
        image = (box_tensor[..., -1] != PADDING).nonzero()[:, 0]
        boxes, channel, ignored = unpack_boxes(box_tensor.flatten(0, 1))
        order = ignored.int().argsort(stable=True)
        image, channel, (low, high) = image[order], channel[order], boxes[order].long().split(dims, 1)
        size = high - low
        self.num_boxes = int((~ignored).sum())
        self.size = size[: self.num_boxes].T
        self.channel = channel[: self.num_boxes]
        num_pixels = size.prod(1)
        of_boxes = slice(0, int(num_pixels[: self.num_boxes].sum()))

        # Position of each pixel in its box, from the last axis to the first.
        box, rest = ragged_arange(num_pixels, device, int(num_pixels.sum()))
        corner = torch.cat([(image * num_classes + channel)[:, None], low], 1)
        strides = torch.tensor([math.prod(spatial[axis:]) for axis in range(dims + 1)])
        per_box = torch.cat([(corner * strides).sum(1)[None], size.T]).to(device)
        pixel, *sizes = (field.index_select(0, box) for field in per_box)
        self.place: list[Tensor] = []
        for axis in reversed(range(dims)):
            above = rest.div(sizes[axis], rounding_mode="floor") if axis else torch.zeros_like(rest)
            place = rest - above * sizes[axis]
            pixel += place * int(strides[axis + 1])
            self.place.insert(0, place[of_boxes])
            rest = above
        self.box = box[of_boxes]
        self.pixel, self.ignored_pixel = pixel[of_boxes], pixel[of_boxes.stop :]

    def of_box(self, values: Tensor) -> Tensor:
        """Look up ``values`` ``(N,)``, one per box, for the box of each pixel; returns ``(K,)``."""
        return values.to(self.box.device).index_select(0, self.box)

    def squared_radius(self) -> Tensor:
        """Compute ``sum_a (x_a / h_a)^2``, the squared distance from the middle of the box in units of its half axes.

        Here ``x_a`` is a pixel's distance from the middle of its box along axis ``a``, and ``h_a`` is half the size of
        the box. The value is 1 on the inscribed ellipse. Pixels at the same exact distance, such as mirrored ones, have
        exactly the same value.

        Returns:
            ``(K,)`` float32.
        """
        # For a box of q pixels and size s_a, (x_a / h_a)^2 = ((2 place + 1 - s_a) q / s_a)^2 / q^2. Sums of whole
        # numbers are exact in any order, so equal distances stay equal when they are rounded to float32.
        area = self.of_box(self.size.prod(0))
        squares = torch.zeros_like(area)
        for place, sizes in zip(self.place, self.size):
            size = self.of_box(sizes)
            squares += ((2 * place + 1 - size) * area.div(size, rounding_mode="floor")).square()
        return squares / area.square()
