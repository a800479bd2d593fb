# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
"""The image that boxes were made for, carried with them, so that boxes of another image are refused.

A box tensor is a ``MetaTensor`` whose ``meta["box_frame"]`` holds a packed
:class:`~monai_bbox_mil.boxes.BoxFrame`: how the image lay when the boxes were made, and where they were. Boxes on
their own have it beside them in the dictionary, under ``box_frame``. Whoever uses boxes with an image compares.

An image that moved is no error by itself: its affine says where each box must have gone, so boxes that went there (by
MONAI's detection transforms or any other code) are accepted.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import monai.transforms
import numpy as np
import torch
from monai.data import MetaObj, MetaTensor, get_track_meta
from monai.data.utils import to_affine_nd
from monai.utils import ImageMetaKey, TraceKeys
from torch import Tensor

from monai_bbox_mil.annotations.frame import image_frame, moves_images
from monai_bbox_mil.boxes import BOX_FRAME, PADDING, BoxFrame

__all__ = ["box_frame", "check_box_frame", "check_same_place", "spatial_shape", "with_box_frame"]

# Voxels by which boxes that nobody moved may differ from where the image's affine says they are: rounding.
_ROUNDING = 0.01
# Voxels, and share of the box's side, by which boxes that somebody moved may differ: they may have been jittered too.
_JITTER = (2.0, 0.5)


class _Place(NamedTuple):
    """How an image lies: three sizes in voxels, ``(4, 4)`` voxels to world (``None`` when lost), names of its trace."""

    shape: tuple[int, ...]
    affine: np.ndarray | None
    operations: list[str]


def spatial_shape(image: Any) -> tuple[int, ...]:
    """Spatial shape of a channel-first image, as it is once transforms that MONAI holds back (lazy) are done.

    Example:
        >>> spatial_shape(torch.zeros(1, 8, 9))
        (8, 9)
    """
    if isinstance(image, MetaTensor):
        return _sizes(image)
    return tuple(image.shape[1:])


def box_frame(boxes: Tensor, image: Any) -> bytes:
    """Pack which image boxes were made for.

    Args:
        boxes: ``(N, 2*D)`` boxes or ``(N, 2*D + 1)`` box tensor in voxels of ``image``.
        image: channel-first ``(C, *spatial)``. One without meta data counts as if it had the identity as affine, as
            MONAI's transforms do.

    Returns:
        a packed :class:`~monai_bbox_mil.boxes.BoxFrame`.

    Example:
        >>> BoxFrame.unpack(box_frame(torch.tensor([[1.0, 2, 5, 6, 0]]), torch.zeros(1, 8, 9))).shape
        (8, 9)
    """
    place, dims = _place(image), boxes.shape[-1] // 2
    affine = np.eye(4) if place.affine is None else place.affine
    rows = _plain(boxes).detach().cpu().numpy()
    return BoxFrame(place.shape[:dims], affine, len(place.operations), rows[:, : 2 * dims]).pack()


def with_box_frame(boxes: Tensor, image: Any) -> Tensor:
    """A box tensor that carries its :func:`box_frame`; a plain one where MONAI does not track meta data.

    Args:
        boxes: ``(N, 2*D + 1)`` box tensor in voxels of ``image``.
        image: channel-first ``(C, *spatial)``.

    Example:
        >>> with_box_frame(torch.tensor([[1.0, 2, 5, 6, 0]]), torch.zeros(1, 8, 9)).tolist()
        [[1.0, 2.0, 5.0, 6.0, 0.0]]
    """
    rows = _plain(boxes)
    if not get_track_meta():
        return rows
    framed = rows.as_subclass(MetaTensor)
    MetaObj.__init__(framed)  # not MetaTensor's: what it finds out about images takes twenty times as long
    framed.meta = {BOX_FRAME: box_frame(rows, image)}
    return framed


def check_box_frame(
    boxes: Any, image: Any, name: str, image_name: str = "image", packed_frame: bytes | None = None
) -> Tensor:
    """Raise if an image moved since boxes were made for it, and the boxes did not move with it.

    Args:
        boxes: ``(N, 2*D)`` boxes or ``(N, 2*D + 1)`` box tensor.
        image: channel-first ``(C, *spatial)``. Of one that lost its affine, only the shape is compared.
        name: key of the boxes, for messages.
        image_name: key of the image, for messages.
        packed_frame: the :func:`box_frame` of the boxes; by default the one that they carry. Without any, nothing is
            known and nothing checked.

    Returns:
        the boxes as a plain tensor.

    Raises:
        ValueError: naming both, the shapes, the transforms in between and what to do.

    Example:
        >>> from monai.transforms import Flip
        >>> image = MetaTensor(torch.zeros(1, 8, 9))
        >>> boxes = with_box_frame(torch.tensor([[1.0, 2, 5, 6, 0]]), image)
        >>> check_box_frame(boxes, image, "label")
        tensor([[1., 2., 5., 6., 0.]])
        >>> check_box_frame(boxes, Flip(0)(image), "label")  # doctest: +ELLIPSIS
        Traceback (most recent call last):
        ValueError: label: the boxes were made for image of (8, 9) voxels and did not follow it through Flip. ...
    """
    rows = _plain(boxes)
    if isinstance(boxes, MetaTensor):
        packed_frame = boxes.meta.get(BOX_FRAME) if packed_frame is None else packed_frame
        _check_not_an_image(boxes, name)
    if packed_frame is None or not torch.is_tensor(image):
        return rows
    place, frame = _place(image), BoxFrame.unpack(packed_frame)
    later = place.operations[frame.operations :]
    resized = place.shape != (*frame.shape, 1)[:3]
    turned = place.affine is not None and np.abs(place.affine - frame.affine).max() > 1e-6
    untold = "Transposed" in later  # the one traced move of which the affine knows nothing
    if not (resized or turned or untold):
        return rows
    dims = len(frame.shape)
    now = rows.detach().cpu().numpy()
    if rows.shape[-1] % 2:
        now = now[now[:, -1] != PADDING]
    moved = None if untold or place.affine is None else _moved(frame, place.affine, place.shape)
    if _followed(now[:, : 2 * dims].astype(np.float64), frame.boxes, moved):
        return rows
    path = getattr(image, "meta", {}).get(ImageMetaKey.FILENAME_OR_OBJ)
    which = image_name if path is None else f"{image_name} ({path})"
    way = ", ".join(later) or "a transform that left no trace"
    sizes = f", now {place.shape[: image.ndim - 1]} voxels," if resized else ""
    raise ValueError(
        f"{name}: the boxes were made for {which} of {frame.shape} voxels{sizes} and did not follow it through {way}. "
        "Make the boxes after all transforms that move the image (put MaskToBoxTensord or LoadBoxesd and PackBoxesd "
        "behind them, with the mask among their keys), or move image and boxes together: UnpackBoxesd, MONAI's "
        "detection transforms (RandFlipBoxd, RandRotateBox90d, ...), PackBoxesd."
    )


def check_same_place(mask: Any, image: Any, mask_name: str, image_name: str) -> None:
    """Raise if one of a mask and an image was moved since they were loaded, and the other was not.

    What counts is how each moved from its own file, so that a mask whose file has another or no affine is accepted.

    Raises:
        ValueError: naming both and what each went through.
    """
    if not (isinstance(mask, MetaTensor) and isinstance(image, MetaTensor)):
        return
    places = _place(mask), _place(image)
    affines = [place.affine for place in places if place.affine is not None and np.linalg.det(place.affine) != 0]
    if len(affines) < 2 or places[0].shape != places[1].shape or places[0].operations == places[1].operations:
        return
    if _offset(affines[0], affines[1], places[0].shape) <= 0.5:
        return
    frames = image_frame(mask), image_frame(image)
    own = [frame.original_affine.numpy() for frame in frames if frame.original_affine is not None]
    if len(own) < 2:
        if any(frame.path is not None for frame in frames):
            return
    else:
        ways = [np.linalg.solve(file, now) for file, now in zip(own, affines, strict=True)]
        if _offset(ways[0], ways[1], places[0].shape) <= 0.5:
            return
    went = [", ".join(place.operations) or "no transform" for place in places]
    raise ValueError(
        f"{mask_name} and {image_name} must lie on each other where boxes are cut from {mask_name}, got {mask_name} "
        f"after {went[0]} and {image_name} after {went[1]}. Give both keys to each transform that moves an image."
    )


def _plain(boxes: Any) -> Tensor:
    return boxes.as_tensor() if isinstance(boxes, MetaTensor) else torch.as_tensor(boxes)


def _place(image: Any) -> _Place:
    if not isinstance(image, MetaTensor):
        return _Place((*image.shape[1:], 1)[:3], None, [])
    pending = image.pending_operations
    affine = image.peek_pending_affine() if pending else image.affine
    operations = [str(op.get(TraceKeys.CLASS_NAME)) for op in (*image.applied_operations, *pending)]
    matrix = np.asarray(torch.as_tensor(affine).cpu(), dtype=np.float64)
    matrix = matrix if matrix.shape == (4, 4) else to_affine_nd(3, matrix)
    return _Place((*_sizes(image), 1)[:3], matrix, operations)


def _sizes(image: MetaTensor) -> tuple[int, ...]:
    if image.pending_operations:
        return tuple(int(size) for size in image.peek_pending_shape())
    with torch._C.DisableTorchFunctionSubclass():  # MetaTensor's own way to its shape takes forty times as long
        return tuple(image.shape[1:])


def _moved(frame: BoxFrame, affine: np.ndarray, shape: tuple[int, ...]) -> np.ndarray | None:
    """Where boxes ``(N, 2*D)`` lie by the image's affine now, cut to it; ``None`` when that cannot be known."""
    try:
        way = np.linalg.solve(affine, frame.affine)
    except np.linalg.LinAlgError:
        return None
    dims = len(frame.shape)
    low, high = np.zeros((len(frame.boxes), 3)), np.ones((len(frame.boxes), 3))
    low[:, :dims], high[:, :dims] = frame.boxes[:, :dims], frame.boxes[:, dims:]
    # Interval arithmetic gives the box around the moved corners, which lie half a voxel off the centres of affines.
    centre = ((low + high) / 2 - 0.5) @ way[:3, :3].T + (way[:3, 3] + 0.5)
    half = (high - low) / 2 @ np.abs(way[:3, :3]).T
    found = np.empty((len(frame.boxes), 2 * dims))
    found[:, :dims], found[:, dims:] = (centre - half)[:, :dims], (centre + half)[:, :dims]
    return np.minimum(np.maximum(found, 0), shape[:dims] * 2)


