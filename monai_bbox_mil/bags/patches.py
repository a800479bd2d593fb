# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
"""The pixels of all boxes of a batch, with a rim of one pixel around each box, in one flat tensor.

A box of 3 rows and 4 columns is stored as 5 rows, each a whole number of blocks of ``LANES`` *slots*. Its pixels are
``#``, its rim (which may lie outside the image) is ``o``, and ``.`` fills the block::

    o o o o o o . . . . . . . . . .
    o # # # # o . . . . . . . . . .
    o # # # # o . . . . . . . . . .
    o # # # # o . . . . . . . . . .
    o o o o o o . . . . . . . . . .

A neighbour is then a fixed number of slots away, and one vectorised operation processes boxes of all sizes.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property, lru_cache
from typing import NamedTuple

import torch
from torch import Tensor

from monai_bbox_mil.bags.inputs import check_batch
from monai_bbox_mil.bags.ragged import ceil_div, ragged_arange, starts
from monai_bbox_mil.boxes import PADDING, unpack_boxes

__all__ = ["LANES", "BoxPatches", "Strip"]

LANES = 16
"""Number of slots per block. Rows consist of whole blocks, and a block is always copied as one piece."""


class Strip(NamedTuple):
    """Consecutive patches of one class that share the same strides."""

    first: int
    last: int
    """The strip consists of the slots ``first <= slot < last``."""
    channel: int
    strides: tuple[int, ...]
    """``D`` numbers: how many slots away the next pixel along each axis is."""


class BoxPatches:
    """Layout of the boxes of a batch in ``T`` slots.

    Args:
        box_tensor: ``(B, N_max, 2*D + 1)`` on the host; the corners are whole voxels inside the image.
        shape: ``(B, C, *spatial)`` of the network's output.
        device: device for the tables of slots.

    Attributes:
        low, size: ``(N, D)`` int64 on the host, low corner and size of each box. Boxes come first, ordered by class,
            then the ignored boxes in the same order. Boxes of one class with rows of equal length are neighbours.
        image, channel: ``(N,)`` int64 on the host, index of each box's image in the batch, and the box's class.
        num_boxes: number of boxes that are not ignored, which come first among the ``N``.
        blocks_per_row, first_slot: ``(N,)`` int64 on the host, number of blocks per row, and first slot of each patch.
        slots_per_class, num_box_slots: number of slots of each class and of all classes, without ignored boxes.
        box: ``(T / LANES,)`` number of the box that each block belongs to.
        rows_in_box: for each block of the boxes that are not ignored, 1 if its row contains pixels of the box, else 0.
        pixel: ``(T,)`` flat index in ``(B, C, *spatial)`` of each slot's pixel; any valid index if it has none.
        pixel_of_box: ``(T,)`` int64, the same for the nearest pixel of the slot's box.
        in_box, in_image: ``(T,)`` float32, 1 where the slot is a pixel of its box (of the image), else 0.

    Example:
        >>> patches = BoxPatches(torch.tensor([[[1., 1, 3, 4, 0]]]), (1, 1, 5, 5), torch.device("cpu"))
        >>> patches.in_box.int().view(4, LANES).tolist()[1]
        [0, 1, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]
        >>> patches.pixel[patches.in_box == 1].tolist()
        [6, 7, 8, 11, 12, 13]
    """

    def __init__(self, box_tensor: Tensor, shape: Sequence[int], device: torch.device) -> None:
        self.shape = torch.Size(shape)
        num_classes, spatial = shape[1], tuple(shape[2:])
        dims = len(spatial)
        check_batch(box_tensor, shape)
        image = (box_tensor[..., -1] != PADDING).nonzero()[:, 0]
        boxes, channel, ignored = unpack_boxes(box_tensor.flatten(0, 1))
        low, high = boxes.long().split(dims, 1)
        # Sort by class, then by strides, so that the patches form few strips.
        *_, rows_of_layer, row = (high - low).unbind(1)
        order = (ceil_div(row + 2, LANES) + (rows_of_layer << 32) * (dims - 2)).argsort(stable=True)
        order = order[(channel + num_classes * ignored)[order].argsort(stable=True)]
        self.image, self.channel = image[order], channel[order]
        self.num_boxes = int((~ignored).sum())
        self.low, self.size = low[order], (high - low)[order]

        self.blocks_per_row = ceil_div(self.size[:, -1] + 2, LANES)
        num_rows = (self.size[:, :-1] + 2).prod(1)
        self.blocks = num_rows * self.blocks_per_row
        self.slots_per_class = self.sum_by_class(self.blocks[: self.num_boxes] * LANES)
        self.num_box_slots = sum(self.slots_per_class)
        self.first_slot = starts(self.blocks) * LANES

        per_box = torch.cat([self.low, self.size, self.blocks_per_row[:, None]], 1)
        per_box = torch.cat([per_box, (self.image * num_classes + self.channel)[:, None]], 1).T.contiguous().to(device)
        self.box, block = ragged_arange(self.blocks, device)
        *corner_and_size, blocks_per_row, image = (field.index_select(0, self.box) for field in per_box)
        low, size = corner_and_size[:dims], corner_and_size[dims:]
        rest = block.div(blocks_per_row, rounding_mode="floor")
        column = (block - rest * blocks_per_row) * LANES - 1

        # All axes but the last, block by block: find the block's row, and the nearest row of its box.
        position: list[Tensor] = []
        for axis in reversed(range(dims - 1)):
            layer = rest.remainder(size[axis] + 2) if axis else rest
            position.insert(0, layer - 1)
            rest = rest.div(size[axis] + 2, rounding_mode="floor")
        row = row_of_box = image
        in_box = in_image = torch.ones_like(image)
        for place, first, length, edge in zip(position, low, size, spatial):
            inside = place.clamp(min=0).minimum(length - 1)
            row_of_box, in_box = row_of_box * edge + first + inside, in_box * (inside == place)
            place = first + place
            inside = place.clamp(0, edge - 1)
            row, in_image = row * edge + inside, in_image * (inside == place)
        # The last axis: find the lanes of each block that are in the box, and those that are in the image.
        lanes, ramps = _lane_tables(device)
        place = low[-1] + column
        in_box_lanes = (-column).clamp(0, LANES) * (LANES + 1) + (size[-1] - column).clamp(0, LANES)
        in_image_lanes = (-place).clamp(0, LANES) * (LANES + 1) + (spatial[-1] - place).clamp(0, LANES)
        self.in_box = lanes.index_select(0, in_box_lanes * in_box).flatten()
        self.rows_in_box = in_box[: self.num_box_slots // LANES]
        self.in_image = lanes.index_select(0, in_image_lanes * in_image).flatten()
        # int32 halves the memory where it can index all pixels. `pixel_of_box` must be int64 for torch's scatter.
        short = torch.int32 if self.shape.numel() < 2**31 else torch.int64
        lane = torch.arange(LANES, dtype=short, device=device)
        pixel = (row * spatial[-1] + place).to(short)[:, None] + lane
        self.pixel = pixel.clamp_(0, self.shape.numel() - 1).flatten()
        self.pixel_of_box = (
            ramps.index_select(0, in_box_lanes).add_((row_of_box * spatial[-1] + place)[:, None]).flatten()
        )

    def sum_by_class(self, counts: Tensor) -> list[int]:
        """Sum ``counts`` over the boxes of each class; one whole number on the host per box that is not ignored."""
        channel = self.channel[: self.num_boxes]
        return torch.zeros(self.shape[1], dtype=torch.long).index_add_(0, channel, counts).tolist()

    def gather(self, values: Tensor) -> Tensor:
        """Gather ``values`` ``(B, C, *spatial)`` at the slots of all boxes that are not ignored."""
        return values.flatten().index_select(0, self.pixel[: self.num_box_slots])

    def scale_slots_by_class(self, values: Tensor, factor: Tensor) -> Tensor:
        """Multiply each slot of the boxes that are not ignored by its class's entry of ``factor`` ``(C,)``."""
        if self.shape[1] == 1:
            return values * factor
        return torch.cat([part * f for part, f in zip(values.split(self.slots_per_class), factor)])

    @cached_property
    def counted(self) -> Tensor:
        """``(T,)`` float32, 1 for exactly one slot of each pixel that a box of the class covers, else 0.

        For a pixel in both a box and an ignored box, that slot is in the box.
        """
        if len((self.image * self.shape[1] + self.channel).unique()) == len(self.image):
            return self.in_box
        box = self.box[:, None].expand(-1, LANES).flatten()
        owner = torch.empty(self.shape.numel(), dtype=torch.int32, device=box.device)
        slots = self.num_box_slots
        owner.scatter_(0, self.pixel_of_box[slots:], box[slots:]).scatter_(0, self.pixel_of_box[:slots], box[:slots])
        other = owner.index_select(0, self.pixel_of_box).sub_(box).abs_()
        return other.neg_().add_(1).clamp_(min=0) * self.in_box

    def num_outside(self) -> Tensor:
        """Count the pixels of each class that neither a box nor an ignored box covers; returns ``(C,)`` float32."""
        channel = self.channel.to(self.box.device).index_select(0, self.box)
        blocks = self.counted.view(-1, LANES).sum(1)
        all_pixels = blocks.new_full((self.shape[1],), self.shape.numel() / self.shape[1])
        return all_pixels.index_add_(0, channel, blocks, alpha=-1)

    @cached_property
    def strips(self) -> list[Strip]:
        """Runs of boxes of one class with equal strides, without ignored boxes."""
        rows = self.blocks_per_row * LANES
        strides = [rows, rows * (self.size[:, -2] + 2)][: self.size.shape[1] - 1]
        boxes = slice(0, self.num_boxes)
        alike = torch.stack([self.channel, *strides], 1)[boxes]
        kinds, run, _ = alike.unique_consecutive(dim=0, return_inverse=True, return_counts=True)
        slots = torch.zeros(len(kinds), dtype=torch.long).index_add_(0, run, self.blocks[boxes] * LANES)
        ends = slots.cumsum(0)
        return [
            Strip(end - length, end, channel, (*reversed(steps), 1))
            for (channel, *steps), length, end in zip(kinds.tolist(), slots.tolist(), ends.tolist())
        ]


@lru_cache
def _lane_tables(device: torch.device) -> tuple[Tensor, Tensor]:
    """Tabulate, for each range of lanes, which lanes are in it and which of its lanes is nearest to each lane.

    Row ``first * (LANES + 1) + end`` is for the range ``first <= lane < end``. Looking up a row is several times faster
    than comparing and clamping lane by lane.
    """
    first, end, lane = torch.meshgrid(
        torch.arange(LANES + 1), torch.arange(LANES + 1), torch.arange(LANES), indexing="ij"
    )
    inside = ((first <= lane) & (lane < end)).float()
    return inside.flatten(0, 1).to(device), lane.maximum(first).minimum(end - 1).flatten(0, 1).to(device)
