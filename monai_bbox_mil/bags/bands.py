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
    """Every box, cut across each axis into bands of ``width`` pixels; the last band of an axis may be narrower.

    The bands of one axis are disjoint and fill the box: in 2D those of rows and those of columns, in 3D slabs along
    each of the three axes.

    Args:
        box_tensor: ``(B, N_max, 2*D + 1)`` on the host, corners whole voxels inside the image.
        shape: ``(B, C, *spatial)`` of the network's output.
        width: of a band, in pixels.
        device: where the tables of pixels are wanted.

    Attributes:
        pixel: ``(K,)`` flat index in ``(B, C, *spatial)`` of each pixel of each box, one box after the other; a pixel
            that several boxes cover is there several times.
        ignored_pixel: the same of the ignored boxes, which have no bands.
        thickness: ``(M,)`` float32, how many rows (columns, slices) each band has.
        channel: ``(M,)`` class of each band.
        num_boxes: ``N``, ignored ones left out.
        box: ``(M,)`` number of the box that each band belongs to.
        depth: ``(M,)`` int64, how many bands lie between each band and the nearer side of its box.
        per_axis: ``(M,)`` int64, how many bands its box has along its axis.
        box_of_pixel: ``(K,)`` number of the box of each of ``pixel``.
        squared_radius: ``(K,)`` float32, ``sum_a (x_a / h_a)^2`` of each of ``pixel``, with ``x_a`` its distance
            from the middle of its box along axis ``a`` and ``h_a`` half its box's size: 1 on the inscribed ellipse.
            Pixels that are equally far by exact arithmetic, such as mirrored ones, have the same number.

    Example:
        >>> bands = BoxBands(torch.tensor([[[0.0, 0, 2, 3, 0]]]), (1, 1, 2, 3), 2, torch.device("cpu"))
        >>> bands.thickness, bands.sum(torch.tensor([1.0, 2, 3, 4, 5, 6]))  # both rows; two columns; the third one
        (tensor([2., 2., 1.]), tensor([21., 12.,  9.]))
    """

    def __init__(self, box_tensor: Tensor, shape: Sequence[int], width: int, device: torch.device) -> None:
        if width < 1:
            raise ValueError(f"width must be at least 1, got {width}.")
        pixels = BoxPixels(box_tensor, shape, device)
        self.num_boxes, self.pixel, self.ignored_pixel = pixels.num_boxes, pixels.pixel, pixels.ignored_pixel
        self.box_of_pixel = pixels.box
        dims = len(pixels.place)
        # All bands of the first axis before those of the next, and on each axis those of a box one after the other.
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
        """Sum the ``values`` ``(K,)`` of the pixels over each band, ``(M,)``."""
        return values.new_zeros(len(self.thickness)).index_add(0, self._band, values.repeat(self._dims))

    def max(self, values: Tensor) -> Tensor:
        """Return the largest of the ``values`` ``(K,)`` of the pixels in each band, ``(M,)``."""
        lowest = values.new_full((len(self.thickness),), -math.inf)
        return lowest.scatter_reduce(0, self._band, values.repeat(self._dims), "amax")
