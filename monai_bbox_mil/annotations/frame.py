# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
"""Describe where an image's voxels are, now and in its file, so that boxes can be placed in it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from os import PathLike
from typing import Any

import monai.transforms
import numpy as np
import torch
from monai.data import MetaTensor
from monai.data.utils import to_affine_nd
from monai.utils import ImageMetaKey, MetaKeys, TraceKeys
from torch import Tensor

from monai_bbox_mil.annotations.geometry import edge_affine

__all__ = [
    "OTHER_AFFINE",
    "WORLD_IS_AMBIGUOUS",
    "ImageFrame",
    "check_can_be_followed",
    "check_has_world",
    "image_frame",
    "moves_images",
]

WORLD_IS_AMBIGUOUS = "world_is_ambiguous"
"""Metadata key: why programs disagree on where the file's voxels are; absent where they agree."""

OTHER_AFFINE = "other_affine"
"""Metadata key beside :data:`WORLD_IS_AMBIGUOUS`: the ``(4, 4)`` affine in mm that other programs use."""


@dataclass(frozen=True)
class ImageFrame:
    """An image's geometry, now and in its file. A 2D image is treated as a volume of one slice.

    Attributes:
        path: file of the image; ``None`` when unknown.
        dims: number of spatial axes of the image itself, 2 or 3.
        shape: three sizes in voxels, as the image is now.
        affine: ``(4, 4)`` float64, voxel centres as they are now to RAS mm.
        original_shape: three sizes in voxels, as in the file; ``None`` when unknown.
        original_affine: like ``affine``, for the file's voxels; ``None`` when unknown.
        has_depth: whether the position across the slice is known; it is not for a 2D slice taken out of a volume.
        operations: names of the traced transforms that the image went through.
        has_origin: whether the affine is real; false where it may be the identity that MONAI gives plain tensors.
        ambiguity: why programs disagree on where the file's voxels are; empty where they agree.
    """

    path: str | None
    dims: int
    shape: tuple[int, ...]
    affine: Tensor
    original_shape: tuple[int, ...] | None
    original_affine: Tensor | None
    has_depth: bool
    operations: tuple[str, ...]
    has_origin: bool
    ambiguity: str = ""

    @property
    def name(self) -> str:
        """Return the image's name for messages."""
        return self.path if self.path is not None else "the image (without filename_or_obj)"

    @property
    def is_flat(self) -> bool:
        """Return whether there is only one slice, in the file or now, so that boxes may omit the last axis."""
        return self.shape[2] == 1 or (self.original_shape is not None and self.original_shape[2] == 1)

    @property
    def plane_mm(self) -> tuple[float, float] | None:
        """Return the world z range of a flat image, mm; ``None`` when its plane is not perpendicular to z."""
        row = edge_affine(self.affine)[2]
        low, high = sorted((float(row[3]), float(row[3] + row[2])))
        return (low, high) if bool((row[:2].abs() < 1e-6 * row[2].abs()).all()) else None


def image_frame(image: Tensor) -> ImageFrame:
    """Collect what is needed to place boxes in a MONAI image.

    Pending (lazy) transforms are treated as applied, because code that uses the boxes sees the image after them.

    Args:
        image: channel-first ``(C, H, W)`` or ``(C, H, W, Z)``.

    Raises:
        TypeError: when ``image`` is not a ``MetaTensor``.
        ValueError: when it does not have 2 or 3 spatial axes, or its affine cannot be inverted.

    Example:
        >>> image_frame(MetaTensor(torch.zeros(1, 8, 9))).shape
        (8, 9, 1)
    """
    if not isinstance(image, MetaTensor):
        raise TypeError(f"image must be a channel-first monai.data.MetaTensor, got {type(image).__name__}.")
    dims = image.ndim - 1
    if dims not in (2, 3):
        raise ValueError(f"image must be channel-first with 2 or 3 spatial axes, got the shape {tuple(image.shape)}.")
    current = torch.as_tensor(image.peek_pending_affine(), dtype=torch.float64).cpu()
    if current.ndim != 2 or not torch.isfinite(current).all() or torch.linalg.det(current) == 0:
        raise ValueError(f"image.affine must be one invertible matrix, got {current.tolist()}.")
    shape = tuple(int(size) for size in image.peek_pending_shape())
    operations = tuple(
        str(op.get(TraceKeys.CLASS_NAME)) for op in (*image.applied_operations, *image.pending_operations)
    )
    loaded_shape = [int(size) for size in np.ravel(image.meta.get(MetaKeys.SPATIAL_SHAPE, ()))]
    original = _original_affine(image.meta, current, operations)
    if original is not None and len(current) == 3:
        # SqueezeDim reduces the affine but not the original one: both must describe the same two axes.
        original = to_affine_nd(2, original)
    return ImageFrame(
        path=_file_of(image.meta),
        dims=dims,
        shape=(*shape, 1)[:3],
        affine=to_affine_nd(3, current),
        original_shape=_original_shape(image.meta, dims, shape, loaded_shape, operations),
        original_affine=None if original is None else to_affine_nd(3, original),
        has_depth=dims == 3 or (len(current) == 4 and (*loaded_shape, 1, 1, 1)[2] == 1),
        operations=operations,
        has_origin=bool({ImageMetaKey.FILENAME_OR_OBJ, MetaKeys.ORIGINAL_AFFINE} & image.meta.keys())
        or not (operations or torch.equal(current, torch.eye(len(current), dtype=current.dtype))),
        ambiguity=str(image.meta.get(WORLD_IS_AMBIGUOUS, "")),
    )


