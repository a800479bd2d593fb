# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
"""Rotation and scaling of what the network sees, undone in what it answers."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from monai.inferers import Inferer
from torch import Tensor
from torch.nn.functional import affine_grid, grid_sample, pad

__all__ = ["RandAffineInferer"]


class RandAffineInferer(Inferer):
    """Show the network each image of a batch rotated and scaled at random, and rotate and scale its output back.

    A box stays tight under flips and quarter turns only; around an object that was rotated by 30 degrees nobody has
    drawn one. Here the boxes stay where they are, tight, and the loss sees an output in their place. And more than
    augmentation comes of it: a box says where an object ends at a few points only, those on its sides. To a network
    that sees the object at any angle these are borders at any angle.

    For training, as the trainer's inferer. Angle and scale are drawn for each image from PyTorch's global generator.
    In 3D the rotation is about the last axis, and the scale is that of the first two. Pixels count as square.
    What is turned out of the picture gets the output at the nearest border; what is turned in repeats the border.

    Args:
        rotate_deg: images are rotated by up to so many degrees, either way.
        zoom: images are shown larger or smaller by a factor of up to ``1 + zoom``, uniform in its logarithm.

    Raises:
        ValueError: for a negative argument.

    Example:
        >>> image = torch.zeros(1, 1, 9, 9)
        >>> image[..., 4, :] = 1  # a line
        >>> seen, _ = [], torch.manual_seed(1)
        >>> output = RandAffineInferer(rotate_deg=45)(image, lambda shown: seen.append(shown) or shown)
        >>> bool((seen[0] - image).abs().max() > (output - image).abs().max())  # turned, and turned back
        True
    """

    def __init__(self, rotate_deg: float = 0.0, zoom: float = 0.0) -> None:
        super().__init__()
        for name, value in (("rotate_deg", rotate_deg), ("zoom", zoom)):
            if not 0 <= value < math.inf:
                raise ValueError(f"{name} must be a finite number of at least 0, got {value}.")
        self.rotate_deg = rotate_deg
        self.zoom = zoom

    def __call__(self, inputs: Tensor, network: Callable[..., Tensor], *args: Any, **kwargs: Any) -> Tensor:
        """Return the output of ``network`` for ``inputs`` ``(B, C, H, W[, Z])``, in their place."""
        if not self.rotate_deg and not self.zoom:
            return network(inputs, *args, **kwargs)
        shown, back = self._draw(inputs)
        return _resample(network(_resample(inputs, shown), *args, **kwargs), back)

    def _draw(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
        """Draw ``(B, D, D)`` matrices from what is shown to the image and back, axes as ``affine_grid`` has them."""
        batch, dims = len(inputs), inputs.ndim - 2
        angle, zoom = torch.rand(2, batch).mul(2).sub(1).unbind()
        angle, zoom = angle * math.radians(self.rotate_deg), torch.exp(zoom * math.log1p(self.zoom))
        matrix = torch.eye(dims).repeat(batch, 1, 1)
        # affine_grid begins with the last axis, and counts in half sizes of the image.
        h, w = dims - 1, dims - 2
        matrix[:, h, h] = matrix[:, w, w] = angle.cos() * zoom
        matrix[:, h, w] = angle.sin() * zoom
        matrix[:, w, h] = -matrix[:, h, w]
        size = torch.tensor(inputs.shape[:1:-1], dtype=torch.float32)
        ratio = size / size[:, None]
        return (matrix * ratio).to(inputs.device), (torch.linalg.inv(matrix) * ratio).to(inputs.device)


def _resample(images: Tensor, matrix: Tensor) -> Tensor:
    # Not every device has the two functions in half precision.
    with torch.autocast(images.device.type, enabled=False):
        images = images.float()
        grid = affine_grid(pad(matrix, (0, 1)), list(images.shape), align_corners=False)
        return grid_sample(images, grid, padding_mode="border", align_corners=False)
