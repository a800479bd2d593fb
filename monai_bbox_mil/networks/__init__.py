# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
"""The two networks of the paper; for all other architectures use :mod:`monai.networks.nets`."""

from __future__ import annotations

from .enet import ENet
from .residual_unet import ResidualUNet

__all__ = ["ENet", "ResidualUNet"]
