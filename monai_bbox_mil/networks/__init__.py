# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
"""The two networks of the paper; every other architecture comes from :mod:`monai.networks.nets`."""

from __future__ import annotations

from .enet import ENet
from .residual_unet import ResidualUNet

__all__ = ["ENet", "ResidualUNet"]
