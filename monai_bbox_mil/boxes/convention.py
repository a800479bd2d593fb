# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
"""The package's one box convention, and functions that pack, unpack, snap and clip boxes.

A *box* is a row of ``2*D`` numbers, ``(min_0, .., min_{D-1}, max_0, .., max_{D-1})``. The corners are in voxel index
space, the axes in the tensor's own spatial order, and the interval ``[min, max)`` is half-open. This is MONAI's
``StandardMode``.

A *box tensor* has ``2*D + 1`` columns: the corners, then a code for the class:

=================  ==========================================================================================
code ``c >= 0``    a box around an object of the network's output channel ``c``
code ``-1``        padding, so that all images of a batch have the same number of rows
code ``c <= -2``   an *ignored* region of channel ``-2 - c``: its pixels are neither positive nor negative
=================  ==========================================================================================
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

__all__ = [
    "PADDING",
    "box_codes",
    "clip_boxes",
    "pack_boxes",
    "slice_box_tensor",
    "snap_boxes",
    "split_codes",
    "unpack_boxes",
]

PADDING = -1

# In voxels. An affine leaves rounding errors in the corners: without a tolerance, 10.0000002 would snap to 11 and
# loosen the box by one voxel.
_SNAP_TOLERANCE = 1e-3


def box_codes(classes: Tensor, ignored: Tensor) -> Tensor:
    """Encode classes for the last column of a box tensor; the inverse of :func:`split_codes`.

    Args:
        classes: ``(N,)`` 0-based output channels.
        ignored: ``(N,)`` bool, true for ignored regions.

    Returns:
        ``(N,)`` codes.

    Raises:
        ValueError: if the two shapes differ.

    Example:
        >>> box_codes(torch.tensor([0, 1, 1]), torch.tensor([False, False, True]))
        tensor([ 0,  1, -3])
    """
    if ignored.shape != classes.shape:
        raise ValueError(f"ignored must hold one flag per class {tuple(classes.shape)}, got {tuple(ignored.shape)}.")
    return torch.where(ignored, -2 - classes, classes)


def split_codes(codes: Tensor) -> tuple[Tensor, Tensor]:
    """Decode classes from the last column of a box tensor; the inverse of :func:`box_codes`.

    Args:
        codes: ``(N,)`` codes.

    Returns:
        ``(N,)`` 0-based output channels and ``(N,)`` bool, true for ignored regions. Padding has no channel: its code
        -1 is returned unchanged.

    Example:
        >>> split_codes(torch.tensor([0, 1, -3]))
        (tensor([0, 1, 1]), tensor([False, False,  True]))
    """
    ignored = codes < PADDING
    return torch.where(ignored, -2 - codes, codes), ignored


def pack_boxes(boxes: Tensor, classes: Tensor, ignored: Tensor | None = None) -> Tensor:
    """Join boxes and their classes into a box tensor.

    Args:
        boxes: ``(N, 2*D)`` corners in voxels, half-open.
        classes: ``(N,)`` 0-based output channels.
        ignored: ``(N,)`` bool, true for regions that are neither positive nor negative; none when ``None``.

    Returns:
        ``(N, 2*D + 1)`` float32 box tensor.

    Raises:
        ValueError: if the shapes do not fit, a corner is NaN or infinite, or a class is negative or not a whole number.

    Example:
        >>> pack_boxes(torch.tensor([[1, 2, 5, 6]]), torch.tensor([0]))
        tensor([[1., 2., 5., 6., 0.]])
    """
    boxes = torch.as_tensor(boxes, dtype=torch.float32)
    classes = torch.as_tensor(classes, dtype=torch.float32, device=boxes.device).reshape(-1)
    if boxes.ndim != 2 or boxes.shape[1] not in (4, 6):
        raise ValueError(f"boxes must have the shape (N, 4) or (N, 6), got {tuple(boxes.shape)}.")
    if not torch.isfinite(boxes).all():
        raise ValueError(f"boxes must hold finite corners, got {boxes[~torch.isfinite(boxes).all(dim=1)][0].tolist()}.")
    if len(classes) != len(boxes):
        raise ValueError(f"classes must hold one value per box ({len(boxes)}), got {len(classes)}.")
    wrong = (classes < 0) | (classes % 1 != 0)
    if wrong.any():
        raise ValueError(f"classes must be 0-based output channels, got {classes[wrong][0].item():g}.")
    if ignored is not None:
        classes = box_codes(classes, torch.as_tensor(ignored, device=boxes.device).bool().reshape(-1))
    return torch.cat([boxes, classes[:, None]], dim=1)


def unpack_boxes(box_tensor: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Split the box tensor of one image into boxes and classes, without padding; the inverse of :func:`pack_boxes`.

    Args:
        box_tensor: ``(N, 2*D + 1)``.

    Returns:
        boxes ``(N', 2*D)``, classes ``(N',)`` int64 and ignored ``(N',)`` bool.

    Raises:
        ValueError: if the shape is not that of a box tensor, or a number is NaN or infinite.

    Example:
        >>> boxes, classes, ignored = unpack_boxes(torch.tensor([[1., 2, 5, 6, -2], [0, 0, 0, 0, -1]]))
        >>> boxes.tolist(), classes.tolist(), ignored.tolist()
        ([[1.0, 2.0, 5.0, 6.0]], [0], [True])
    """
    if box_tensor.ndim != 2 or box_tensor.shape[1] not in (5, 7):
        raise ValueError(f"box_tensor must have the shape (N, 5) or (N, 7), got {tuple(box_tensor.shape)}.")
    if not torch.isfinite(box_tensor).all():
        raise ValueError("box_tensor must hold finite numbers, got NaN or infinity.")
    rows = box_tensor[box_tensor[:, -1] != PADDING]
    classes, ignored = split_codes(rows[:, -1].long())
    return rows[:, :-1], classes, ignored


