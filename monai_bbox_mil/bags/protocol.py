# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
"""Protocol of all kinds of bags: what a smooth maximum needs of them."""

from __future__ import annotations

from typing import Protocol

from torch import Tensor

__all__ = ["Bags"]


class Bags(Protocol):
    """``M`` bags of pixels; a pixel may be in many bags."""

    @property
    def size(self) -> Tensor:
        """``(M,)`` number of pixels in each bag."""

    def sum(self, values: Tensor) -> Tensor:
        """Add up real or complex ``values``, one per pixel, over each bag; returns ``(M,)``."""

    def max(self, values: Tensor) -> Tensor:
        """Find the largest of the real ``values``, one per pixel, in each bag; returns ``(M,)``."""
