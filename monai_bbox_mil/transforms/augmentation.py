# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
"""Random flips and quarter turns of an image and its label, which is a box tensor or a mask.

Both keep boxes tight, so a network learns from the boxes that were drawn. Each transform makes the draws of MONAI's own
(``RandFlipd``, ``RandRotate90d``) for any label: with the same seed, a training from boxes and one from masks see
the same images.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import torch
from monai.apps.detection.transforms.box_ops import flip_boxes, rot90_boxes
from monai.data import MetaTensor, get_track_meta
from monai.transforms import Flip, MapTransform, RandomizableTransform, Rotate90
from monai.utils import convert_to_tensor
from torch import Tensor

from monai_bbox_mil.annotations import check_box_frame, spatial_shape, with_box_frame
from monai_bbox_mil.boxes import BOX_FRAME, PADDING
from monai_bbox_mil.transforms.pipeline import DeformationGuard

__all__ = [
    "RandFlipLabelD",
    "RandFlipLabelDict",
    "RandFlipLabeld",
    "RandRotate90LabelD",
    "RandRotate90LabelDict",
    "RandRotate90Labeld",
]


class _RandMoveLabeld(RandomizableTransform, MapTransform):
    """Draw once whether to move, then move the image and its label alike."""

    def __init__(self, image_key: str, label_key: str, prob: float) -> None:
        MapTransform.__init__(self, [image_key, label_key])
        RandomizableTransform.__init__(self, prob)
        self.image_key = image_key
        self.label_key = label_key
        self.guard = DeformationGuard(image_key)

    @abstractmethod
    def _move_voxels(self, voxels: Tensor) -> Tensor:
        """Move an image or a mask ``(C, *spatial)``."""

    @abstractmethod
    def _move_boxes(self, boxes: Tensor, spatial_size: tuple[int, ...]) -> Tensor:
        """Move boxes ``(N, 2*D)`` of an image that had ``spatial_size`` voxels before."""

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        d = dict(data)
        self.randomize(None)
        image = convert_to_tensor(d[self.image_key], track_meta=get_track_meta())
        before, label = spatial_shape(image), d[self.label_key]
        is_box_tensor = tuple(label.shape[1:]) == (2 * len(before) + 1,)
        if not is_box_tensor and tuple(label.shape[1:]) != before:
            raise ValueError(
                f"{self.label_key}: expected a box tensor (N, {2 * len(before) + 1}) or a mask of the {before} voxels "
                f"of {self.image_key}, got the shape {tuple(label.shape)}."
            )
        moved = self._move_voxels(image) if self._do_transform else image
        d[self.image_key] = moved
        if is_box_tensor:
            d[self.label_key] = self._with_boxes(label, image, moved)
        else:
            mask = convert_to_tensor(label, track_meta=get_track_meta())
            d[self.label_key] = self._move_voxels(mask) if self._do_transform else mask
        return d

    def _with_boxes(self, box_tensor: Any, before: Tensor, after: Tensor) -> Tensor:
        """Return the box tensor in the image ``after``, checked against the image ``before``."""
        self.guard.check(self)
        rows = check_box_frame(box_tensor, before, repr(self.label_key), self.image_key)
        if not self._do_transform:
            framed = isinstance(box_tensor, MetaTensor) and BOX_FRAME in box_tensor.meta
            return box_tensor if framed else with_box_frame(rows, after)
        codes = rows[:, -1:]
        moved = torch.cat([self._move_boxes(rows[:, :-1], spatial_shape(before)), codes], dim=1)
        return with_box_frame(torch.where(codes == PADDING, rows, moved), after)


class RandFlipLabeld(_RandMoveLabeld):
    """Flip an image and its label along one axis, at random.

    The label is a box tensor ``(N, 2*D + 1)`` or a mask ``(C, *spatial)``. Codes of boxes and padding rows stay as they
    are, and boxes carry the frame of the flipped image.

    Args:
        image_key: image ``(C, *spatial)``.
        label_key: its box tensor or mask.
        prob: probability of the flip; or one per spatial axis, where that of ``spatial_axis`` counts.
        spatial_axis: the axis.

    Raises:
        ValueError: for a ``spatial_axis`` that has no ``prob``; for a label that is neither a box tensor nor a mask of
            the image; when the image moved since its boxes were made, or a deformation of it follows.

    Example:
        >>> boxes = torch.tensor([[1.0, 2, 5, 6, 0]])
        >>> data = RandFlipLabeld(prob=1.0, spatial_axis=0)({"image": torch.zeros(1, 8, 9), "label": boxes})
        >>> data["label"].tolist()
        [[3.0, 2.0, 7.0, 6.0, 0.0]]
    """

    def __init__(
        self,
        image_key: str = "image",
        label_key: str = "label",
        prob: float | Sequence[float] = 0.1,
        spatial_axis: int = 0,
    ) -> None:
        if isinstance(prob, Sequence):
            if not -len(prob) <= spatial_axis < len(prob):
                raise ValueError(f"prob must hold one number for spatial_axis {spatial_axis}, got {list(prob)}.")
            prob = prob[spatial_axis]
        super().__init__(image_key, label_key, prob)
        self.spatial_axis = spatial_axis
        self.flipper = Flip(spatial_axis)

    def _move_voxels(self, voxels: Tensor) -> Tensor:
        flipped: Tensor = self.flipper(voxels)
        return flipped

    def _move_boxes(self, boxes: Tensor, spatial_size: tuple[int, ...]) -> Tensor:
        return flip_boxes(boxes, spatial_size, self.spatial_axis % len(spatial_size))


class RandRotate90Labeld(_RandMoveLabeld):
    """Turn an image and its label by a random number of quarter turns, at random.

    The label is a box tensor ``(N, 2*D + 1)`` or a mask ``(C, *spatial)``. Codes of boxes and padding rows stay as they
    are, and boxes carry the frame of the turned image.

    Args:
        image_key: image ``(C, *spatial)``.
        label_key: its box tensor or mask.
        prob: probability of a turn.
        max_k: the most quarter turns.
        spatial_axes: the two axes of the plane in which to turn.

    Raises:
        ValueError: for a label that is neither a box tensor nor a mask of the image; when the image moved since its
            boxes were made, or a deformation of it follows.

    Example:
        >>> boxes = torch.tensor([[1.0, 2, 5, 6, 0]])
        >>> data = RandRotate90Labeld(prob=1.0, max_k=1)({"image": torch.zeros(1, 8, 9), "label": boxes})
        >>> data["label"].tolist(), data["image"].shape
        ([[3.0, 1.0, 7.0, 5.0, 0.0]], torch.Size([1, 9, 8]))
    """

    def __init__(
        self,
        image_key: str = "image",
        label_key: str = "label",
        prob: float = 0.1,
        max_k: int = 3,
        spatial_axes: tuple[int, int] = (0, 1),
    ) -> None:
        super().__init__(image_key, label_key, prob)
        self.max_k = max_k
        self.spatial_axes = spatial_axes
        self._turns = 0

    def randomize(self, data: Any = None) -> None:
        """Draw the number of turns, then whether to turn: the order of MONAI's ``RandRotate90d``."""
        self._turns = self.R.randint(self.max_k) + 1
        super().randomize(None)

    def _move_voxels(self, voxels: Tensor) -> Tensor:
        turned: Tensor = Rotate90(self._turns, self.spatial_axes)(voxels)
        return turned

    def _move_boxes(self, boxes: Tensor, spatial_size: tuple[int, ...]) -> Tensor:
        first, second = (axis % len(spatial_size) for axis in self.spatial_axes)
        return rot90_boxes(boxes, spatial_size, self._turns, (first, second))


RandFlipLabelD = RandFlipLabelDict = RandFlipLabeld
RandRotate90LabelD = RandRotate90LabelDict = RandRotate90Labeld
