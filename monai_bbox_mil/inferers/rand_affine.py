# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
"""Rotation and scaling of the network's input, undone in its output."""

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
    """Show the network each image of a batch rotated and scaled at random, and transform its output back.

    A tight box stays tight only under flips and quarter turns. A box rotated by 30 degrees with its object would be
    loose. Here the boxes stay where they are, and the network's output comes back to the same place before the loss
    sees it. This is more than augmentation: a box gives the object's border only where it touches the four sides, and a
    network that sees the object at all angles learns borders at all angles.

    Use it as the trainer's inferer. Angle and scale are drawn for each image from PyTorch's global generator. In 3D the
    rotation is about the last axis, and only the first two axes are scaled. Pixels are taken to be square. Where the
    image was turned out of view, the output repeats its nearest border; where the view extends beyond the image, it
    repeats the image's border.

    Args:
        rotate_deg: largest rotation in degrees, in either direction.
        zoom: images are shown larger or smaller by a factor of up to ``1 + zoom``, log-uniformly distributed.

    Raises:
        ValueError: if an argument is negative or not finite.

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
        """Compute the output of ``network`` for ``inputs`` ``(B, C, H, W[, Z])``, aligned with ``inputs``."""
        if not self.rotate_deg and not self.zoom:
            return network(inputs, *args, **kwargs)
        shown, back = self._draw(inputs)
        return _resample(network(_resample(inputs, shown), *args, **kwargs), back)

    def _draw(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
        """Draw ``(B, D, D)`` matrices from the shown image to the image and back, axes as in ``affine_grid``."""
        batch, dims = len(inputs), inputs.ndim - 2
        angle, zoom = torch.rand(2, batch).mul(2).sub(1).unbind()
        angle, zoom = angle * math.radians(self.rotate_deg), torch.exp(zoom * math.log1p(self.zoom))
        matrix = torch.eye(dims).repeat(batch, 1, 1)
        # affine_grid starts with the last axis, and its unit is half the size of the image.
        h, w = dims - 1, dims - 2
        matrix[:, h, h] = matrix[:, w, w] = angle.cos() * zoom
        matrix[:, h, w] = angle.sin() * zoom
        matrix[:, w, h] = -matrix[:, h, w]
        size = torch.tensor(inputs.shape[:1:-1], dtype=torch.float32)
        ratio = size / size[:, None]
        return (matrix * ratio).to(inputs.device), (torch.linalg.inv(matrix) * ratio).to(inputs.device)


def _resample(images: Tensor, matrix: Tensor) -> Tensor:
    # Some devices do not support these two functions in half precision.
    with torch.autocast(images.device.type, enabled=False):
        images = images.float()
        grid = affine_grid(pad(matrix, (0, 1)), list(images.shape), align_corners=False)
        return grid_sample(images, grid, padding_mode="border", align_corners=False)
