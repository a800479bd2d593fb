# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
"""Array transforms between masks, boxes and box tensors."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from monai.config.type_definitions import NdarrayOrTensor
from monai.transforms.transform import Transform
from monai.utils import convert_to_tensor
from scipy import ndimage
from torch import Tensor

from monai_bbox_mil.annotations import read_boxes
from monai_bbox_mil.boxes import (
    boxes_to_mask,
    check_exact_corners,
    clip_boxes,
    pack_boxes,
    snap_boxes,
    split_codes,
    unpack_boxes,
)

__all__ = ["BoxTensorToMask", "LoadBoxes", "MaskToBoxTensor", "PackBoxes", "UnpackBoxes"]


class MaskToBoxTensor(Transform):
    """Tight boxes of a mask: one for each connected component and class.

    Args:
        label_values: values of a label map (one channel) that become the classes 0, 1, ... in this order; other values
            are background. ``None`` takes a one-channel mask as binary and refuses values other than 0 and 1. A mask
            of several channels is one-hot, one class per channel, and needs none.
        connectivity: how far apart neighbours of one component may be, in axis steps: 1 (4 neighbours in 2D, 6 in 3D)
            up to the number of axes. At 1 every crossing line of a tight box surely meets its object. At 0 each voxel
            is a component with a box of its own: then nothing is left open, and a loss from boxes is one from masks.
        margin: voxels by which boxes are loosened on each side, one number or one per axis; clipped to the image.
            Losses round fractions outward.
        margin_seed: ``None`` loosens every side by the whole ``margin``; with a number each side of each box is
            loosened by its own draw from 0 to ``margin``, always the same one for the same box and seed, as if an
            annotator had drawn it loosely once.
        min_size: components of fewer voxels become *ignored* regions, neither positive nor negative.
        slice_dim: spatial axis along which a volume is cut into slices whose components are boxed one by one, each box
            one voxel thick there; ``None`` makes true 3D boxes.

    Raises:
        ValueError: for a mask of the wrong shape, with NaN, or with values that are neither 0, 1 nor listed.

    Example:
        >>> mask = torch.zeros(1, 8, 8)
        >>> mask[0, 2:5, 3:7] = 1
        >>> MaskToBoxTensor()(mask)
        tensor([[2., 3., 5., 7., 0.]])
        >>> MaskToBoxTensor(margin=1)(mask)
        tensor([[1., 2., 6., 8., 0.]])
    """

    def __init__(
        self,
        label_values: Sequence[int] | None = None,
        connectivity: int = 1,
        margin: float | Sequence[float] = 0,
        min_size: int = 0,
        slice_dim: int | None = None,
        margin_seed: int | None = None,
    ) -> None:
        if connectivity < 0:
            raise ValueError(f"connectivity must be at least 0, got {connectivity}.")
        if min_size < 0:
            raise ValueError(f"min_size must be at least 0 voxels, got {min_size}.")
        if min_size > 1 and connectivity == 0:
            raise ValueError(f"min_size must be 0 with connectivity 0, which boxes each voxel, got {min_size}.")
        if np.min(margin) < 0:
            raise ValueError(f"margin must be at least 0 voxels, got {margin}.")
        self.label_values = None if label_values is None else tuple(label_values)
        self.connectivity = connectivity
        self.margin = margin
        self.min_size = min_size
        self.slice_dim = slice_dim
        self.margin_seed = margin_seed

    def __call__(self, mask: NdarrayOrTensor) -> Tensor:
        """Make the box tensor ``(N, 2*D + 1)`` of a mask ``(1, *spatial)`` or one-hot ``(C, *spatial)``."""
        array = np.asarray(convert_to_tensor(mask, track_meta=False))
        if array.ndim not in (3, 4):
            raise ValueError(f"mask must have the shape (C, H, W) or (C, H, W, Z), got {array.shape}.")
        dims = array.ndim - 1
        if self.slice_dim is not None and dims != 3:
            raise ValueError(f"slice_dim needs a mask with three spatial axes, got the shape {array.shape}.")
        regions = self._regions(array)
        tight, classes, ignored = self._voxels(regions) if self.connectivity == 0 else self._components(regions)
        loose, _ = clip_boxes(tight + self._margins(tight, classes), array.shape[1:])
        return pack_boxes(loose, torch.as_tensor(classes), torch.as_tensor(ignored))

    def _voxels(self, regions: list[np.ndarray]) -> tuple[Tensor, np.ndarray, np.ndarray]:
        """Find boxes ``(N, 2*D)`` of all voxels, classes and ignored ``(N,)``."""
        low = [np.argwhere(region) for region in regions]
        classes = np.repeat(np.arange(len(low)), [len(voxels) for voxels in low])
        corners = np.concatenate(low)
        tight = torch.as_tensor(np.concatenate([corners, corners + 1], axis=1), dtype=torch.float32)
        return tight, classes, np.zeros(len(tight), dtype=bool)

    def _components(self, regions: list[np.ndarray]) -> tuple[Tensor, np.ndarray, np.ndarray]:
        """Find boxes ``(N, 2*D)`` of the components, classes and ignored ``(N,)``."""
        dims = regions[0].ndim
        structure = ndimage.generate_binary_structure(dims, min(self.connectivity, dims))
        if self.slice_dim is not None:
            structure = np.moveaxis(structure.copy(), self.slice_dim, 0)
            structure[[0, 2]] = False
            structure = np.moveaxis(structure, 0, self.slice_dim)
        boxes, classes, ignored = [], [], []
        for channel, region in enumerate(regions):
            components, _ = ndimage.label(region, structure)
            sizes = np.bincount(components.ravel())
            for number, found in enumerate(ndimage.find_objects(components), start=1):
                boxes.append([s.start for s in found] + [s.stop for s in found])
                classes.append(channel)
                ignored.append(bool(sizes[number] < self.min_size))
        tight = torch.tensor(boxes, dtype=torch.float32).reshape(-1, 2 * dims)
        return tight, np.asarray(classes, dtype=int), np.asarray(ignored, dtype=bool)

    def _margins(self, tight: Tensor, classes: np.ndarray) -> Tensor:
        """Return what is added to the corners, ``(N, 2*D)``."""
        dims = tight.shape[1] // 2
        margin = np.broadcast_to(self.margin, dims).astype(np.float32)
        if self.slice_dim is not None:
            margin[self.slice_dim] = 0
        outward = torch.as_tensor(np.concatenate([-margin, margin]))
        if self.margin_seed is None or not len(tight):
            return outward.expand_as(tight)
        rows = np.column_stack([tight.numpy().astype(int), classes])
        draws = np.stack([np.random.default_rng([self.margin_seed, *row]).random(2 * dims) for row in rows])
        return outward * torch.as_tensor(draws, dtype=torch.float32)

    def _regions(self, mask: np.ndarray) -> list[np.ndarray]:
        if np.issubdtype(mask.dtype, np.floating) and not np.isfinite(mask).all():
            raise ValueError("mask must hold finite numbers, got NaN or infinite ones.")
        if len(mask) == 1 and self.label_values is not None:
            return [mask[0] == value for value in self.label_values]
        if not np.isin(mask, (0, 1)).all():
            raise ValueError(
                f"mask must hold only 0 and 1 unless label_values names the values of a label map of one channel, got "
                f"the values {np.unique(mask)[:10].tolist()} in {len(mask)} channel(s)."
            )
        return list(mask.astype(bool))


class LoadBoxes(Transform):
    """Read box annotations and bring them into an image's index space.

    Place it after the transforms that move the image (``Orientation``, ``Spacing``, crops, ...): their effect is taken
    from the image's affine. The formats are those of :func:`monai_bbox_mil.annotations.read_boxes`: MONAI
    detection style JSON, COCO JSON, YOLO txt, CSV, CVAT XML, Label Studio JSON, 3D Slicer markups ROI, and DICOM
    RTSTRUCT and SEG.

    Args:
        classes: the names (or numbers) of the classes in the order of the network's output channels; ``None`` where
            the files hold channel numbers.
        format: ``"auto"``, ``"json"``, ``"coco"``, ``"yolo"``, ``"csv"``, ``"cvat"``, ``"label_studio"``, ``"slicer"``
            or ``"dicom"``.
        min_size: components of a DICOM SEG of fewer pixels become regions to ignore; 1 takes each for an object.

    Raises:
        ValueError: for a file that cannot be read or does not fit the image.

    Example:
        >>> from monai.data import MetaTensor
        >>> LoadBoxes()({"box": [[1, 2, 5, 6]], "label": [0]}, MetaTensor(torch.zeros(1, 8, 8)))
        (tensor([[1., 2., 5., 6.]]), tensor([0]))
    """

    def __init__(self, classes: Sequence[str | int] | None = None, format: str = "auto", min_size: int = 2) -> None:
        self.classes = None if classes is None else tuple(classes)
        self.format = format
        self.min_size = min_size

    def __call__(  # type: ignore[override]
        self, source: str | os.PathLike[str] | Mapping[str, Any] | Sequence[Any], image: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Read boxes ``(N, 2*D)`` in voxels of ``image`` ``(C, *spatial)`` and classes ``(N,)``.

        The boxes of several files are put together if ``source`` is a list of paths. The class of a region to ignore,
        such as a COCO crowd, is ``-2 - channel``, as in a box tensor.
        """
        return read_boxes(source, image, classes=self.classes, format=self.format, min_size=self.min_size)


