# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
"""A record, stored with the boxes, of the image they were made for."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

__all__ = ["BOX_FRAME", "BoxFrame"]

BOX_FRAME = "box_frame"
"""Key in a box tensor's MONAI metadata under which its packed :class:`BoxFrame` is stored."""


class BoxFrame(NamedTuple):
    """Geometry of the image that boxes were made for, and the boxes as they were then."""

    shape: tuple[int, ...]
    """``D`` sizes in voxels."""
    affine: np.ndarray
    """``(4, 4)`` float64, from voxel centres to world coordinates."""
    operations: int
    """Number of traced transforms already applied to the image."""
    boxes: np.ndarray
    """``(N, 2*D)`` float64 corners."""

    def pack(self) -> bytes:
        """Pack all fields into bytes, which copying, collating and saving metadata leave unchanged."""
        head = [len(self.shape), *self.shape, self.operations]
        return np.concatenate([head, self.affine.ravel(), self.boxes.ravel()], dtype=np.float64).tobytes()

    @classmethod
    def unpack(cls, packed: bytes) -> BoxFrame:
        """Unpack the bytes of :meth:`pack`.

        Example:
            >>> frame = BoxFrame((8, 9), np.eye(4), 0, np.array([[1.0, 2, 5, 6]]))
            >>> BoxFrame.unpack(frame.pack()).boxes
            array([[1., 2., 5., 6.]])
        """
        values = np.frombuffer(packed)
        dims = int(values[0])
        shape, operations, rest = values[1 : 1 + dims], int(values[1 + dims]), values[2 + dims :]
        return cls(tuple(map(int, shape)), rest[:16].reshape(4, 4), operations, rest[16:].reshape(-1, 2 * dims))
