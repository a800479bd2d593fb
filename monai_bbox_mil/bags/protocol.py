# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
"""What every kind of bags can do: all that a smooth maximum needs to know of them."""

from __future__ import annotations

from typing import Protocol

from torch import Tensor

__all__ = ["Bags"]


class Bags(Protocol):
    """``M`` bags of pixels; a pixel may be in many bags."""

    @property
    def size(self) -> Tensor:
        """Return the number of pixels of each bag, ``(M,)``."""

    def sum(self, values: Tensor) -> Tensor:
        """Sum one real or complex number per pixel over each bag, ``(M,)``."""

    def max(self, values: Tensor) -> Tensor:
        """Return the largest of the real ``values`` of each bag, ``(M,)``."""
