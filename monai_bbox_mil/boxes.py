# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
"""The one box convention of this package.

A *box* is a row of ``2*D`` numbers, ``(min_0, .., min_{D-1}, max_0, .., max_{D-1})``: corners in voxel index space,
axes in the tensor's own spatial order, half-open ``[min, max)``. It is MONAI's ``StandardMode``.

A *box tensor* has ``2*D + 1`` columns: the corners, then a code for the class:

=================  ==========================================================================================
code ``c >= 0``    a box around an object of the network's output channel ``c``
code ``-1``        padding, so that the images of a batch have equally many rows
code ``c <= -2``   an *ignored* region of channel ``-2 - c``: its pixels are neither positive nor negative
=================  ==========================================================================================
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

__all__ = [
    "PADDING",
    "batch_box_tensors",
    "box_codes",
    "boxes_to_mask",
    "check_box_tensor",
    "clip_boxes",
    "pack_boxes",
    "slice_box_tensor",
    "snap_boxes",
    "split_codes",
    "unpack_boxes",
]

PADDING = -1

# Corners that went through an affine come back with rounding errors of this order, in voxels; without a tolerance
# 10.0000002 would snap to 11 and loosen every box by one voxel.
_SNAP_TOLERANCE = 1e-3


def box_codes(classes: Tensor, ignored: Tensor) -> Tensor:
    """Codes of a box tensor from 0-based channels ``(N,)`` and flags ``(N,)``, true for ignored regions.

    Example:
        >>> box_codes(torch.tensor([0, 1, 1]), torch.tensor([False, False, True]))
        tensor([ 0,  1, -3])
    """
    return torch.where(ignored, -2 - classes, classes)


def split_codes(codes: Tensor) -> tuple[Tensor, Tensor]:
    """Channels ``(N,)`` and ignored flags ``(N,)`` of codes ``(N,)``, the inverse of :func:`box_codes`.

    Padding has no channel and stays what it is.

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
        ValueError: when the shapes do not fit, a corner is NaN or infinite, or a class is negative.

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
        raise ValueError(f"classes must hold one value a box ({len(boxes)}), got {len(classes)}.")
    if (classes < 0).any():
        raise ValueError(f"classes must be 0-based output channels, got {classes.min().item():g}.")
    if ignored is not None:
        classes = box_codes(classes, torch.as_tensor(ignored, device=boxes.device).bool().reshape(-1))
    return torch.cat([boxes, classes[:, None]], dim=1)


