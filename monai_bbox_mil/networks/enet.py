# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
"""ENet, the network with which the paper segments ATLAS."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from monai.networks.blocks.convolutions import Convolution
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from monai_bbox_mil.networks.any_size import pad_to_multiple

__all__ = ["ENet"]

_DIVISOR = 8  # three halvings: the entry and two down-sampling bottlenecks
_SQUEEZE = 4  # a bottleneck works on a quarter of its input's channels


def _conv(
    in_channels: int,
    out_channels: int,
    kernel_size: int | tuple[int, int] = 1,
    dilation: int = 1,
    dropout: float | None = None,
    bias: bool = True,
) -> Convolution:
    """Make a convolution that keeps the size, followed by batch norm, PReLU and, if given, dropout."""
    return Convolution(
        2,
        in_channels,
        out_channels,
        kernel_size=kernel_size,
        dilation=dilation,
        adn_ordering="NAD",
        act="prelu",
        norm="batch",
        dropout=dropout,
        bias=bias,
    )


def _unpool(x: Tensor, indices: Tensor, like: Tensor) -> Tensor:
    """Put each value where max pooling found its maximum, in zeros of the size of ``like``.

    ``max_unpool2d`` has no ONNX export and no deterministic CUDA kernel; ``scatter`` has both.
    """
    batch, channels = x.shape[:2]
    height, width = like.shape[2:]
    flat = x.new_zeros(batch, channels, height * width).scatter(2, indices.flatten(2), x.flatten(2))
    return flat.view(batch, channels, height, width)


class _ENetBottleneck(nn.Module):
    """Squeezing, 3x3 (or 5x1 and 1x5) and expanding convolutions, added to the input or to its projection."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        dropout: float,
        dilation: int = 1,
        asymmetric: bool = False,
        shortcut: nn.Module | None = None,
    ) -> None:
        super().__init__()
        hidden = in_channels // _SQUEEZE
        middle: nn.Module = _conv(hidden, hidden, 3, dilation=dilation)
        if asymmetric:
            middle = nn.Sequential(nn.Conv2d(hidden, hidden, (5, 1), padding=(2, 0)), _conv(hidden, hidden, (1, 5)))
        self.branch = nn.Sequential(_conv(in_channels, hidden), middle, _conv(hidden, out_channels, dropout=dropout))
        if shortcut is None:
            shortcut = nn.Identity() if in_channels == out_channels else _conv(in_channels, out_channels)
        self.shortcut = shortcut
        self.act = nn.PReLU()

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.act(self.shortcut(x) + self.branch(x))
        return out


class _ENetDown(nn.Module):
    """Bottleneck that halves the size and returns where the maxima were."""

    def __init__(self, in_channels: int, out_channels: int, dropout: float) -> None:
        super().__init__()
        hidden = in_channels // _SQUEEZE
        self.pool = nn.MaxPool2d(2, return_indices=True)
        self.branch = nn.Sequential(
            Convolution(2, in_channels, hidden, strides=2, kernel_size=2, padding=0, act="prelu", norm="batch"),
            _conv(hidden, hidden, 3),
            _conv(hidden, out_channels, dropout=dropout),
        )
        self.extra_channels = out_channels - in_channels
        self.act = nn.PReLU()

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        pooled, indices = self.pool(x)
        pooled = F.pad(pooled, (0, 0, 0, 0, 0, self.extra_channels))
        return self.act(pooled + self.branch(x)), indices


class _ENetUp(nn.Sequential):
    """The learnt half of an up-sampling bottleneck; the unpooled maxima are added by the network."""

    def __init__(self, in_channels: int, out_channels: int, dropout: float) -> None:
        hidden = in_channels // _SQUEEZE
        super().__init__(
            _conv(in_channels, hidden, 3),
            _conv(hidden, hidden, 3),
            _conv(hidden, out_channels, dropout=dropout),
            # The published block declares this PReLU but never applies it. Here it is applied, so that every
            # parameter gets a gradient. After another PReLU it only scales that one's slope, so with an initial
            # slope of 1 the network computes the published function.
            nn.PReLU(init=1.0),
        )


