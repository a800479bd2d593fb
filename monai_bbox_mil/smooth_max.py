# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
"""Maximum and smooth maxima of probabilities over bags of pixels.

Source: Wang & Xia, MICCAI 2021, Eq. 6 and 7. The smooth maxima are functions of sums over the bag, so each pixel's
exponentials are computed once, however many bags the pixel is in. The input is logits and the output is logarithms of
probabilities, so that a bag of saturated pixels (``p = 1e-30``) keeps its value and its gradient.

With ``q = 1 - p``, both smooth maxima satisfy ``1 - M_alpha(p) = M_{-alpha}(q)``: the complement of a smooth maximum is
the smooth *minimum* of the complements. A negative bag therefore needs nothing but a negative ``alpha``.
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
"""Largest sharpness. ``exp(alpha)`` times the number of pixels in a bag must fit into a float32. Beyond this value the
smooth maxima equal ``"max"``."""


def log_smooth_max(logits: Tensor, bags: Bags, method: str, alpha: float = 4.0) -> Tensor:
    """Compute the logarithm of the (smooth) maximum of ``p = sigmoid(logits)`` over each bag.

    A negative ``alpha`` gives the minimum.

    Args:
        logits: one finite number per pixel, in the shape that ``bags`` takes. A logit so small that ``p`` would
            underflow is replaced by the smallest logit that does not (-82 in float32 at ``alpha`` 4). It keeps its
            gradient.
        bags: which pixels belong together.
        method: a name from :data:`SMOOTH_MAXIMA`. With ``"max"`` only the sign of ``alpha`` matters.
        alpha: sharpness; not 0, and between -50 and 50.

    Returns:
        ``(M,)`` logarithms, at most 0 up to rounding.

    Raises:
        ValueError: if the method is unknown or ``alpha`` is out of range.

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
    """Compute Eq. 6."""
    p = _without_underflow(logits, alpha).sigmoid()
    weight = (alpha * p).exp()
    sums = bags.sum(torch.complex(p * weight, weight))
    return sums.real.log() - sums.imag.log()


def _log_alpha_quasimax(logits: Tensor, bags: Bags, alpha: float) -> Tensor:
    """Compute Eq. 7, ``log(mean(e^(alpha p))) / alpha``.

    Where the mean is near 1, use expm1 and log1p, because rounding would lose a small p. Where the mean is near 0,
    which happens only for a negative alpha, use the formula as written.
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
    """Compute the exact maximum, or the minimum for a negative ``alpha``."""
    return logsigmoid(bags.max(logits) if alpha > 0 else -bags.max(-logits))


def _without_underflow(logits: Tensor, alpha: float) -> Tensor:
    """Raise very small logits until ``p e^(alpha p)`` no longer underflows.

    The difference is added as a constant, so the gradient stays.
    """
    floor = math.log(torch.finfo(logits.dtype).tiny) + 5 + max(0.0, -alpha)
    return logits + (logits.detach().clamp(min=floor) - logits.detach())


SMOOTH_MAXIMA: dict[str, Callable[[Tensor, Bags, float], Tensor]] = {
    "alpha_softmax": _log_alpha_softmax,
    "alpha_quasimax": _log_alpha_quasimax,
    "max": _log_max,
}
"""Ways to combine the pixels of a bag, by the name that the losses accept. To add one, write a function and a row."""
