# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
"""Pixel labels that fit boxes, from the logits of a teacher that learned from the boxes.

A network taught by bags finds the object, but its probabilities fall off slowly from the middle of the object, so no
threshold suits all boxes. Each box says which level does: the region above it must reach every side of the box. Two
things that only many boxes together can say make the regions better: the usual level, so that one side which the
teacher barely sees does not inflate the whole region, and the usual shape, for boxes in which the teacher sees little.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import grid_sample

from monai_bbox_mil.bags import BoxPixels

__all__ = ["UNKNOWN", "BoxHeights", "PseudoLabelFitter"]

UNKNOWN = 255
"""Pixel label of ignored regions: neither object nor background."""

_GRID = 8  # points of a mean shape along each axis


class BoxHeights(NamedTuple):
    """A teacher's logits in the boxes of a batch."""

    target: Tensor
    """``(B, N_max, 2*D + 1)`` box tensor on the host, corners whole voxels inside the image."""
    shape: tuple[int, ...]
    """``(B, C, *spatial)``."""
    height: Tensor
    """``(K,)`` logit of each of :class:`~monai_bbox_mil.bags.BoxPixels`."""

    @classmethod
    def of(cls, logits: Tensor, target: Tensor) -> BoxHeights:
        """Take the logits in boxes from ``logits`` ``(B, C, *spatial)``; all others are forgotten.

        Example:
            >>> BoxHeights.of(torch.arange(6.0).view(1, 1, 2, 3), torch.tensor([[[0.0, 1, 2, 3, 0]]])).height
            tensor([1., 2., 4., 5.])
        """
        pixels = BoxPixels(target, logits.shape, logits.device)
        return cls(target, tuple(logits.shape), logits.detach().float().flatten().index_select(0, pixels.pixel))

    def pixels(self) -> BoxPixels:
        """Return the pixels that the heights belong to."""
        return BoxPixels(self.target, self.shape, self.height.device)