def unpack_boxes(box_tensor: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Split a box tensor of one image, the inverse of :func:`pack_boxes`; padding is dropped.

    Args:
        box_tensor: ``(N, 2*D + 1)``.

    Returns:
        boxes ``(N', 2*D)``, classes ``(N',)`` int64 and ignored ``(N',)`` bool.

    Raises:
        ValueError: when the shape does not fit.

    Example:
        >>> boxes, classes, ignored = unpack_boxes(torch.tensor([[1., 2, 5, 6, -2], [0, 0, 0, 0, -1]]))
        >>> boxes.tolist(), classes.tolist(), ignored.tolist()
        ([[1.0, 2.0, 5.0, 6.0]], [0], [True])
    """
    if box_tensor.ndim != 2 or box_tensor.shape[1] not in (5, 7):
        raise ValueError(f"box_tensor must have the shape (N, 5) or (N, 7), got {tuple(box_tensor.shape)}.")
    rows = box_tensor[box_tensor[:, -1] != PADDING]
    classes, ignored = split_codes(rows[:, -1].long())
    return rows[:, :-1], classes, ignored


def snap_boxes(boxes: Tensor) -> Tensor:
    """Snap corners ``(N, 2*D)`` outward to whole voxels: floor the minima, ceil the maxima.

    Example:
        >>> snap_boxes(torch.tensor([[0.4, 1.0, 2.6, 3.0]]))
        tensor([[0., 1., 3., 3.]])
    """
    dims = boxes.shape[-1] // 2
    low = torch.floor(boxes[..., :dims] + _SNAP_TOLERANCE)
    high = torch.ceil(boxes[..., dims:] - _SNAP_TOLERANCE)
    return torch.cat([low, high], dim=-1)


def clip_boxes(boxes: Tensor, spatial_shape: Sequence[int]) -> tuple[Tensor, Tensor]:
    """Clip boxes ``(N, 2*D)`` to the image.

    Returns:
        the clipped boxes ``(N, 2*D)`` and ``(N,)`` bool, true where some of the box is left.

    Example:
        >>> clip_boxes(torch.tensor([[-2., 0., 3., 9.], [8., 0., 9., 9.]]), (4, 4))
        (tensor([[0., 0., 3., 4.],
                [4., 0., 4., 4.]]), tensor([ True, False]))
    """
    dims = boxes.shape[-1] // 2
    size = torch.as_tensor(spatial_shape, dtype=boxes.dtype, device=boxes.device)
    clipped = torch.minimum(boxes.clamp(min=0), size.repeat(2))
    return clipped, (clipped[:, :dims] < clipped[:, dims:]).all(dim=1)


def slice_box_tensor(box_tensor: Tensor, index: int, dim: int = -1) -> Tensor:
    """Boxes of one slice of a volume: the rows that cover the slice, without that axis.

    Args:
        box_tensor: ``(N, 7)`` of a volume.
        index: number of the slice.
        dim: spatial axis along which the volume is sliced.

    Returns:
        ``(N', 5)`` box tensor of the slice.

    Example:
        >>> slice_box_tensor(torch.tensor([[1., 2, 3, 4, 5, 4, 0], [0, 0, 7, 9, 9, 8, 0]]), 3)
        tensor([[1., 2., 4., 5., 0.]])
    """
    dim = dim % 3
    rows = box_tensor[(box_tensor[:, dim] <= index) & (index < box_tensor[:, 3 + dim])]
    return rows[:, [i for i in range(7) if i not in (dim, 3 + dim)]]


def batch_box_tensors(box_tensors: Sequence[Tensor]) -> Tensor:
    """Stack box tensors of several images, padded to the largest; no box is dropped.

    Args:
        box_tensors: one ``(N_i, 2*D + 1)`` tensor an image.

    Returns:
        ``(B, max N_i, 2*D + 1)``; at least one row, so that a batch without boxes keeps its shape.

    Example:
        >>> batch_box_tensors([torch.tensor([[1., 2, 5, 6, 0]]), torch.empty(0, 5)])[1]
        tensor([[ 0.,  0.,  0.,  0., -1.]])
    """
    columns = {t.shape[-1] for t in box_tensors}
    if len(columns) != 1 or not columns <= {5, 7}:
        raise ValueError(f"box tensors of one batch must all have 5 or all have 7 columns, got {sorted(columns)}.")
    rows = max(1, max(len(t) for t in box_tensors))
    batch = box_tensors[0].new_zeros(len(box_tensors), rows, columns.pop())
    batch[..., -1] = PADDING
    for filled, box_tensor in zip(batch, box_tensors):
        filled[: len(box_tensor)] = box_tensor
    return batch


def check_box_tensor(box_tensor: Tensor, spatial_shape: Sequence[int], num_classes: int, name: str = "target") -> None:
    """Raise ``ValueError`` with the offending row if a batch's box tensor does not fit the network's output.

    Args:
        box_tensor: ``(B, N_max, 2*D + 1)``, already snapped to whole voxels.
        spatial_shape: ``D`` sizes in voxels.
        num_classes: number of output channels.
        name: the argument's name in the message.
    """
    dims = len(spatial_shape)
    boxes, codes = box_tensor[..., :-1], box_tensor[..., -1]
    used = codes != PADDING
    low, high = boxes[..., :dims], boxes[..., dims:]
    size = torch.as_tensor(tuple(spatial_shape), dtype=boxes.dtype, device=boxes.device)
    channel = torch.where(codes < PADDING, -2 - codes, codes)
    checks = (
        (~torch.isfinite(box_tensor).all(dim=-1), "finite numbers"),
        (used & ((codes % 1 != 0) | (channel >= num_classes)), f"a class in 0..{num_classes - 1}, -1 or ignored"),
        (used & (low >= high).any(dim=-1), "min < max on every axis"),
        (used & ((low < 0) | (high > size)).any(dim=-1), f"a box inside the image of size {tuple(spatial_shape)}"),
    )
    if not torch.stack([wrong for wrong, _ in checks]).any():
        return
    for wrong, expected in checks:
        if wrong.any():
            image, row = (int(i) for i in wrong.nonzero()[0])
            values = [round(v, 4) for v in box_tensor[image, row].tolist()]
            raise ValueError(f"{name}[{image}, {row}] must hold {expected}, got {values}.")


def boxes_to_mask(box_tensor: Tensor, spatial_shape: Sequence[int], num_classes: int, ignored: bool = False) -> Tensor:
    """Rasterise the boxes of a batch to region masks.

    Args:
        box_tensor: ``(B, N_max, 2*D + 1)``; corners are snapped outward and clipped to the image.
        spatial_shape: ``D`` sizes in voxels.
        num_classes: number of output channels ``C``.
        ignored: whether ignored regions are filled too.

    Returns:
        ``(B, C, *spatial_shape)`` bool on the box tensor's device.

    Raises:
        ValueError: when the number of columns does not fit the number of spatial axes or a class is out of range.

    Example:
        >>> boxes_to_mask(torch.tensor([[[0., 1, 1, 3, 0]]]), (2, 3), 1).int()[0, 0]
        tensor([[0, 1, 1],
                [0, 0, 0]], dtype=torch.int32)
    """
    dims = len(spatial_shape)
    if box_tensor.ndim != 3 or box_tensor.shape[-1] != 2 * dims + 1:
        raise ValueError(f"box_tensor must have the shape (B, N, {2 * dims + 1}), got {tuple(box_tensor.shape)}.")
    mask = torch.zeros(len(box_tensor), num_classes, *spatial_shape, dtype=torch.bool, device=box_tensor.device)
    for image, rows in enumerate(box_tensor.cpu()):
        boxes, classes, skipped = unpack_boxes(rows)
        if len(classes) and int(classes.max()) >= num_classes:
            raise ValueError(f"box_tensor holds class {int(classes.max())}, expected 0..{num_classes - 1}.")
        boxes, _ = clip_boxes(snap_boxes(boxes), spatial_shape)
        for box, channel, skip in zip(boxes.long().tolist(), classes.tolist(), skipped.tolist()):
            if ignored or not skip:
                region = (image, channel, *(slice(a, b) for a, b in zip(box[:dims], box[dims:])))
                mask[region] = True
    return mask
