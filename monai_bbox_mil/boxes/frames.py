# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
"""How the image lay that boxes were made for, noted beside them."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

__all__ = ["BOX_FRAME", "BoxFrame"]

BOX_FRAME = "box_frame"
"""Key of a MONAI tensor's meta data, under which a box tensor says which image it was made for."""


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
        """Pack everything into bytes, which survive copies, collation and files of meta data unchanged."""
        head = [len(self.shape), *self.shape, self.operations]
        return np.concatenate([head, self.affine.ravel(), self.boxes.ravel()], dtype=np.float64).tobytes()

    @classmethod
    def unpack(cls, packed: bytes) -> BoxFrame:
        """Undo :meth:`pack`.

        Example:
            >>> frame = BoxFrame((8, 9), np.eye(4), 0, np.array([[1.0, 2, 5, 6]]))
            >>> BoxFrame.unpack(frame.pack()).boxes
            array([[1., 2., 5., 6.]])
        """
        values = np.frombuffer(packed)
        dims = int(values[0])
        shape, operations, rest = values[1 : 1 + dims], int(values[1 + dims]), values[2 + dims :]
        return cls(tuple(map(int, shape)), rest[:16].reshape(4, 4), operations, rest[16:].reshape(-1, 2 * dims))
