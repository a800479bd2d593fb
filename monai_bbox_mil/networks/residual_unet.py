# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
"""The residual U-Net with which the paper segments PROMISE12."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from monai.networks.blocks.convolutions import Convolution
from torch import Tensor, nn

from monai_bbox_mil.networks.any_size import pad_to_multiple

__all__ = ["ResidualUNet"]

_ENCODER_ACT: tuple[str, dict[str, Any]] = ("leakyrelu", {"negative_slope": 0.2, "inplace": True})
_DECODER_ACT: tuple[str, dict[str, Any]] = ("relu", {"inplace": True})


class _ResidualUNetStage(nn.Module):
    """Five 3x3 convolutions with batch norm; the middle three are bypassed by an addition."""

    def __init__(self, in_channels: int, out_channels: int, act: tuple[str, dict[str, Any]]) -> None:
        super().__init__()
        self.entry = Convolution(2, in_channels, out_channels, act=act, norm="batch")
        self.residual = nn.Sequential(
            Convolution(2, out_channels, out_channels, act=act, norm="batch"),
            Convolution(2, out_channels, out_channels, act=act, norm="batch"),
            Convolution(2, out_channels, out_channels, act=None, norm="batch"),
        )
        self.exit = Convolution(2, out_channels, out_channels, act=act, norm="batch")

    def forward(self, x: Tensor) -> Tensor:
        x = self.entry(x)
        out: Tensor = self.exit(x + self.residual(x))
        return out


class _ResidualUNetUp(nn.Module):
    """Up-sampling by 2, then the mean with the encoder's features, then a stage."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.upsample = Convolution(
            2, in_channels, out_channels, strides=2, is_transposed=True, act=_DECODER_ACT, norm="batch"
        )
        self.stage = _ResidualUNetStage(out_channels, out_channels, _DECODER_ACT)

    def forward(self, x: Tensor, skip: Tensor) -> Tensor:
        out: Tensor = self.stage((self.upsample(x) + skip) / 2)
        return out


class ResidualUNet(nn.Module):
    """Residual U-Net for 2D images, as the paper uses it for PROMISE12.

    Each stage has five convolutions, three of them bypassed by an addition. The encoder halves the size by max
    pooling, and the decoder doubles it by transposed convolutions. A skip connection is the mean of the
    encoder's and the decoder's features, not their concatenation. With one channel in and out and the default
    ``features``, the network has 19,644,961 parameters.

    Source: Wang & Xia, "Bounding Box Tightness Prior for Weakly Supervised Image Segmentation" (MICCAI 2021),
    which takes the network from Kervadec et al., "Bounding boxes for weakly supervised segmentation: Global
    constraints get close to full supervision" (MIDL 2020).

    Any size of at least 1 x 1 is accepted: an image is padded with zeros at the end of each axis to the next
    multiple of ``2 ** (len(features) - 1)`` (16 by default), and the logits are cut back to the image's size.
    In training, batch norm needs more than one pixel per channel at the deepest level: more than one image in
    the batch, or an image with an axis longer than that multiple.

    Args:
        in_channels: number of channels of the image.
        out_channels: number of channels of the logits, one for each class.
        features: number of features at each level, from the full size to the deepest; at least two levels.

    Raises:
        ValueError: if ``in_channels``, ``out_channels`` or one of ``features`` is less than 1, or if
            ``features`` has fewer than two levels.

    Example:
        >>> import torch
        >>> from monai_bbox_mil.networks import ResidualUNet
        >>> network = ResidualUNet(in_channels=1, out_channels=2, features=(4, 8, 16))
        >>> network(torch.zeros(3, 1, 30, 41)).shape
        torch.Size([3, 2, 30, 41])
    """

    def __init__(
        self, in_channels: int = 1, out_channels: int = 1, features: Sequence[int] = (32, 64, 128, 256, 512)
    ) -> None:
        super().__init__()
        if in_channels < 1:
            raise ValueError(f"in_channels must be at least 1, got {in_channels}.")
        if out_channels < 1:
            raise ValueError(f"out_channels must be at least 1, got {out_channels}.")
        if len(features) < 2 or min(features) < 1:
            raise ValueError(f"features must be at least two positive numbers, one per level, got {features}.")
        self.in_channels = in_channels
        self.divisor = 2 ** (len(features) - 1)

        self.encoder = nn.ModuleList(
            _ResidualUNetStage(before, after, _ENCODER_ACT) for before, after in pairwise((in_channels, *features[:-1]))
        )
        self.pool = nn.MaxPool2d(2)
        self.bridge = _ResidualUNetStage(features[-2], features[-1], _ENCODER_ACT)
        self.decoder = nn.ModuleList(
            _ResidualUNetUp(coarse, fine) for fine, coarse in reversed(list(pairwise(features)))
        )
        self.head = nn.Conv2d(features[0], out_channels, kernel_size=3, padding=1)
        self._init_weights()

    def _init_weights(self) -> None:
        # The published code leaves the transposed convolutions and all biases at PyTorch's default initialization.
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, x: Tensor) -> Tensor:
        """Compute the logits of a batch of images.

        Args:
            x: images, shape ``(B, in_channels, H, W)``.

        Returns:
            logits (no activation), shape ``(B, out_channels, H, W)``.

        Raises:
            ValueError: if ``x`` has the wrong number of dimensions or channels or is empty, or if batch norm
                would see a single pixel at the deepest level in training mode.
        """
        size = x.shape
        x = pad_to_multiple(x, self.in_channels, self.divisor, self.training)

        skips: list[Tensor] = []
        for stage in self.encoder:
            x = stage(x)
            skips.append(x)
            x = self.pool(x)
        x = self.bridge(x)
        for up in self.decoder:
            x = up(x, skips.pop())
        logits: Tensor = self.head(x)
        return logits.narrow(2, 0, size[2]).narrow(3, 0, size[3])
