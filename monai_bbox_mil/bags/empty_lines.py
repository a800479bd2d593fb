# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
"""Lines across the whole image that meet no box."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from monai_bbox_mil.bags.patches import BoxPatches

__all__ = ["EmptyLines"]


class EmptyLines:
    """Negative bags of the MIL baseline: every full row and column (3D: axis-aligned slice) that meets no box.

    Args:
        patches: the boxes. A line that meets an ignored box is not empty either.

    Attributes:
        per_class: number of lines of each class. The lines are ordered by class.

    Example:
        >>> patches = BoxPatches(torch.tensor([[[1., 1, 2, 2, 0]]]), (1, 1, 2, 2), torch.device("cpu"))
        >>> EmptyLines(patches).sum(torch.tensor([[[[0., 1], [2, 3]]]]))
        tensor([1., 2.])
    """

    per_class: list[int]

    def __init__(self, patches: BoxPatches) -> None:
        batch, num_classes, *spatial = patches.shape
        empty, size = [], []
        for axis, length in enumerate(spatial):
            # Each box adds 1 where it begins and -1 where it ends, so the running sum is the number of boxes on a line.
            change = torch.zeros(num_classes, batch, length + 1, dtype=torch.long)
            one = torch.ones_like(patches.channel)
            low = patches.low[:, axis]
            change.index_put_((patches.channel, patches.image, low), one, accumulate=True)
            change.index_put_((patches.channel, patches.image, low + patches.size[:, axis]), -one, accumulate=True)
            empty.append((change.cumsum(-1)[..., :-1] == 0).flatten(1))
            size.append(torch.full_like(empty[-1], math.prod(spatial) // length, dtype=torch.float32))
        lines = torch.cat(empty, 1)
        self.per_class = lines.sum(1).tolist()
        line = lines.flatten().nonzero()[:, 0]
        self.size = torch.cat(size, 1).flatten()[line].to(patches.pixel.device)
        self._line = line.to(patches.pixel.device)

    def sum(self, values: Tensor) -> Tensor:
        """Sum the real or complex ``values`` ``(B, C, *spatial)`` over each line; returns ``(M,)``."""
        return self._reduce(values, lambda image, axes: image.sum(axes))

    def max(self, values: Tensor) -> Tensor:
        """Find the largest of the real ``values`` ``(B, C, *spatial)`` on each line; returns ``(M,)``.

        Equal maxima share the gradient.
        """
        return self._reduce(values, lambda image, axes: image.amax(axes))

    def _reduce(self, values: Tensor, reduce: Callable[[Tensor, list[int]], Tensor]) -> Tensor:
        axes = range(2, values.ndim)
        lines = [reduce(values, [i for i in axes if i != axis]).transpose(0, 1).flatten(1) for axis in axes]
        return torch.cat(lines, 1).flatten().index_select(0, self._line)
