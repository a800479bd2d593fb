# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
"""Maximum and smooth maxima of probabilities over bags of pixels.

Source: Wang & Xia, MICCAI 2021, Eq. 6 and 7. The smooth maxima are functions of sums over the bag, so the exponentials
of a pixel are computed once, no matter how many bags contain it. The input is logits and the output is logarithms of
probabilities, so that a bag of saturated pixels (``p = 1e-30``) keeps its value and its gradient.

With ``q = 1 - p`` both smooth maxima obey ``1 - M_alpha(p) = M_{-alpha}(q)``: the complement of a smooth maximum is
the smooth *minimum* of the complements. A negative bag therefore only needs a negative ``alpha``.
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
"""Largest sharpness: ``exp(alpha)`` times the number of pixels in a bag must fit a float32.

Above it, a smooth maximum is practically equal to ``"max"``.
"""


def log_smooth_max(logits: Tensor, bags: Bags, method: str, alpha: float = 4.0) -> Tensor:
    """Compute the logarithm of the (smooth) maximum of ``p = sigmoid(logits)`` over each bag.

    A negative ``alpha`` gives the (smooth) minimum instead.

    Args:
        logits: one finite number per pixel, in the shape that ``bags`` takes. A logit whose ``p`` would underflow is
            raised to the smallest one whose ``p`` does not (-82 in float32 at ``alpha`` 4) and keeps its gradient.
        bags: which pixels belong together.
        method: a key of :data:`SMOOTH_MAXIMA`; ``"max"`` uses only the sign of ``alpha``.
        alpha: sharpness, not 0, between -50 and 50.

    Returns:
        ``(M,)`` logarithms of probabilities, one per bag; at most 0 up to rounding.

    Raises:
        ValueError: if ``method`` is unknown or ``alpha`` is out of range.

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
        raise ValueError(f"alpha must be between -{MAX_ALPHA:g} and {MAX_ALPHA:g} and not 0, got {alpha}.")
    if method not in SMOOTH_MAXIMA:
        raise ValueError(f"smooth_max must be one of {', '.join(map(repr, SMOOTH_MAXIMA))}, got {method!r}.")
    return SMOOTH_MAXIMA[method](logits, bags, alpha)


def _log_alpha_softmax(logits: Tensor, bags: Bags, alpha: float) -> Tensor:
    """Compute ``log(sum(p e^(alpha p)) / sum(e^(alpha p)))``, Eq. 6."""
    p = _without_underflow(logits, alpha).sigmoid()
    weight = (alpha * p).exp()
    sums = bags.sum(torch.complex(p * weight, weight))
    return sums.real.log() - sums.imag.log()


def _log_alpha_quasimax(logits: Tensor, bags: Bags, alpha: float) -> Tensor:
    """Compute the logarithm of ``log(mean(e^(alpha p))) / alpha``, Eq. 7.

    Where the mean is near 1, ``expm1`` and ``log1p`` preserve small ``p``. Where it is near 0, which only happens for a
    negative ``alpha``, the logarithm is taken directly.
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
    """Compute the logarithm of the exact maximum, or of the minimum for a negative ``alpha``."""
    return logsigmoid(bags.max(logits) if alpha > 0 else -bags.max(-logits))


def _without_underflow(logits: Tensor, alpha: float) -> Tensor:
    """Raise logits by a constant, which keeps the gradient, until ``p e^(alpha p)`` no longer underflows."""
    floor = math.log(torch.finfo(logits.dtype).tiny) + 5 + max(0.0, -alpha)
    return logits + (logits.detach().clamp(min=floor) - logits.detach())


SMOOTH_MAXIMA: dict[str, Callable[[Tensor, Bags, float], Tensor]] = {
    "alpha_softmax": _log_alpha_softmax,
    "alpha_quasimax": _log_alpha_quasimax,
    "max": _log_max,
}
"""Ways to join the pixels of a bag, by the name that the losses take.

To add one, write a function and add a row here.
"""
