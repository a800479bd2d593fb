# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
"""Mean prediction over flips and quarter turns of the image."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import chain, combinations
from typing import Any

import torch
from monai.inferers import Inferer
from torch import Tensor

__all__ = ["SymmetryInferer"]


class SymmetryInferer(Inferer):
    """Average a network's output over mirrored and turned views of its input.

    The output of each view is transformed back before it is averaged. Use only the symmetries that augmentation showed
    the network in training; others add noise.

    Args:
        flip_axes: spatial axes, from 0; every combination of flips along them is a view.
        quarter_turns: whether each view is also turned by 90, 180 and 270 degrees in the plane of the first two axes.

    Raises:
        ValueError: in the constructor, if an axis is given twice or is negative; in a call, if the input lacks an axis.

    Example:
        >>> image = torch.tensor([[[[1.0, 2.0]]]])
        >>> SymmetryInferer(flip_axes=(1,))(image, lambda seen: seen * torch.tensor([0.0, 1.0]))
        tensor([[[[0.5000, 1.0000]]]])
    """

    def __init__(self, flip_axes: Sequence[int] = (), quarter_turns: bool = False) -> None:
        super().__init__()
        if len(set(flip_axes)) != len(flip_axes) or any(axis < 0 for axis in flip_axes):
            raise ValueError(f"flip_axes must hold distinct axes of at least 0, got {list(flip_axes)}.")
        self.flip_axes = tuple(flip_axes)
        self.quarter_turns = quarter_turns

    def __call__(self, inputs: Tensor, network: Callable[..., Tensor], *args: Any, **kwargs: Any) -> Tensor:
        """Return the mean output ``(B, C, *spatial)`` of ``network`` over the views of ``inputs``."""
        if any(axis >= inputs.ndim - 2 for axis in self.flip_axes):
            raise ValueError(
                f"flip_axes must be spatial axes of the input, from 0 to {inputs.ndim - 3}, got {list(self.flip_axes)}."
            )
        flips = chain.from_iterable(combinations(self.flip_axes, n) for n in range(len(self.flip_axes) + 1))
        views = [([2 + axis for axis in axes], k) for axes in flips for k in range(4 if self.quarter_turns else 1)]
        # A flip along both axes is a half turn: with quarter turns, each view would appear twice.
        if self.quarter_turns and {0, 1} <= set(self.flip_axes):
            views = [(axes, k) for axes, k in views if 3 not in axes]
        total = torch.zeros(())
        for axes, k in views:
            output = network(torch.rot90(inputs.flip(axes), k, (2, 3)), *args, **kwargs)
            total = total + torch.rot90(output, -k, (2, 3)).flip(axes)
        return total / len(views)