class PackBoxes(Transform):
    """Pack boxes and classes from ``LoadBoxes`` or MONAI's detection transforms into a box tensor.

    Corners are snapped outward to whole voxels and clipped to the image; boxes that end up empty are dropped.

    Raises:
        ValueError: when a corner is NaN, a minimum lies above its maximum, or the boxes' type cannot hold the image's
            corners, as ``bfloat16`` above 256.

    Example:
        >>> PackBoxes()(torch.tensor([[0.5, 1, 3, 9]]), torch.tensor([0]), (4, 4))
        tensor([[0., 1., 3., 4., 0.]])
    """

    def __call__(  # type: ignore[override]
        self, boxes: NdarrayOrTensor, classes: NdarrayOrTensor, spatial_shape: Sequence[int], ignored: Any = None
    ) -> Tensor:
        """Make a box tensor ``(N, 2*D + 1)`` from boxes ``(N, 2*D)``, classes ``(N,)`` and the image's spatial shape.

        Ignored regions have a class of ``-2 - channel``, or are true in ``ignored`` ``(N,)``.
        """
        given: Tensor = convert_to_tensor(boxes, track_meta=False)
        check_exact_corners(given, spatial_shape, "boxes")
        corners = given.to(torch.float32)
        corners = corners.reshape(-1, 2 * len(spatial_shape))
        swapped = (corners[:, : len(spatial_shape)] > corners[:, len(spatial_shape) :]).any(dim=1)
        if swapped.any():
            raise ValueError(f"boxes must hold minima, then maxima, got {corners[swapped][0].tolist()}.")
        clipped, left = clip_boxes(snap_boxes(corners), spatial_shape)
        channels, flags = split_codes(convert_to_tensor(classes, track_meta=False).reshape(-1))
        if ignored is not None:
            flags = flags | torch.as_tensor(ignored, device=flags.device).bool().reshape(-1)
        return pack_boxes(clipped, channels, flags)[left]


