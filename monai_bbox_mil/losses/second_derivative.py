# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
"""Gradients that were computed together with their value have no derivative of their own."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

__all__ = ["refuse_second_derivative"]


def refuse_second_derivative(gradient: Tensor, input: Tensor) -> Tensor:
    """Return the ``gradient`` of ``input``, and raise an error where it is differentiated by ``input`` once more.

    ``torch.autograd.function.once_differentiable`` is not enough: it takes such a gradient for a constant, without a
    word, when the incoming gradient is one.

    Raises:
        RuntimeError: when differentiated.
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
            "this loss cannot be differentiated twice: it computes its gradient together with its value. "
            "For a second derivative use another loss, or finite differences of this one's gradient."
        )
