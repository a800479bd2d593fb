# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
"""Box frames: a record, kept with the boxes, of the image grid that they were made for."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

__all__ = ["BOX_FRAME", "BoxFrame"]

BOX_FRAME = "box_frame"
"""Key of a box tensor's frame in the meta data of a MONAI tensor."""


class BoxFrame(NamedTuple):
    """Image grid that boxes were made for, and the boxes' corners in it."""

    shape: tuple[int, ...]
    """``D`` sizes in voxels."""
    affine: np.ndarray
    """``(4, 4)`` float64, from voxel centres to world coordinates in mm."""
    operations: int
    """Number of traced transforms that had been applied to the image."""
    boxes: np.ndarray
    """``(N, 2*D)`` float64 corners in voxels."""

    def pack(self) -> bytes:
        """Serialise the frame to bytes, which copying, collating and saving meta data leave unchanged."""
        head = [len(self.shape), *self.shape, self.operations]
        return np.concatenate([head, self.affine.ravel(), self.boxes.ravel()], dtype=np.float64).tobytes()

    @classmethod
    def unpack(cls, packed: bytes) -> BoxFrame:
        """Restore a frame from the bytes of :meth:`pack`.

        Example:
            >>> frame = BoxFrame((8, 9), np.eye(4), 0, np.array([[1.0, 2, 5, 6]]))
            >>> BoxFrame.unpack(frame.pack()).boxes
            array([[1., 2., 5., 6.]])
        """
        values = np.frombuffer(packed)
        dims = int(values[0])
        shape, operations, rest = values[1 : 1 + dims], int(values[1 + dims]), values[2 + dims :]
        return cls(tuple(map(int, shape)), rest[:16].reshape(4, 4), operations, rest[16:].reshape(-1, 2 * dims))
