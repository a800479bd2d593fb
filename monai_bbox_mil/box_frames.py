# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
"""How boxes say which image they were made for: one by one in their meta data, in a batch by the tensor's type."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

__all__ = ["BOX_FRAME", "BoxBatch", "BoxFrame"]

BOX_FRAME = "box_frame"
"""Key of a MONAI tensor's meta data, under which a box tensor holds its packed :class:`BoxFrame`."""


class BoxFrame(NamedTuple):
    """How the image lay that boxes were made for, and where they lay in it."""

    shape: tuple[int, ...]
    """``D`` sizes in voxels."""
    affine: np.ndarray
    """``(4, 4)`` float64, voxel centres to the world."""
    operations: int
    """Number of traced transforms that the image had gone through."""
    boxes: np.ndarray
    """``(N, 2*D)`` float64."""

    def pack(self) -> bytes:
        """All of it as bytes, which any copy, collation or file of meta data leaves as they are."""
        head = [len(self.shape), *self.shape, self.operations]
        return np.concatenate([head, self.affine.ravel(), self.boxes.ravel()], dtype=np.float64).tobytes()

    @classmethod
    def unpack(cls, packed: bytes) -> BoxFrame:
        """The inverse of :meth:`pack`.

        Example:
            >>> frame = BoxFrame((8, 9), np.eye(4), 0, np.array([[1.0, 2, 5, 6]]))
            >>> BoxFrame.unpack(frame.pack()).boxes
            array([[1., 2., 5., 6.]])
        """
        values = np.frombuffer(packed)
        dims = int(values[0])
        shape, operations, rest = values[1 : 1 + dims], int(values[1 + dims]), values[2 + dims :]
        return cls(tuple(map(int, shape)), rest[:16].reshape(4, 4), operations, rest[16:].reshape(-1, 2 * dims))


class BoxBatch(Tensor):
    """A batch's box tensor ``(B, N_max, 2*D + 1)`` that knows the size of the images it was made for.

    The losses refuse logits of another size. It goes from process to process and from device to device; whatever is
    computed from it is a plain tensor.

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
        cls, func: Callable, types: Sequence[type], args: tuple = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        if func is torch.nn.functional.interpolate:
            raise TypeError(
                "boxes cannot be interpolated as a mask is, which MONAI's DeepSupervisionLoss does with its target; "
                "wrap the box loss in monai_bbox_mil.losses.BoxDeepSupervisionLoss instead."
            )
        with torch._C.DisableTorchFunctionSubclass():
            result = func(*args, **(kwargs or {}))
        return cls(result, args[0].spatial_shape) if func in _MOVES else result

    def __deepcopy__(self, memo: dict) -> Tensor:
        return self.clone()


_MOVES = {Tensor.to, Tensor.cpu, Tensor.cuda, Tensor.pin_memory, Tensor.clone, Tensor.detach, Tensor.contiguous}
