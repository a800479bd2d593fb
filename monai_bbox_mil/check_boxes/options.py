# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
"""Options of the check, named as in ``bundle/configs/train.yaml``."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["CheckOptions"]


@dataclass(frozen=True)
class CheckOptions:
    """How to interpret boxes and masks.

    Attributes:
        label_values: values of the classes in the masks, one channel each; ``None`` when any value above 0 belongs to
            a single class.
        box_classes: names or numbers of the classes in box files, in the order of the channels; ``None`` when the
            files hold channel numbers.
        slice_dim: axis along which volumes are cut for a 2D network; ``None`` for a 3D network (``volumes.yaml``).
        margin, margin_seed, min_size: how boxes are cut from masks, see
            :class:`~monai_bbox_mil.transforms.MaskToBoxTensor`. Objects of fewer than ``min_size`` voxels need no box.
        in_channels: number of channels that each image must have.
        image_size: voxels to which images are padded or cropped; ``None`` for the default of ``train.yaml``, or of
            ``volumes.yaml`` when ``slice_dim`` is ``None``.
        spacing_mm: spacing to which images are resampled before that; ``None`` keeps the file's own.
        tolerance: pixels by which a side may miss the object of the mask.

    Raises:
        ValueError: for a value that is out of range.

    Example:
        >>> CheckOptions(label_values=(1, 2)).class_names
        ('class 1', 'class 2')
        >>> CheckOptions(label_values=(1, 2), box_classes=("prostate", "tumour")).class_names
        ('prostate', 'tumour')
    """

    label_values: tuple[int, ...] | None = (1,)
    box_classes: tuple[str | int, ...] | None = None
    slice_dim: int | None = -1
    margin: float = 0
    margin_seed: int | None = None
    min_size: int = 0
    in_channels: int = 1
    image_size: tuple[int, ...] | None = None
    spacing_mm: tuple[float, ...] | None = None
    tolerance: float = 2

    def __post_init__(self) -> None:
        if self.label_values == () or self.box_classes == ():
            raise ValueError("label_values and box_classes must name at least one class, got none.")
        if self.box_classes is not None and len(self.box_classes) != len(self.label_values or (1,)):
            raise ValueError(
                f"box_classes must name one class for each of label_values {self.label_values}, got {self.box_classes}."
            )
        if self.slice_dim is not None and not -3 <= self.slice_dim < 3:
            raise ValueError(f"slice_dim must be None or an axis from -3 to 2, got {self.slice_dim}.")
        if self.in_channels < 1:
            raise ValueError(f"in_channels must be at least 1, got {self.in_channels}.")
        axes = 3 if self.slice_dim is None else 2
        for name, values in (("image_size", self.image_size), ("spacing_mm", self.spacing_mm)):
            if values is not None and (len(values) != axes or min(values) <= 0):
                raise ValueError(f"{name} must be {axes} numbers above 0, got {values}.")
        for name in ("margin", "min_size", "tolerance"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} must be at least 0, got {getattr(self, name)}.")

    @property
    def crop_size(self) -> tuple[int, ...]:
        """Return the voxels along the first axes after padding or cropping."""
        return self.image_size or ((96, 96, 16) if self.slice_dim is None else (96, 96))

    @property
    def class_names(self) -> tuple[str, ...]:
        """Return one name per channel."""
        if self.box_classes is not None:
            return tuple(str(name) for name in self.box_classes)
        return tuple(f"class {value}" for value in self.label_values or (1,))

    @property
    def slice_axis(self) -> int | None:
        """Return ``slice_dim`` counted from 0."""
        return None if self.slice_dim is None else self.slice_dim % 3

    def plane_axes(self, shape: tuple[int, ...]) -> list[int]:
        """Return the axes along which a box must be tight: those of the slice, or all, without axes of one voxel."""
        return [axis for axis in range(3) if axis != self.slice_axis and shape[axis] > 1]
