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

from collections.abc import Callable, Mapping, Sequence
from functools import reduce
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

__all__ = [
    "BOX_FRAME",
    "PADDING",
    "BoxBatch",
    "BoxFrame",
    "batch_box_tensors",
    "box_codes",
    "boxes_to_mask",
    "check_box_tensor",
    "check_exact_corners",
    "clip_boxes",
    "exact_limit",
    "pack_boxes",
    "slice_box_tensor",
    "snap_boxes",
    "split_codes",
    "unpack_boxes",
]

PADDING = -1

BOX_FRAME = "box_frame"
"""Key of a MONAI tensor's meta data, under which a box tensor says which image it was made for."""

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

    Along that axis boxes are snapped outward to whole slices, as everywhere else; the other corners stay as they are.

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
    ends = snap_boxes(box_tensor[:, [dim, 3 + dim]])
    rows = box_tensor[(ends[:, 0] <= index) & (index < ends[:, 1])]
    return rows[:, [i for i in range(7) if i not in (dim, 3 + dim)]]


def batch_box_tensors(box_tensors: Sequence[Tensor]) -> Tensor:
    """Stack box tensors of several images, padded to the largest; no box is dropped.

    Args:
        box_tensors: one ``(N_i, 2*D + 1)`` tensor an image.

    Returns:
        ``(B, max N_i, 2*D + 1)`` of the type that holds the numbers of all; at least one row, so that a batch without
        boxes keeps its shape.

    Example:
        >>> batch_box_tensors([torch.tensor([[1., 2, 5, 6, 0]]), torch.empty(0, 5)])[1]
        tensor([[ 0.,  0.,  0.,  0., -1.]])
    """
    columns = {t.shape[-1] for t in box_tensors}
    if len(columns) != 1 or not columns <= {5, 7}:
        raise ValueError(f"box tensors of one batch must all have 5 or all have 7 columns, got {sorted(columns)}.")
    rows = max(1, max(len(t) for t in box_tensors))
    dtype = reduce(torch.promote_types, (t.dtype for t in box_tensors))
    batch = box_tensors[0].new_zeros(len(box_tensors), rows, columns.pop(), dtype=dtype)
    batch[..., -1] = PADDING
    for filled, box_tensor in zip(batch, box_tensors):
        filled[: len(box_tensor)] = box_tensor
    return batch


def exact_limit(dtype: torch.dtype) -> int:
    """Largest whole number up to which a type holds every one.

    Example:
        >>> exact_limit(torch.float32), exact_limit(torch.bfloat16), exact_limit(torch.uint8)
        (16777216, 256, 255)
    """
    return round(2 / torch.finfo(dtype).eps) if dtype.is_floating_point else torch.iinfo(dtype).max


def check_exact_corners(box_tensor: Tensor, spatial_shape: Sequence[int], name: str = "target") -> None:
    """Raise ``ValueError`` if a box tensor's type cannot hold every corner of an image of this size.

    ``bfloat16`` rounds whole numbers above 256 and ``float16`` those above 2048, so that boxes move before anyone sees
    them; what became of them cannot be told from their numbers.

    Args:
        box_tensor: any number of boxes.
        spatial_shape: ``D`` sizes in voxels.
        name: the argument's name in the message.

    Example:
        >>> check_exact_corners(torch.zeros(1, 5, dtype=torch.bfloat16), (256, 256))
        >>> check_exact_corners(torch.zeros(1, 5, dtype=torch.bfloat16), (512, 512))
        Traceback (most recent call last):
        ValueError: target must hold boxes in float32, got torch.bfloat16, which rounds whole numbers above 256 for an \
image of size (512, 512). Keep boxes out of casts to half precision.
    """
    dtype = box_tensor.dtype
    exact = exact_limit(dtype)
    if max(spatial_shape, default=0) > exact:
        does, cast = ("rounds", "half precision") if dtype.is_floating_point else ("has no", dtype)
        raise ValueError(
            f"{name} must hold boxes in float32, got {dtype}, which {does} whole numbers above {exact} for an image of "
            f"size {tuple(spatial_shape)}. Keep boxes out of casts to {cast}."
        )


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


def check_box_tensor(box_tensor: Tensor, spatial_shape: Sequence[int], num_classes: int, name: str = "target") -> None:
    """Raise ``ValueError`` with the offending row if a batch's box tensor does not fit the network's output.

    Args:
        box_tensor: ``(B, N_max, 2*D + 1)``, already snapped to whole voxels.
        spatial_shape: ``D`` sizes in voxels.
        num_classes: number of output channels.
        name: the argument's name in the message.
    """
    check_exact_corners(box_tensor, spatial_shape, name)
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
        ValueError: when the number of columns does not fit the number of spatial axes, a class is out of range, or the
            box tensor's type cannot hold the corners (:func:`check_exact_corners`).

    Example:
        >>> boxes_to_mask(torch.tensor([[[0., 1, 1, 3, 0]]]), (2, 3), 1).int()[0, 0]
        tensor([[0, 1, 1],
                [0, 0, 0]], dtype=torch.int32)
    """
    dims = len(spatial_shape)
    if box_tensor.ndim != 3 or box_tensor.shape[-1] != 2 * dims + 1:
        raise ValueError(f"box_tensor must have the shape (B, N, {2 * dims + 1}), got {tuple(box_tensor.shape)}.")
    check_exact_corners(box_tensor, spatial_shape, "box_tensor")
    mask = torch.zeros(len(box_tensor), num_classes, *spatial_shape, dtype=torch.bool, device=box_tensor.device)
    for image, rows in enumerate(box_tensor.float().cpu()):
        boxes, classes, skipped = unpack_boxes(rows)
        if len(classes) and int(classes.max()) >= num_classes:
            raise ValueError(f"box_tensor holds class {int(classes.max())}, expected 0..{num_classes - 1}.")
        boxes, _ = clip_boxes(snap_boxes(boxes), spatial_shape)
        for box, channel, skip in zip(boxes.long().tolist(), classes.tolist(), skipped.tolist()):
            if ignored or not skip:
                region = (image, channel, *(slice(a, b) for a, b in zip(box[:dims], box[dims:])))
                mask[region] = True
    return mask