class PseudoLabelFitter:
    """Turn a teacher's logits into pixel labels that reach all sides of their boxes.

    First :meth:`learn` from the heights of all images, then :meth:`fit` each of them. With ``h`` a pixel's logit plus
    the priors of shape, and ``s`` the highest ``h`` in the outermost row (column, slice) of a side:

    - the level of a box is the lowest of its ``s``; or, where that is higher, the smaller of the mean of its ``s`` and
      of the quantile ``usual_level`` of the lowest ``s`` of all boxes of the class;
    - towards a side whose ``s`` is lower than the level, the level falls to ``s``, linearly over ``side_reach`` of the
      box;
    - the label is where ``h`` is at least the level. A pixel in labels of several classes goes to the class whose ``h``
      exceeds its level the most.

    Args:
        num_classes: ``C``.
        shape_weight: weight of the mean shape that :meth:`learn` finds: the average logit at each place in a box,
            relative to the mean of the box's ``s``.
        roundness: weight of the belief that objects are round, ``1 - r^2`` with ``r = 1`` on the inscribed ellipse.
        usual_level: quantile in ``[0, 1]``; 0 leaves each box its own lowest side.
        side_reach: share of the box's size, greater than 0.
        core: for loose boxes, the share of the rows, counted from the middle, that the region must reach, as in
            :class:`~monai_bbox_mil.bags.CrossingLines`; 1 for tight boxes.

    Raises:
        ValueError: when an option is out of range.

    Example:
        >>> logits = torch.tensor([[[[-1.0, 0, -1, -9], [0, 2, 0, -9], [-1, 0, -2, -9]]]])
        >>> heights = BoxHeights.of(logits, torch.tensor([[[0.0, 0, 3, 3, 0]]]))
        >>> fitter = PseudoLabelFitter(1, shape_weight=0, roundness=0)
        >>> fitter.learn([heights])
        >>> fitter.fit(heights)[0, 0]
        tensor([[0, 1, 0, 0],
                [1, 1, 1, 0],
                [0, 1, 0, 0]], dtype=torch.uint8)
    """

    def __init__(
        self,
        num_classes: int,
        shape_weight: float = 0.5,
        roundness: float = 0.25,
        usual_level: float = 0.5,
        side_reach: float = 0.5,
        core: float = 1.0,
    ) -> None:
        for name, value in (("shape_weight", shape_weight), ("roundness", roundness)):
            if not value >= 0:
                raise ValueError(f"{name} must be at least 0, got {value}.")
        for name, value in (("side_reach", side_reach), ("core", core)):
            if not 0 < value <= 1:
                raise ValueError(f"{name} must be greater than 0 and at most 1, got {value}.")
        if not 0 <= usual_level <= 1:
            raise ValueError(f"usual_level must be in [0, 1], got {usual_level}.")
        self.num_classes = num_classes
        self.shape_weight = shape_weight
        self.roundness = roundness
        self.usual_level = usual_level
        self.side_reach = side_reach
        self.core = core
        self.mean_shape = torch.zeros(num_classes)
        self.level = torch.full((num_classes,), -torch.inf)

    def learn(self, all_heights: Sequence[BoxHeights]) -> None:
        """Learn the mean shape and the usual level of each class.

        Args:
            all_heights: of the images that are to be labelled, or of enough of them.
        """
        self.mean_shape = self._average(all_heights) if self.shape_weight else torch.zeros(self.num_classes)
        channels, lowest = [torch.empty(0, dtype=torch.long)], [torch.empty(0)]
        for heights in all_heights:
            pixels = heights.pixels()
            channels.append(pixels.channel)
            sides = _sides(self._distances(pixels), pixels, self._height(heights, pixels))
            lowest.append(sides.amin(0).cpu())
        channel, level = torch.cat(channels), torch.cat(lowest)
        for c in range(self.num_classes):
            of_class = level[channel == c]
            self.level[c] = torch.quantile(of_class, self.usual_level) if len(of_class) else -torch.inf

    def fit(self, heights: BoxHeights) -> Tensor:
        """Label the pixels of one batch.

        Returns:
            ``(B, C, *spatial)`` uint8: 1 in objects, :data:`UNKNOWN` where only ignored regions are, else 0.
        """
        pixels = heights.pixels()
        labels = torch.zeros(heights.shape, dtype=torch.uint8, device=heights.height.device).flatten()
        labels[pixels.ignored_pixel] = UNKNOWN
        labels[pixels.pixel] = 0
        height = self._height(heights, pixels)
        margin = height - self._level_at(pixels, height)
        inside = margin >= 0
        if self.num_classes > 1:
            best = margin.new_full((labels.numel(),), -torch.inf).scatter_reduce(0, pixels.pixel, margin, "amax")
            best = best.view(heights.shape).amax(1, keepdim=True).expand(heights.shape).flatten()
            won = inside & (margin >= best[pixels.pixel])
            # A box says that there is an object: one that lost every pixel gets them back.
            left = torch.zeros(pixels.num_boxes, device=margin.device).index_add(0, pixels.box, won.float())
            inside = won | (inside & (left == 0)[pixels.box])
        labels[pixels.pixel[inside]] = 1
        return labels.view(heights.shape)

    def _height(self, heights: BoxHeights, pixels: BoxPixels) -> Tensor:
        height = heights.height
        if self.roundness:
            height = height + self.roundness * (1 - pixels.squared_radius())
        if self.shape_weight and self.mean_shape.ndim > 1 and len(height):
            height = height + self.shape_weight * self._shape_at(pixels)
        return height

    def _distances(self, pixels: BoxPixels) -> list[Tensor]:
        """Count the pixels between each pixel and each side of the core, ``(K,)`` per side, negative outside of it."""
        distances = []
        for place, size in zip(pixels.place, pixels.size):
            beside = (size * (1 - self.core) / 2).floor().long()
            distances += [place - pixels.of_box(beside), pixels.of_box(size - 1 - beside) - place]
        return distances

    def levels(self, heights: BoxHeights) -> Tensor:
        """Return the level of each box, ``(N,)``: how sure the teacher is of an object that reaches all sides."""
        pixels = heights.pixels()
        return self._level(_sides(self._distances(pixels), pixels, self._height(heights, pixels)), pixels)

    def _level(self, sides: Tensor, pixels: BoxPixels) -> Tensor:
        usual = self.level.to(sides)[pixels.channel.to(sides.device)]
        return sides.amin(0).maximum(usual.minimum(sides.mean(0)))

    def _level_at(self, pixels: BoxPixels, height: Tensor) -> Tensor:
        """Return the level that each pixel must reach, ``(K,)``."""
        distances = self._distances(pixels)
        sides = _sides(distances, pixels, height)
        level = self._level(sides, pixels)
        of_box = pixels.of_box(level)
        needed = of_box
        for side, distance in enumerate(distances):
            reach = self.side_reach * pixels.size[side // 2]
            near = distance.float().mul_(pixels.of_box(-1 / reach)).add_(1).clamp_(0, 1)
            # lerp is exact where near is 1: the highest pixel of a side reaches the level to the last bit.
            needed = needed.minimum(of_box.lerp(pixels.of_box(sides[side].minimum(level)), near))
        return needed

    def _average(self, all_heights: Sequence[BoxHeights]) -> Tensor:
        """Average the height at each place of the boxes, relative to the mean of the box's sides, ``(C, G, .., G)``."""
        dims = len(all_heights[0].shape) - 2 if len(all_heights) else 0
        total = torch.zeros(2, self.num_classes * _GRID**dims)
        for heights in all_heights:
            pixels = heights.pixels()
            if not pixels.num_boxes:
                continue
            sides = _sides(self._distances(pixels), pixels, heights.height)
            above = heights.height - pixels.of_box(sides.mean(0))
            weight = 1 / pixels.of_box(pixels.size.prod(0)).float()  # each box counts as much as any other
            cell = pixels.of_box(pixels.channel)
            for position in self._positions(pixels):
                cell = cell * _GRID + (position * _GRID).long().clamp(max=_GRID - 1)
            # A far outlier, such as an object that the teacher misses, is no shape.
            sums = torch.stack([above.clamp(-3, 3) * weight, weight]).cpu()
            total.index_add_(1, cell.cpu(), sums)
        mean = total[0] / total[1].clamp(min=torch.finfo(torch.float32).tiny)
        return mean.view(self.num_classes, *([_GRID] * dims))

    def _positions(self, pixels: BoxPixels) -> list[Tensor]:
        """Return the place of each pixel's middle in its box from 0 to 1, ``D`` tensors ``(K,)``."""
        return [(place + 0.5) / pixels.of_box(size) for place, size in zip(pixels.place, pixels.size)]

    def _shape_at(self, pixels: BoxPixels) -> Tensor:
        """Interpolate the mean shape linearly at each pixel, ``(K,)``."""
        grid = torch.stack(self._positions(pixels)[::-1], -1).mul_(2).sub_(1)  # grid_sample begins with the last axis
        grid = grid.view(1, *([1] * (len(pixels.place) - 1)), -1, len(pixels.place))
        shape = self.mean_shape.to(grid)[None]
        sampled = grid_sample(shape, grid, padding_mode="border", align_corners=False).view(self.num_classes, -1)
        return sampled.gather(0, pixels.of_box(pixels.channel)[None])[0]


def _sides(distances: Sequence[Tensor], pixels: BoxPixels, height: Tensor) -> Tensor:
    """Find the highest pixel in the core's outermost row on each side, low and high of each axis, ``(2*D, N)``."""
    sides = height.new_full((len(distances), pixels.num_boxes), -torch.inf)
    for side, distance in zip(sides, distances):
        row = distance == 0
        side.scatter_reduce_(0, pixels.box[row].long(), height[row], "amax")
    return sides
