# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
"""An error for second derivatives of losses that compute their gradient together with their value."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

__all__ = ["refuse_second_derivative"]


def refuse_second_derivative(gradient: Tensor, input: Tensor) -> Tensor:
    """Return ``gradient`` unchanged, but raise an error when it is differentiated with respect to ``input``.

    ``torch.autograd.function.once_differentiable`` is not enough: when the incoming gradient is a constant, it silently
    treats ``gradient`` as a constant too.

    Raises:
        RuntimeError: when the result is differentiated.
    """
    return _Refuse.apply(gradient, input) if torch.is_grad_enabled() and input.requires_grad else gradient


class _Refuse(torch.autograd.Function):
    @staticmethod
    def forward(gradient: Tensor, input: Tensor) -> Tensor:
        return gradient.view_as(gradient)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor], output: Tensor) -> None:
        pass

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor]:
        raise RuntimeError(
            "This loss cannot be differentiated twice, because it computes its gradient together with its value. "
            "For a second derivative use another loss, or finite differences of this loss's gradient."
        )
