# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
"""The interface that every kind of bag offers, which is all that a smooth maximum needs."""

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
        """Sum one real or complex number per pixel over each bag; returns ``(M,)``."""

    def max(self, values: Tensor) -> Tensor:
        """Find the largest of the real ``values`` in each bag; returns ``(M,)``."""
