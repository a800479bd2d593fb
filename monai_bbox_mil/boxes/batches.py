# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
"""Box tensors of several images as one tensor."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import reduce
from typing import Any

import torch
from torch import Tensor

from monai_bbox_mil.boxes.convention import PADDING

__all__ = ["BoxBatch", "batch_box_tensors"]


def batch_box_tensors(box_tensors: Sequence[Tensor]) -> Tensor:
    """Stack the box tensors of several images, padded to the largest; no box is dropped.

    Args:
        box_tensors: one ``(N_i, 2*D + 1)`` tensor per image.

    Returns:
        ``(B, max N_i, 2*D + 1)`` in the type to which PyTorch promotes all of them. It has at least one row per image,
        so that a batch without boxes keeps its shape.

    Raises:
        ValueError: if the box tensors do not all have 5 columns, or all 7.

    Example:
        >>> batch_box_tensors([torch.tensor([[1., 2, 5, 6, 0]]), torch.empty(0, 5)])[1]
        tensor([[ 0.,  0.,  0.,  0., -1.]])
    """
    columns = {t.shape[-1] for t in box_tensors}
    if len(columns) != 1 or not columns <= {5, 7}:
        raise ValueError(
            f"box_tensors must all have 5 columns (2D) or all have 7 (3D) in one batch, got {sorted(columns)}."
        )
    rows = max(1, max(len(t) for t in box_tensors))
    dtype = reduce(torch.promote_types, (t.dtype for t in box_tensors))
    batch = box_tensors[0].new_zeros(len(box_tensors), rows, columns.pop(), dtype=dtype)
    batch[..., -1] = PADDING
    for filled, box_tensor in zip(batch, box_tensors):
        filled[: len(box_tensor)] = box_tensor
    return batch


class BoxBatch(Tensor):
    """A batch's box tensor ``(B, N_max, 2*D + 1)`` that records the size of the images it was made for.

    The losses reject logits of another size. The record survives moves between processes and devices. Anything computed
    from a ``BoxBatch`` is a plain tensor.

    Args:
        rows: ``(B, N_max, 2*D + 1)``.
        spatial_shape: ``D`` sizes of the images in voxels.

    Example:
        >>> batch = BoxBatch(torch.zeros(1, 1, 5), (8, 9))
        >>> batch.to(torch.float64).spatial_shape, type(batch[0])
        ((8, 9), <class 'torch.Tensor'>)
    """

    spatial_shape: tuple[int, ...]

    @staticmethod
    def __new__(cls: type[BoxBatch], rows: Tensor, spatial_shape: Sequence[int]) -> BoxBatch:
        batch = rows.as_subclass(cls)
        batch.spatial_shape = tuple(spatial_shape)
        return batch

    @classmethod
    def __torch_function__(
        cls,
        func: Callable[..., Any],
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        if func is torch.nn.functional.interpolate:
            raise TypeError(
                "target must be a mask to be interpolated, as MONAI's DeepSupervisionLoss does, got boxes. "
                "Wrap the box loss in monai_bbox_mil.losses.BoxDeepSupervisionLoss instead."
            )
        with torch._C.DisableTorchFunctionSubclass():
            result = func(*args, **(kwargs or {}))
        return cls(result, args[0].spatial_shape) if func in _MOVES else result

    def __deepcopy__(self, memo: dict[int, Any]) -> Tensor:
        return self.clone()


_MOVES = {Tensor.to, Tensor.cpu, Tensor.cuda, Tensor.pin_memory, Tensor.clone, Tensor.detach, Tensor.contiguous}