def snap_boxes(boxes: Tensor) -> Tensor:
    """Snap corners ``(..., 2*D)`` outward to whole voxels: round the minima down and the maxima up.

    Raises:
        ValueError: if the number of columns is odd.

    Example:
        >>> snap_boxes(torch.tensor([[0.4, 1.0, 2.6, 3.0]]))
        tensor([[0., 1., 3., 3.]])
    """
    dims, odd = divmod(boxes.shape[-1], 2)
    if odd:
        raise ValueError(f"boxes must have the shape (N, 2*D), got {tuple(boxes.shape)}.")
    low = torch.floor(boxes[..., :dims] + _SNAP_TOLERANCE)
    high = torch.ceil(boxes[..., dims:] - _SNAP_TOLERANCE)
    return torch.cat([low, high], dim=-1)


def clip_boxes(boxes: Tensor, spatial_shape: Sequence[int]) -> tuple[Tensor, Tensor]:
    """Clip boxes to the image.

    Args:
        boxes: ``(N, 2*D)`` corners in voxels.
        spatial_shape: ``D`` sizes of the image in voxels.

    Returns:
        the clipped boxes ``(N, 2*D)`` and ``(N,)`` bool, true where some of the box is left.

    Raises:
        ValueError: if the boxes do not have the image's number of axes.

    Example:
        >>> clip_boxes(torch.tensor([[-2., 0., 3., 9.], [8., 0., 9., 9.]]), (4, 4))
        (tensor([[0., 0., 3., 4.],
                [4., 0., 4., 4.]]), tensor([ True, False]))
    """
    dims = len(spatial_shape)
    if boxes.ndim != 2 or boxes.shape[1] != 2 * dims:
        raise ValueError(f"boxes must have the shape (N, {2 * dims}), got {tuple(boxes.shape)}.")
    size = torch.as_tensor(spatial_shape, dtype=boxes.dtype, device=boxes.device)
    clipped = torch.minimum(boxes.clamp(min=0), size.repeat(2))
    return clipped, (clipped[:, :dims] < clipped[:, dims:]).all(dim=1)


def slice_box_tensor(box_tensor: Tensor, index: int, dim: int = -1) -> Tensor:
    """Select the boxes of a volume that cover one slice, and drop the axis across the slices.

    A box covers every slice that it touches. Its corners along the other axes are not snapped.

    Args:
        box_tensor: ``(N, 7)`` of a volume.
        index: 0-based number of the slice.
        dim: spatial axis along which the volume is sliced.

    Returns:
        ``(N', 5)`` box tensor of the slice.

    Raises:
        ValueError: if the box tensor does not have the shape ``(N, 7)``.

    Example:
        >>> slice_box_tensor(torch.tensor([[1., 2, 3, 4, 5, 4, 0], [0, 0, 7, 9, 9, 8, 0]]), 3)
        tensor([[1., 2., 4., 5., 0.]])
    """
    if box_tensor.ndim != 2 or box_tensor.shape[1] != 7:
        raise ValueError(f"box_tensor must have the shape (N, 7), got {tuple(box_tensor.shape)}.")
    dim = dim % 3
    ends = snap_boxes(box_tensor[:, [dim, 3 + dim]])
    rows = box_tensor[(ends[:, 0] <= index) & (index < ends[:, 1])]
    return rows[:, [i for i in range(7) if i not in (dim, 3 + dim)]]
