# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
"""The one box convention of this package: pack, unpack, snap, clip.

A *box* is a row of ``2*D`` numbers, ``(min_0, .., min_{D-1}, max_0, .., max_{D-1})``: corners in voxel index space,
axes in the tensor's own spatial order, half-open ``[min, max)``. It is MONAI's ``StandardMode``.

A *box tensor* has ``2*D + 1`` columns: the corners, followed by a code for the class:

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

# In voxels. An affine leaves rounding errors of this order in the corners. Without a tolerance, 10.0000002 would snap
# to 11 and make the box one voxel too large.
_SNAP_TOLERANCE = 1e-3


def box_codes(classes: Tensor, ignored: Tensor) -> Tensor:
    """Encode 0-based channels ``(N,)`` and flags ``(N,)``, true for ignored regions, as codes of a box tensor.

    Raises:
        ValueError: if there is not one flag per class.

    Example:
        >>> box_codes(torch.tensor([0, 1, 1]), torch.tensor([False, False, True]))
        tensor([ 0,  1, -3])
    """
    if ignored.shape != classes.shape:
        raise ValueError(f"ignored must have one flag per class {tuple(classes.shape)}, got {tuple(ignored.shape)}.")
    return torch.where(ignored, -2 - classes, classes)


def split_codes(codes: Tensor) -> tuple[Tensor, Tensor]:
    """Decode codes ``(N,)`` into channels ``(N,)`` and ignored flags ``(N,)``, the inverse of :func:`box_codes`.

    Padding has no channel and stays -1.

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
        ignored: ``(N,)`` bool, true for regions that are neither positive nor negative; ``None`` for no such regions.

    Returns:
        ``(N, 2*D + 1)`` float32 box tensor.

    Raises:
        ValueError: if the shapes do not match, a corner is NaN or infinite, or a class is negative or fractional.

    Example:
        >>> pack_boxes(torch.tensor([[1, 2, 5, 6]]), torch.tensor([0]))
        tensor([[1., 2., 5., 6., 0.]])
    """
    boxes = torch.as_tensor(boxes, dtype=torch.float32)
    classes = torch.as_tensor(classes, dtype=torch.float32, device=boxes.device).reshape(-1)
    if boxes.ndim != 2 or boxes.shape[1] not in (4, 6):
        raise ValueError(f"boxes must have the shape (N, 4) or (N, 6), got {tuple(boxes.shape)}.")
    if not torch.isfinite(boxes).all():
        raise ValueError(f"boxes must have finite corners, got {boxes[~torch.isfinite(boxes).all(dim=1)][0].tolist()}.")
    if len(classes) != len(boxes):
        raise ValueError(f"classes must have one value per box ({len(boxes)}), got {len(classes)}.")
    wrong = (classes < 0) | (classes % 1 != 0)
    if wrong.any():
        raise ValueError(f"classes must be 0-based output channels, got {classes[wrong][0].item():g}.")
    if ignored is not None:
        classes = box_codes(classes, torch.as_tensor(ignored, device=boxes.device).bool().reshape(-1))
    return torch.cat([boxes, classes[:, None]], dim=1)


def unpack_boxes(box_tensor: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Split one image's box tensor into boxes, classes and flags, and drop padding; the inverse of :func:`pack_boxes`.

    Args:
        box_tensor: ``(N, 2*D + 1)``.

    Returns:
        boxes ``(N', 2*D)``, classes ``(N',)`` int64 and ignored ``(N',)`` bool.

    Raises:
        ValueError: if the shape is neither ``(N, 5)`` nor ``(N, 7)``, or a number is NaN or infinite.

    Example:
        >>> boxes, classes, ignored = unpack_boxes(torch.tensor([[1., 2, 5, 6, -2], [0, 0, 0, 0, -1]]))
        >>> boxes.tolist(), classes.tolist(), ignored.tolist()
        ([[1.0, 2.0, 5.0, 6.0]], [0], [True])
    """
    if box_tensor.ndim != 2 or box_tensor.shape[1] not in (5, 7):
        raise ValueError(f"box_tensor must have the shape (N, 5) or (N, 7), got {tuple(box_tensor.shape)}.")
    if not torch.isfinite(box_tensor).all():
        raise ValueError("box_tensor must have finite numbers, got NaN or infinite ones.")
    rows = box_tensor[box_tensor[:, -1] != PADDING]
    classes, ignored = split_codes(rows[:, -1].long())
    return rows[:, :-1], classes, ignored


def snap_boxes(boxes: Tensor) -> Tensor:
    """Snap corners ``(N, 2*D)`` outward to whole voxels: round minima down and maxima up.

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
    """Clip boxes ``(N, 2*D)`` to the image.

    Raises:
        ValueError: if the boxes do not have the image's number of axes.

    Returns:
        the clipped boxes ``(N, 2*D)``, and ``(N,)`` bool, true where part of the box is inside the image.

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
    """Select the boxes that cover one slice of a volume, and drop the slice axis.

    Along the slice axis, boxes are snapped outward to whole slices. The other corners stay as they are.

    Args:
        box_tensor: ``(N, 7)`` box tensor of a volume.
        index: number of the slice.
        dim: spatial axis along which the volume is sliced.

    Returns:
        ``(N', 5)`` box tensor of the slice.

    Raises:
        ValueError: if the box tensor does not have 7 columns.

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