def check_can_be_followed(frame: ImageFrame) -> None:
    """Raise if an image moved without its affine, so that boxes of its file cannot be placed in it.

    A move that leaves no trace is noticed if it exchanges axes or changes sizes. An axis of one voxel may be a slice.

    Args:
        frame: of the image.

    Raises:
        ValueError: naming the transform or both shapes, and what to use instead.

    Example:
        >>> from monai.transforms import Transposed
        >>> image = Transposed("image", (0, 2, 1))({"image": MetaTensor(torch.zeros(1, 8, 9))})["image"]
        >>> check_can_be_followed(image_frame(image))  # doctest: +ELLIPSIS
        Traceback (most recent call last):
        ValueError: the image (without filename_or_obj): boxes cannot follow an image through Transposed, ...
    """
    instead = "Use transforms that keep the affine (Orientationd, Rotate90d, Flipd, Resized, SpatialCropd, ...)"
    if "Transposed" in frame.operations:
        raise ValueError(
            f"{frame.name}: boxes cannot follow an image through Transposed, which moves voxels but not the affine. "
            f"{instead}, or load the boxes before it."
        )
    if frame.original_shape is None or frame.original_affine is None or any(map(moves_images, frame.operations)):
        return
    untouched = torch.allclose(frame.affine, frame.original_affine, rtol=0, atol=1e-6)
    if untouched and any(now not in (1, then) for now, then in zip(frame.shape, frame.original_shape, strict=True)):
        raise ValueError(
            f"{frame.name}: boxes cannot be placed in an image of {frame.shape[: frame.dims]} voxels whose file has "
            f"{frame.original_shape[: frame.dims]}, while its affine is still that of the file: a transform changed it "
            f"and left no trace. {instead}, or load the boxes before it."
        )


def moves_images(operation: str) -> bool:
    """Return whether a traced transform may move voxels: all but those of MONAI's that are known not to.

    Example:
        >>> moves_images("RandFlip"), moves_images("Lambda")
        (True, False)
    """
    module = getattr(getattr(monai.transforms, operation, None), "__module__", "")
    return not module.startswith(("monai.transforms.utility", "monai.transforms.intensity"))


def check_has_world(frame: ImageFrame, name: str, from_file: bool) -> None:
    """Raise if boxes in mm cannot be placed in an image.

    Args:
        frame: of the image.
        name: of the annotation, for messages.
        from_file: whether the boxes come from a file. Inline boxes of an image that was made in memory and never moved
            may use its identity affine.

    Raises:
        ValueError: when the image's affine was lost, or when programs disagree on where its voxels are.

    Example:
        >>> frame = image_frame(MetaTensor(torch.zeros(1, 8, 9), meta={WORLD_IS_AMBIGUOUS: "its forms differ."}))
        >>> check_has_world(frame, "a.mrk.json", from_file=False)
        Traceback (most recent call last):
        ValueError: a.mrk.json: cannot place boxes in mm in the image (without filename_or_obj): its forms differ.
    """
    if frame.ambiguity:
        raise ValueError(f"{name}: cannot place boxes in mm in {frame.name}: {frame.ambiguity}")
    if not frame.has_origin and (frame.operations or from_file):
        raise ValueError(
            f"{name}: world boxes need the image's affine, which {frame.name} does not have: it was made in memory or "
            "has lost its meta data, as after track_meta=False. Keep them, or give image.meta['original_affine']."
        )


def _file_of(meta: Mapping[Any, Any]) -> str | None:
    """Return the image's file; for a stack of files the first, as MONAI's ``LoadImage`` does."""
    path = meta.get(ImageMetaKey.FILENAME_OR_OBJ)
    if isinstance(path, (list, tuple)) and path:
        path = path[0]
    return str(path) if isinstance(path, (str, PathLike)) and str(path) else None


def _original_affine(meta: Mapping[Any, Any], current: Tensor, operations: tuple[str, ...]) -> Tensor | None:
    """Return the file's affine as loaded; ``None`` when it was lost."""
    # ResampleToMatch replaces all metadata, including the original affine, with the target image's.
    if "ResampleToMatch" in operations:
        return None
    original = meta.get(MetaKeys.ORIGINAL_AFFINE)
    if original is not None:
        return torch.as_tensor(original, dtype=torch.float64).cpu()
    if not operations:
        return current
    # MONAI's readers without an affine (PIL, NumPy) give the identity; an image made in memory may have any.
    return torch.eye(4, dtype=torch.float64) if _file_of(meta) is not None else None


def _original_shape(
    meta: Mapping[Any, Any], dims: int, shape: tuple[int, ...], loaded: list[int], operations: tuple[str, ...]
) -> tuple[int, ...] | None:
    """Return three sizes in voxels of the file as loaded; ``None`` when they are unknown."""
    while len(loaded) > dims and loaded[-1] == 1:
        loaded = loaded[:-1]
    # Three shapes are not those of the file: the target's after ResampleToMatch; the reoriented one that
    # NibabelReader's as_closest_canonical stores beside the file's own affine; one in which NumpyReader included the
    # channels.
    trusted = "ResampleToMatch" not in operations and not meta.get("as_closest_canonical", False)
    if trusted and len(loaded) in (2, dims):
        return (*loaded, 1)[:3]
    return None if operations else (*shape, 1)[:3]
