# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
"""Random rotation and scaling of the network's input, undone in its output."""

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
    """Rotate and scale each image at random before the network, and transform the output back.

    A box only stays tight under flips and quarter turns: nobody has drawn a tight box around an object that was rotated
    by 30 degrees. With this inferer the boxes stay in place and tight, and the loss gets an output in the frame of the
    boxes. It is more than augmentation. A box shows where an object ends only at a few points, those on its sides. A
    network that sees the object at any angle sees these points as borders at any angle.

    Use it as the trainer's inferer. Angle and scale are drawn per image from PyTorch's global generator. In 3D the
    rotation is about the last axis, and only the first two axes are scaled. Pixels are assumed to be square. The input
    is padded by repeating its border. Where the output is undefined, because that part of the image was rotated out of
    view, it repeats the nearest border of the output.

    Args:
        rotate_deg: largest angle in degrees, in either direction.
        zoom: images are enlarged or reduced by a factor of up to ``1 + zoom``, uniform in its logarithm.

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
        """Return the output of ``network`` in the frame of ``inputs`` ``(B, C, H, W[, Z])``."""
        if not self.rotate_deg and not self.zoom:
            return network(inputs, *args, **kwargs)
        shown, back = self._draw(inputs)
        return _resample(network(_resample(inputs, shown), *args, **kwargs), back)

    def _draw(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
        """Draw matrices ``(B, D, D)`` from the network's input to the image and back, axes as in ``affine_grid``."""
        batch, dims = len(inputs), inputs.ndim - 2
        angle, zoom = torch.rand(2, batch).mul(2).sub(1).unbind()
        angle, zoom = angle * math.radians(self.rotate_deg), torch.exp(zoom * math.log1p(self.zoom))
        matrix = torch.eye(dims).repeat(batch, 1, 1)
        # affine_grid puts the last axis first, and its unit is half the size of the image.
        h, w = dims - 1, dims - 2
        matrix[:, h, h] = matrix[:, w, w] = angle.cos() * zoom
        matrix[:, h, w] = angle.sin() * zoom
        matrix[:, w, h] = -matrix[:, h, w]
        size = torch.tensor(inputs.shape[:1:-1], dtype=torch.float32)
        ratio = size / size[:, None]
        return (matrix * ratio).to(inputs.device), (torch.linalg.inv(matrix) * ratio).to(inputs.device)


def _resample(images: Tensor, matrix: Tensor) -> Tensor:
    # Some devices lack the two functions in half precision.
    with torch.autocast(images.device.type, enabled=False):
        images = images.float()
        grid = affine_grid(pad(matrix, (0, 1)), list(images.shape), align_corners=False)
        return grid_sample(images, grid, padding_mode="border", align_corners=False)