class ENet(nn.Module):
    """ENet for 2D images, as the paper uses it for ATLAS.

    An encoder-decoder of regular, dilated and asymmetric bottlenecks. The decoder puts its features back where
    the encoder's poolings found their maxima. Unlike in Paszke et al., each unpooled map is joined with the
    encoder's features of the same size, and the last up-sampling is nearest neighbour and two convolutions.
    With one channel in and out and the default ``features``, the network has 459,530 parameters, 1,298 of them
    in the side heads.

    Source: Paszke et al., "ENet: A Deep Neural Network Architecture for Real-Time Semantic Segmentation"
    (arXiv:1606.02147), in the variant of Kervadec et al., "Bounding boxes for weakly supervised segmentation:
    Global constraints get close to full supervision" (MIDL 2020), which Wang & Xia, "Bounding Box Tightness
    Prior for Weakly Supervised Image Segmentation" (MICCAI 2021), use.

    Any size of at least 1 x 1 is accepted: an image is padded with zeros at the end of each axis to the next
    multiple of 8, and the logits are cut back to the image's size. In training, batch norm needs more than
    one pixel per channel at the deepest level: more than one image in the batch, or an image with an axis
    longer than 8 pixels.

    Where an image is constant, such as in an empty background, rounding decides which of several equal values
    a pooling takes as the maximum. There, the logits of two devices, precisions or runtimes can differ.

    Args:
        in_channels: number of channels of the image, fewer than ``features``.
        out_channels: number of channels of the logits, one for each class.
        features: number of features at half the image's size, a multiple of 4. The deepest level has 8 times this
            number.
        dropout_prob: two probabilities, the first for the first stage and the dilated and size-changing
            bottlenecks, the second for the regular and asymmetric bottlenecks after the first stage.
        deep_supervision: if True, the network in training mode also returns the logits of its side heads. If
            False, the side heads are frozen, so that distributed training does not wait for their gradients.

    Raises:
        ValueError: if ``out_channels`` is less than 1, ``features`` is not a positive multiple of 4,
            ``in_channels`` is not in ``[1, features)``, or ``dropout_prob`` is not two numbers in ``[0, 1)``.

    Example:
        >>> import torch
        >>> from monai_bbox_mil.networks import ENet
        >>> network = ENet(in_channels=1, out_channels=2)
        >>> network(torch.zeros(3, 1, 30, 41)).shape
        torch.Size([3, 2, 30, 41])
    """

    def __init__(
        self,
        in_channels: int = 1,
        out_channels: int = 1,
        features: int = 16,
        dropout_prob: Sequence[float] = (0.01, 0.1),
        deep_supervision: bool = False,
    ) -> None:
        super().__init__()
        if out_channels < 1:
            raise ValueError(f"out_channels must be at least 1, got {out_channels}.")
        if features < 1 or features % _SQUEEZE:
            raise ValueError(f"features must be a positive multiple of {_SQUEEZE}, got {features}.")
        if not 1 <= in_channels < features:
            raise ValueError(
                f"in_channels must be at least 1 and less than features ({features}), got {in_channels}. "
                "The first layer keeps the image's channels among its features."
            )
        if len(dropout_prob) != 2 or not all(0 <= prob < 1 for prob in dropout_prob):
            raise ValueError(f"dropout_prob must be two probabilities in [0, 1), got {dropout_prob}.")
        self.in_channels = in_channels
        self.divisor = _DIVISOR
        self.deep_supervision = deep_supervision
        low, high = dropout_prob
        half, quarter, deep = features, 4 * features, 8 * features

        self.entry = nn.Conv2d(in_channels, features - in_channels, kernel_size=3, stride=2, padding=1)
        self.entry_pool = nn.MaxPool2d(2)
        self.down1 = _ENetDown(half, quarter, low)
        self.stage1 = nn.Sequential(*(_ENetBottleneck(quarter, quarter, low) for _ in range(4)))
        self.down2 = _ENetDown(quarter, deep, low)
        self.stage2 = nn.Sequential(*self._context(deep, low, high), _ENetBottleneck(deep, deep, low, dilation=16))
        last_shortcut = nn.Conv2d(deep, quarter, kernel_size=3, padding=1)
        self.stage3 = nn.Sequential(
            *self._context(deep, low, high),
            _ENetBottleneck(deep, quarter, low, dilation=16, shortcut=last_shortcut),
        )
        self.up1 = _ENetUp(2 * quarter, quarter, low)
        self.up1_act = nn.PReLU()
        self.stage4 = nn.Sequential(_ENetBottleneck(quarter, quarter, high), _ENetBottleneck(quarter, half, high))
        self.up2 = nn.Sequential(_ENetUp(2 * half, half, low), _ENetBottleneck(half, half, high))
        self.up2_act = nn.PReLU()
        self.up3 = nn.Sequential(
            nn.Upsample(scale_factor=2.0, mode="nearest"),
            _conv(half, half, 3, bias=False),
            _conv(half, half, 3, bias=False),
        )
        self.head = nn.Conv2d(half, out_channels, kernel_size=1)
        self.side_head_half = nn.Conv2d(half, out_channels, kernel_size=3, padding=1)
        self.side_head_quarter = nn.Conv2d(2 * quarter, out_channels, kernel_size=3, padding=1)
        self._init_weights()
        self.side_head_half.requires_grad_(deep_supervision)
        self.side_head_quarter.requires_grad_(deep_supervision)

    @staticmethod
    def _context(channels: int, low: float, high: float) -> list[nn.Module]:
        """Make the seven bottlenecks that stages 2 and 3 have in common."""
        return [
            _ENetBottleneck(channels, channels, high),
            _ENetBottleneck(channels, channels, low, dilation=2),
            _ENetBottleneck(channels, channels, high, asymmetric=True),
            _ENetBottleneck(channels, channels, low, dilation=4),
            _ENetBottleneck(channels, channels, high),
            _ENetBottleneck(channels, channels, low, dilation=8),
            _ENetBottleneck(channels, channels, high, asymmetric=True),
        ]

    def _init_weights(self) -> None:
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.xavier_normal_(module.weight)
            elif isinstance(module, nn.BatchNorm2d):
                nn.init.normal_(module.weight, mean=1.0, std=0.02)

    def forward(self, x: Tensor) -> Tensor:
        """Compute the logits of a batch of images.

        Args:
            x: images, shape ``(B, in_channels, H, W)``.

        Returns:
            logits (no activation), shape ``(B, out_channels, H, W)``. With ``deep_supervision`` in training
            mode the shape is ``(B, 3, out_channels, H, W)``, as in :class:`monai.networks.nets.DynUNet`: the
            logits of the head, then those of the side heads at a half and a quarter of the size, enlarged by
            nearest neighbour.

        Raises:
            ValueError: if ``x`` has the wrong number of dimensions or channels or is empty, or if batch norm
                would see a single pixel at the deepest level in training mode.
        """
        size = x.shape
        x = pad_to_multiple(x, self.in_channels, self.divisor, self.training)

        entry = torch.cat((self.entry(x), self.entry_pool(x)), dim=1)
        fine, fine_indices = self.down1(entry)
        fine = self.stage1(fine)
        deep, deep_indices = self.down2(fine)
        deep = self.stage3(self.stage2(deep))

        unpooled = _unpool(deep, deep_indices, fine)
        at_quarter = torch.cat((unpooled, fine), dim=1)
        up = self.stage4(self.up1_act(unpooled + self.up1(at_quarter)))
        unpooled = _unpool(up, fine_indices, entry)
        at_half = self.up2_act(unpooled + self.up2(torch.cat((unpooled, entry), dim=1)))
        logits: Tensor = self.head(self.up3(at_half))

        if self.training and self.deep_supervision:
            half = F.interpolate(self.side_head_half(at_half), scale_factor=2.0)
            quarter = F.interpolate(self.side_head_quarter(at_quarter), scale_factor=4.0)
            logits = torch.stack((logits, half, quarter), dim=1)
        return logits.narrow(-2, 0, size[2]).narrow(-1, 0, size[3])
