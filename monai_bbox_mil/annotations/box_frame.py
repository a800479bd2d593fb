# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
"""Record with boxes which image they were made for, and refuse them for any other image.

A box tensor is a ``MetaTensor`` whose ``meta["box_frame"]`` is a packed :class:`~monai_bbox_mil.boxes.BoxFrame`: the
geometry of the image when the boxes were made, and the coordinates of the boxes. Unpacked boxes have it beside
them in the dictionary, under ``box_frame``. All code that uses boxes with an image compares the two.

It is no error that an image moved: its affine says where each box must have gone. Boxes that went there are accepted,
whether MONAI's detection transforms or any other code moved them.
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

# Rounding: how many voxels unmoved boxes may differ from the place that the image's affine gives.
_ROUNDING = 0.01
# For moved boxes, in voxels and as a share of the box's side: they may have been jittered on purpose.
_JITTER = (2.0, 0.5)


class _Place(NamedTuple):
    """An image's geometry: three sizes in voxels, affine ``(4, 4)`` to the world or ``None``, its traced transforms."""

    shape: tuple[int, ...]
    affine: np.ndarray | None
    operations: list[str]


def spatial_shape(image: Any) -> tuple[int, ...]:
    """Return the spatial shape that a channel-first image has after MONAI's pending (lazy) transforms.

    Example:
        >>> spatial_shape(torch.zeros(1, 8, 9))
        (8, 9)
    """
    if isinstance(image, MetaTensor):
        return _sizes(image)
    return tuple(image.shape[1:])


def box_frame(boxes: Tensor, image: Any) -> bytes:
    """Pack which image the boxes were made for.

    Args:
        boxes: ``(N, 2*D)`` boxes or ``(N, 2*D + 1)`` box tensor in voxels of ``image``.
        image: channel-first ``(C, *spatial)``. One without metadata has the identity as its affine, as in MONAI's
            transforms.

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
    """Return a box tensor with its :func:`box_frame`, or a plain tensor where MONAI does not track metadata.

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
    MetaObj.__init__(framed)  # MetaTensor's own __init__ also inspects the data, which takes twenty times as long
    framed.meta = {BOX_FRAME: box_frame(rows, image)}
    return framed


def check_box_frame(
    boxes: Any, image: Any, name: str, image_name: str = "image", packed_frame: bytes | None = None
) -> Tensor:
    """Raise if an image moved since boxes were made for it and the boxes did not move with it.

    Args:
        boxes: ``(N, 2*D)`` boxes or ``(N, 2*D + 1)`` box tensor.
        image: channel-first ``(C, *spatial)``. If it lost its affine, only its shape is compared.
        name: key of the boxes, for messages.
        image_name: key of the image, for messages.
        packed_frame: the :func:`box_frame` of the boxes; by default the one in their metadata. Without one, nothing
            is checked.

    Returns:
        the boxes as a plain tensor.

    Raises:
        ValueError: naming the boxes, the image, both shapes, the transforms in between and the remedy.

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
    untracked = "Transposed" in later  # the one traced transform that does not update the affine
    if not (resized or turned or untracked):
        return rows
    dims = len(frame.shape)
    now = rows.detach().cpu().numpy()
    if rows.shape[-1] % 2:
        now = now[now[:, -1] != PADDING]
    moved = None if untracked or place.affine is None else _moved(frame, place.affine, place.shape)
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
    """Raise if a mask or its image was moved after loading and the other was not.

    Each is compared with its own file, so a mask whose file has a different affine, or none, is accepted.

    Raises:
        ValueError: naming both and the transforms that each went through.
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
        f"{mask_name} and {image_name} must be aligned where boxes are cut from {mask_name}, got {mask_name} "
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
    with torch._C.DisableTorchFunctionSubclass():  # MetaTensor's own shape lookup takes forty times as long
        return tuple(image.shape[1:])


def _moved(frame: BoxFrame, affine: np.ndarray, shape: tuple[int, ...]) -> np.ndarray | None:
    """Return where the image's affine puts boxes ``(N, 2*D)`` now, clipped; ``None`` when that is unknown."""
    try:
        way = np.linalg.solve(affine, frame.affine)
    except np.linalg.LinAlgError:
        return None
    dims = len(frame.shape)
    low, high = np.zeros((len(frame.boxes), 3)), np.ones((len(frame.boxes), 3))
    low[:, :dims], high[:, :dims] = frame.boxes[:, :dims], frame.boxes[:, dims:]
    # Interval arithmetic gives the box around the moved corners. Affines map voxel centres, half a voxel off corners.
    centre = ((low + high) / 2 - 0.5) @ way[:3, :3].T + (way[:3, 3] + 0.5)
    half = (high - low) / 2 @ np.abs(way[:3, :3]).T
    found = np.empty((len(frame.boxes), 2 * dims))
    found[:, :dims], found[:, dims:] = (centre - half)[:, :dims], (centre + half)[:, :dims]
    return np.minimum(np.maximum(found, 0), shape[:dims] * 2)


def _followed(now: np.ndarray, then: np.ndarray, moved: np.ndarray | None) -> bool:
    """Return whether boxes moved to ``moved``; where ``moved`` is unknown, whether they moved at all."""
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
    """Refuse boxes that went through an image transform, which treats their columns as voxels."""
    traced = [str(op.get(TraceKeys.CLASS_NAME)) for op in boxes.applied_operations]
    wrong = [each for each in traced if hasattr(monai.transforms, each) and moves_images(each)]
    if wrong:
        raise ValueError(
            f"{name}: boxes must not go through image transforms, got {', '.join(wrong)}, which treated their columns "
            f"as voxels. Remove {name!r} from its keys, and make the boxes after it (MaskToBoxTensord, LoadBoxesd)."
        )


def _offset(first: np.ndarray, second: np.ndarray, shape: tuple[int, ...]) -> float:
    """Return the largest distance, in voxels, between an image's corners under two affines."""
    corners = np.array(np.meshgrid(*((0, size - 1) for size in shape), [1], indexing="ij")).reshape(4, -1)
    return float(np.abs(np.linalg.solve(second, first) @ corners - corners).max())
