# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
"""Bands of several neighbouring rows or columns of a box."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from monai_bbox_mil.bags.box_pixels import BoxPixels
from monai_bbox_mil.bags.ragged import ceil_div, ragged_arange, starts

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
        if width < 1:
            raise ValueError(f"width must be at least 1, got {width}.")
        pixels = BoxPixels(box_tensor, shape, device)
        self.num_boxes, self.pixel, self.ignored_pixel = pixels.num_boxes, pixels.pixel, pixels.ignored_pixel
        self.box_of_pixel = pixels.box
        dims = len(pixels.place)
        # Bands are ordered by axis, then by box.
        length = pixels.size.flatten()
        bands = ceil_div(length, width)
        first_band = starts(bands).view(dims, self.num_boxes)
        side, number = ragged_arange(bands, bands.device)
        self.thickness = (length[side] - width * number).clamp(max=width).float().to(device)
        self.channel = pixels.channel.repeat(dims)[side].to(device)
        self.box = (side % max(1, self.num_boxes)).to(device)
        self.per_axis = bands[side].to(device)
        self.depth = number.minimum(bands[side] - 1 - number).to(device)
        self.squared_radius = pixels.squared_radius()
        self._dims = dims
        numbers = [place.div(width, rounding_mode="floor") for place in pixels.place]
        self._band = torch.cat([pixels.of_box(first) + number for first, number in zip(first_band, numbers)])

    def sum(self, values: Tensor) -> Tensor:
        """Add up the pixels' ``values`` ``(K,)`` over each band; returns ``(M,)``."""
        return values.new_zeros(len(self.thickness)).index_add(0, self._band, values.repeat(self._dims))

    def max(self, values: Tensor) -> Tensor:
        """Find the largest of the pixels' ``values`` ``(K,)`` in each band; returns ``(M,)``."""
        lowest = values.new_full((len(self.thickness),), -math.inf)
        return lowest.scatter_reduce(0, self._band, values.repeat(self._dims), "amax")
