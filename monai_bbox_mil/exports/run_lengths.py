# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
"""Masks as lengths of runs, in the encodings of COCO, CVAT and Label Studio."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["brush_runs", "counts"]

# Label Studio: the numbers of bits of a run's length, of which each run names one.
_RUN_BITS = (3, 4, 8, 16)
_WORD_BITS = 8


def counts(values: NDArray[np.bool_]) -> list[int]:
    """Return the lengths of runs of zeros and ones in turn, beginning with zeros.

    Args:
        values: bool, flattened in the order of its memory: column by column, as in COCO, where the first axis points
            right.

    Example:
        >>> counts(np.array([[True, True, False], [False, False, True]]))
        [0, 2, 3, 1]
    """
    flat = values.ravel()
    changes = np.flatnonzero(flat[1:] != flat[:-1]) + 1
    lengths = np.diff([0, *changes.tolist(), len(flat)]).tolist()
    return [0, *lengths] if flat[0] else lengths


def brush_runs(mask: NDArray[np.bool_]) -> list[int]:
    """Return a mask as Label Studio's brush has it: runs of bytes of an RGBA picture, packed in bits.

    Args:
        mask: ``(H, W)`` bool, the first axis pointing right.

    Returns:
        bytes.

    Example:
        >>> brush_runs(np.ones((1, 1), dtype=bool))
        [0, 0, 0, 4, 57, 27, 252, 127, 224]
    """
    lengths = counts(np.ascontiguousarray(mask.T))  # row by row
    bits = [f"{4 * mask.size:032b}{_WORD_BITS - 1:05b}", *(f"{size - 1:04b}" for size in _RUN_BITS)]
    for number, length in enumerate(lengths):
        bits += _runs(4 * length, 255 * (number % 2))
    text = "".join(bits)
    text += "0" * (-len(text) % 8)
    return [int(text[start : start + 8], 2) for start in range(0, len(text), 8)]


def _runs(length: int, value: int) -> list[str]:
    """Return a run in bits, cut where it is longer than the largest one that can be written."""
    found = []
    while length:
        part = min(length, 1 << _RUN_BITS[-1])
        kind = next(index for index, size in enumerate(_RUN_BITS) if part <= 1 << size)
        found.append(f"1{kind:02b}{part - 1:0{_RUN_BITS[kind]}b}{value:0{_WORD_BITS}b}")
        length -= part
    return found