def _followed(now: np.ndarray, then: np.ndarray, moved: np.ndarray | None) -> bool:
    """Whether boxes ``(N, 2*D)`` are where those of before must have gone; of ``moved`` unknown: whether they moved."""
    if len(now) == 0:
        return True
    same = (now[:, None] == then[None]).all(axis=2)
    unmoved = bool(same.any(axis=1).all())
    if moved is None:
        return not unmoved
    off = np.abs(now[:, None] - moved[None])
    if unmoved:
        return bool((same & (off <= _ROUNDING).all(axis=2)).any(axis=1).all())
    dims = now.shape[1] // 2
    allowed = _JITTER[0] + _JITTER[1] * np.tile(moved[:, dims:] - moved[:, :dims], 2)
    return bool((off <= allowed[None]).all(axis=2).any(axis=1).all())


def _check_not_an_image(boxes: MetaTensor, name: str) -> None:
    """Refuse boxes that went through a transform of images, which takes their columns for voxels."""
    traced = [str(op.get(TraceKeys.CLASS_NAME)) for op in boxes.applied_operations]
    wrong = [each for each in traced if hasattr(monai.transforms, each) and moves_images(each)]
    if wrong:
        raise ValueError(
            f"{name}: boxes must not go through transforms of images, got {', '.join(wrong)}, which took their columns "
            f"for voxels. Leave {name!r} out of its keys, and make the boxes after it (MaskToBoxTensord, LoadBoxesd)."
        )


def _offset(first: np.ndarray, second: np.ndarray, shape: tuple[int, ...]) -> float:
    """Voxels by which a corner of an image lies off the same one by another affine, at most."""
    corners = np.array(np.meshgrid(*((0, size - 1) for size in shape), [1], indexing="ij")).reshape(4, -1)
    return float(np.abs(np.linalg.solve(second, first) @ corners - corners).max())
