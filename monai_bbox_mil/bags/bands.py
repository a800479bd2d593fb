# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
"""Bands of several neighbouring rows or columns of a box."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from monai_bbox_mil.bags.inputs import check_batch
from monai_bbox_mil.bags.ragged import ceil_div, ragged_arange, starts
from monai_bbox_mil.boxes import PADDING, unpack_boxes

__all__ = ["BoxBands"]


class BoxBands:
    """Bands of ``width`` pixels into which every box is cut along each axis; the last band of an axis may be narrower.

    The bands of one axis are disjoint and fill the box. In 2D they consist of rows or of columns; in 3D they are slabs
    along each of the three axes.

    Args:
        box_tensor: ``(B, N_max, 2*D + 1)`` on the CPU. The corners must be whole voxels inside the image.
        shape: ``(B, C, *spatial)`` of the network's output.
        width: width of a band in pixels.
        device: device on which to make the tables of pixels.

    Attributes:
        pixel: ``(K,)`` flat index in ``(B, C, *spatial)`` of each pixel of each box, one box after the other. A pixel
            that several boxes cover appears several times.
        ignored_pixel: the same for the ignored boxes, which have no bands.
        thickness: ``(M,)`` float32, number of rows (columns, slices) in each band.
        channel: ``(M,)`` class of each band.
        num_boxes: number of boxes ``N``, without the ignored ones.
        box: ``(M,)`` index of the box that each band belongs to.
        depth: ``(M,)`` int64, number of bands between each band and the nearer side of its box.
        per_axis: ``(M,)`` int64, number of bands of the same box along the same axis.
        box_of_pixel: ``(K,)`` index of the box that each entry of ``pixel`` belongs to.
        squared_radius: ``(K,)`` float32, ``sum_a (x_a / h_a)^2`` for each entry of ``pixel``. ``x_a`` is its distance
            from the middle of its box along axis ``a``, and ``h_a`` is half the size of the box. The value is 1 on the
            inscribed ellipse. Pixels at the same exact distance, such as mirrored ones, have exactly the same value.

    Raises:
        ValueError: if ``box_tensor`` does not fit ``shape``, or ``width`` is less than 1.

    Example:
        >>> bands = BoxBands(torch.tensor([[[0.0, 0, 2, 3, 0]]]), (1, 1, 2, 3), 2, torch.device("cpu"))
        >>> bands.thickness, bands.sum(torch.tensor([1.0, 2, 3, 4, 5, 6]))  # two rows; two columns; the third column
        (tensor([2., 2., 1.]), tensor([21., 12.,  9.]))
    """

    def __init__(self, box_tensor: Tensor, shape: Sequence[int], width: int, device: torch.device) -> None:
        num_classes, spatial = shape[1], tuple(shape[2:])
        dims = len(spatial)
        check_batch(box_tensor, shape)
        if width < 1:
            raise ValueError(f"width must be at least 1, got {width}.")
        image = (box_tensor[..., -1] != PADDING).nonzero()[:, 0]
        boxes, channel, ignored = unpack_boxes(box_tensor.flatten(0, 1))
        order = ignored.int().argsort(stable=True)
        image, channel, (low, high) = image[order], channel[order], boxes[order].long().split(dims, 1)
        self.num_boxes = num_boxes = int((~ignored).sum())
        size = high - low
        pixels = size.prod(1)
        num_pixels = int(pixels[:num_boxes].sum())
        # Bands are ordered by axis, then by box.
        length = size[:num_boxes].T.flatten()
        bands = ceil_div(length, width)
        first_band = starts(bands).view(dims, num_boxes).to(device)
        side, number = ragged_arange(bands, bands.device)
        self.thickness = (length[side] - width * number).clamp(max=width).float().to(device)
        self.channel = channel[:num_boxes].repeat(dims)[side].to(device)
        self.box = (side % max(1, num_boxes)).to(device)
        self.per_axis = bands[side].to(device)
        self.depth = number.minimum(bands[side] - 1 - number).to(device)

        # Position of each pixel in its box, from the last axis to the first.
        box, rest = ragged_arange(pixels, device, int(pixels.sum()))
        corner = torch.cat([(image * num_classes + channel)[:, None], low], 1)
        strides = torch.tensor([math.prod(spatial[axis:]) for axis in range(dims + 1)])
        per_box = torch.cat([(corner * strides).sum(1)[None], size.T]).to(device)
        pixel, *sizes = (field.index_select(0, box) for field in per_box)
        of_boxes = slice(0, num_pixels)
        self.box_of_pixel = box[of_boxes]
        # For a box of q pixels and size s_a, (x_a / h_a)^2 = ((2 place + 1 - s_a) q / s_a)^2 / q^2. Sums of whole
        # numbers are exact in any order, so equal distances stay equal when they are rounded to float32.
        area = pixels.to(device).index_select(0, self.box_of_pixel)
        squares = torch.zeros_like(area)
        band: list[Tensor] = []
        for axis in reversed(range(dims)):
            above = rest.div(sizes[axis], rounding_mode="floor") if axis else torch.zeros_like(rest)
            place = rest - above * sizes[axis]
            pixel += place * int(strides[axis + 1])
            size_here = sizes[axis][of_boxes]
            squares += ((2 * place[of_boxes] + 1 - size_here) * area.div(size_here, rounding_mode="floor")).square()
            number = place[of_boxes].div(width, rounding_mode="floor")
            band.insert(0, first_band[axis].index_select(0, box[of_boxes]) + number)
            rest = above
        self.pixel, self.ignored_pixel = pixel[:num_pixels], pixel[num_pixels:]
        self.squared_radius = squares / area.square()
        self._dims, self._band = dims, torch.cat(band)

    def sum(self, values: Tensor) -> Tensor:
        """Add up the pixels' ``values`` ``(K,)`` over each band; returns ``(M,)``."""
        return values.new_zeros(len(self.thickness)).index_add(0, self._band, values.repeat(self._dims))

    def max(self, values: Tensor) -> Tensor:
        """Find the largest of the pixels' ``values`` ``(K,)`` in each band; returns ``(M,)``."""
        lowest = values.new_full((len(self.thickness),), -math.inf)
        return lowest.scatter_reduce(0, self._band, values.repeat(self._dims), "amax")
