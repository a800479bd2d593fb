# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
"""Maximum and smooth maxima of probabilities over bags of pixels.

Source: Wang & Xia, MICCAI 2021, Eq. 6 and 7. The smooth maxima are functions of sums over the bag, so each pixel's
exponentials are taken once, in however many bags it is. Values come as logits and go as logarithms of probabilities, so
that a bag of saturated pixels (``p = 1e-30``) keeps its value and its gradient.

With ``q = 1 - p`` both smooth maxima obey ``1 - M_alpha(p) = M_{-alpha}(q)``: the complement of a smooth maximum is
the smooth *minimum* of the complements. A negative ``alpha`` is therefore all that a negative bag needs.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from monai_bbox_mil.bags.protocol import Bags

__all__ = ["MAX_ALPHA", "SMOOTH_MAXIMA", "log_smooth_max"]

MAX_ALPHA = 50.0
"""Largest sharpness: ``exp(alpha)`` times the pixels of a bag must be a float32. Beyond, ``"max"`` is the same."""


def log_smooth_max(logits: Tensor, bags: Bags, method: str, alpha: float = 4.0) -> Tensor:
    """Logarithm of the (smooth) maximum over each bag of ``p = sigmoid(logits)``; the minimum for a negative ``alpha``.

    Args:
        logits: one finite number per pixel, in the shape that ``bags`` takes. One so small that ``p`` leaves the range
            of its type counts as the smallest that does not (-82 in float32 at ``alpha`` 4) and keeps its gradient.
        bags: which pixels belong together.
        method: a name of :data:`SMOOTH_MAXIMA`; with ``"max"`` only the sign of ``alpha`` counts.
        alpha: sharpness, not 0, at most 50 in size.

    Returns:
        ``(M,)`` logarithms, at most 0 up to rounding.

    Raises:
        ValueError: for an unknown method or an ``alpha`` out of range.

    Example:
        >>> from monai_bbox_mil.bags import BoxPatches, CrossingLines
        >>> patches = BoxPatches(torch.tensor([[[0., 0, 1, 2, 0]]]), (1, 1, 1, 2), torch.device("cpu"))
        >>> rows_and_columns = CrossingLines(patches, [0])  # one row of two pixels, two columns of one
        >>> logits = torch.tensor([0.1, 0.9]).logit()[patches.pixel]
        >>> log_smooth_max(logits, rows_and_columns, "alpha_softmax", 4.0).exp()
        tensor([0.1000, 0.9000, 0.8687])
        >>> log_smooth_max(logits, rows_and_columns, "alpha_quasimax", 4.0).exp()
        tensor([0.1000, 0.9000, 0.7367])
    """
    if not 0 < abs(alpha) <= MAX_ALPHA:
        raise ValueError(f"alpha must not be 0, nor larger than {MAX_ALPHA:g} in size, got {alpha}.")
    if method not in SMOOTH_MAXIMA:
        raise ValueError(f"smooth_max must be one of {', '.join(map(repr, SMOOTH_MAXIMA))}, got {method!r}.")
    return SMOOTH_MAXIMA[method](logits, bags, alpha)


def _log_alpha_softmax(logits: Tensor, bags: Bags, alpha: float) -> Tensor:
    """Eq. 6."""
    p = _without_underflow(logits, alpha).sigmoid()
    weight = (alpha * p).exp()
    sums = bags.sum(torch.complex(p * weight, weight))
    return sums.real.log() - sums.imag.log()


def _log_alpha_quasimax(logits: Tensor, bags: Bags, alpha: float) -> Tensor:
    """Eq. 7, ``log(mean(e^(alpha p))) / alpha``.

    By expm1 and log1p where the mean is near 1, or small p would be lost; directly where it is near 0, which only a
    negative alpha can make it.
    """
    p = _without_underflow(logits, alpha).sigmoid()
    excess = torch.expm1(alpha * p)
    if alpha > 0:
        return (torch.log1p(bags.sum(excess) / bags.size) / alpha).log()
    sums = bags.sum(torch.complex(excess, (alpha * p).exp())) / bags.size
    near_1 = sums.real > -0.5
    log_mean = torch.where(near_1, torch.log1p(sums.real.where(near_1, 0.0)), sums.imag.log())
    return (log_mean / alpha).log()


def _log_max(logits: Tensor, bags: Bags, alpha: float) -> Tensor:
    """The maximum itself, or the minimum."""
    return logsigmoid(bags.max(logits) if alpha > 0 else -bags.max(-logits))


def _without_underflow(logits: Tensor, alpha: float) -> Tensor:
    """Raise logits until ``p e^(alpha p)`` is a number, by a constant, which keeps the gradient."""
    floor = math.log(torch.finfo(logits.dtype).tiny) + 5 + max(0.0, -alpha)
    return logits + (logits.detach().clamp(min=floor) - logits.detach())


SMOOTH_MAXIMA: dict[str, Callable[[Tensor, Bags, float], Tensor]] = {
    "alpha_softmax": _log_alpha_softmax,
    "alpha_quasimax": _log_alpha_quasimax,
    "max": _log_max,
}
"""Ways to join the pixels of a bag, by the name that the losses take. A new one is a function and a row."""
