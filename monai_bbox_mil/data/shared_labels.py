# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
"""Labels of slices that can be replaced while loader processes read them."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import accumulate

import torch
from torch import Tensor

__all__ = ["SharedLabels"]


class SharedLabels:
    """A list of tensors with fixed shapes, in memory that is shared with processes started later.

    All processes see a label that one of them writes. So even a ``DataLoader`` with persistent workers yields the new
    labels in its next epoch.

    Args:
        labels: tensors of one data type and any shapes.

    Raises:
        ValueError: if there are no labels, or their types differ.

    Example:
        >>> labels = SharedLabels([torch.zeros(1, 2, 2), torch.ones(1, 1, 3)])
        >>> labels[0] = torch.full((1, 2, 2), 7.0)
        >>> len(labels), labels[0].unique(), labels[1].shape
        (2, tensor([7.]), torch.Size([1, 1, 3]))
    """

    def __init__(self, labels: Iterable[Tensor]) -> None:
        found = [torch.as_tensor(label).as_subclass(Tensor) for label in labels]
        if not found:
            raise ValueError("labels must hold at least one tensor, got none.")
        types = {label.dtype for label in found}
        if len(types) > 1:
            raise ValueError(f"labels must be of one type, got {', '.join(sorted(map(str, types)))}.")
        self.shapes = [tuple(label.shape) for label in found]
        self._ends = [0, *accumulate(label.numel() for label in found)]
        # All labels share one block, because separate blocks would need one file descriptor per slice.
        self.flat: Tensor = torch.cat([label.flatten() for label in found]).share_memory_()

    def __len__(self) -> int:
        return len(self.shapes)

    def __getitem__(self, index: int) -> Tensor:
        """Return a copy of one label."""
        return self._view(index).clone()

    def __setitem__(self, index: int, label: Tensor) -> None:
        if tuple(label.shape) != self.shapes[index]:
            raise ValueError(f"label {index} must keep its shape {self.shapes[index]}, got {tuple(label.shape)}.")
        self._view(index).copy_(label)

    def _view(self, index: int) -> Tensor:
        return self.flat[self._ends[index] : self._ends[index + 1]].view(self.shapes[index])