class UnpackBoxes(Transform):
    """Convert a box tensor to boxes, classes and ignored flags, the inverse of :class:`PackBoxes`; padding is dropped.

    Example:
        >>> UnpackBoxes()(torch.tensor([[0.0, 1, 3, 4, 0]]))
        (tensor([[0., 1., 3., 4.]]), tensor([0]), tensor([False]))
    """

    def __call__(self, box_tensor: NdarrayOrTensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return boxes ``(N, 2*D)``, classes ``(N,)`` and ignored ``(N,)`` of a box tensor ``(N, 2*D + 1)``."""
        return unpack_boxes(convert_to_tensor(box_tensor, track_meta=False))


class BoxTensorToMask(Transform):
    """Convert a box tensor to the mask of its regions.

    Args:
        num_classes: number of channels of the mask.
        ignored: whether ignored regions are filled too.

    Example:
        >>> BoxTensorToMask(num_classes=1)(torch.tensor([[0.0, 1, 1, 3, 0]]), (2, 3))
        tensor([[[0, 1, 1],
                 [0, 0, 0]]], dtype=torch.uint8)
    """

    def __init__(self, num_classes: int, ignored: bool = False) -> None:
        self.num_classes = num_classes
        self.ignored = ignored

    def __call__(  # type: ignore[override]
        self, box_tensor: NdarrayOrTensor, spatial_shape: Sequence[int]
    ) -> Tensor:
        """Make the mask ``(num_classes, *spatial_shape)`` uint8 of a box tensor ``(N, 2*D + 1)``."""
        rows = convert_to_tensor(box_tensor, track_meta=False)[None]
        return boxes_to_mask(rows, spatial_shape, self.num_classes, self.ignored)[0].to(torch.uint8)
