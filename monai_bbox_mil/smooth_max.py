# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
"""Maximum and smooth maxima of probabilities over ragged bags, in log space.

Source: Wang & Xia, MICCAI 2021, Eq. 6 and 7. All functions take and return logarithms, so that a bag of saturated
pixels (``p = 1e-40``) keeps its value and its gradient.

With ``q = 1 - p`` both smooth maxima obey ``1 - M_alpha(p) = M_{-alpha}(q)``: the complement of a smooth maximum is
the smooth *minimum* of the complements. A negative ``alpha`` is therefore all that a negative bag needs.
"""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor

__all__ = ["SmoothMax", "log_smooth_max"]

SmoothMax = Literal["alpha_softmax", "alpha_quasimax", "max"]


def log_smooth_max(log_x: Tensor, bag: Tensor, num_bags: int, method: SmoothMax, alpha: float = 4.0) -> Tensor:
    """Logarithm of the (smooth) maximum of ``x`` in ``[0, 1]`` over each bag; the minimum for a negative ``alpha``.

    Args:
        log_x: ``(K,)`` logarithms of the values of all bags.
        bag: ``(K,)`` int64 number of each value's bag; every bag has at least one value.
        num_bags: ``M``.
        method: ``"alpha_softmax"`` (Eq. 6), ``"alpha_quasimax"`` (Eq. 7) or ``"max"`` (only the sign of ``alpha``
            counts; equal largest values share the gradient).
        alpha: sharpness, not 0.

    Returns:
        ``(M,)`` logarithms, at most 0 up to rounding.

    Raises:
        ValueError: for an unknown method or ``alpha`` 0.

    Example:
        >>> x, bag = torch.tensor([0.1, 0.9, 0.5]), torch.tensor([0, 0, 1])
        >>> log_smooth_max(x.log(), bag, 2, "max").exp()
        tensor([0.9000, 0.5000])
        >>> log_smooth_max(x.log(), bag, 2, "alpha_softmax", 4.0).exp()
        tensor([0.8687, 0.5000])
        >>> log_smooth_max(x.log(), bag, 2, "alpha_quasimax", 4.0).exp()
        tensor([0.7367, 0.5000])
    """
    if alpha == 0:
        raise ValueError("alpha must not be 0.")
    if method == "max":
        # The start value must never be equal to a pixel: it would take a share of the gradient.
        reduce, start = ("amax", -math.inf) if alpha > 0 else ("amin", math.inf)
        return log_x.new_full((num_bags,), start).scatter_reduce(0, bag, log_x, reduce)
    if method == "alpha_softmax":
        weight = alpha * log_x.exp()
        return _logsumexp(weight + log_x, bag, num_bags) - _logsumexp(weight, bag, num_bags)
    if method == "alpha_quasimax":
        return _log_quasimax(log_x, bag, num_bags, alpha)
    raise ValueError(f"smooth_max must be 'alpha_softmax', 'alpha_quasimax' or 'max', got {method!r}.")


def _log_quasimax(log_x: Tensor, bag: Tensor, num_bags: int, alpha: float) -> Tensor:
    """``log(log(mean(exp(alpha x))) / alpha)`` without cancellation for small ``x``.

    ``expm1(t) = t phi(t)`` gives ``log|mean(expm1(alpha x))| = log|alpha| + logmeanexp(log x + log phi(alpha x))``,
    which is exact however small ``x`` is.
    """
    x = log_x.exp()
    count = torch.zeros_like(x[:1]).expand(num_bags).index_add(0, bag, torch.ones_like(x))
    log_mean = _logsumexp(log_x + _log_phi(alpha * x), bag, num_bags) - count.log() + math.log(abs(alpha))
    if alpha > 0:
        # log(log1p(e^L)) = L - e^L/2 + O(e^2L), needed where e^L vanishes beside 1.
        small = log_mean < -15
        direct = torch.nn.functional.softplus(log_mean.where(~small, 0.0), threshold=50).log()
        return torch.where(small, log_mean - log_mean.where(small, 0.0).exp() / 2, direct) - math.log(alpha)
    # Near x = 1 the mean of expm1(alpha x) approaches -1 and log1p of it loses all digits; the plain formula is exact
    # there.
    small = log_mean < math.log(0.5)
    shrunk = log_mean.where(small, math.log(0.5))
    tiny = shrunk < -15
    near_zero = torch.where(tiny, shrunk + shrunk.exp() / 2, (-torch.log1p(-shrunk.where(~tiny, -1.0).exp())).log())
    plain = count.log() - _logsumexp(alpha * x, bag, num_bags)
    return torch.where(small, near_zero, plain.where(~small, 1.0).log()) - math.log(-alpha)


def _log_phi(t: Tensor) -> Tensor:
    """``log(expm1(t) / t)``, finite for any finite ``t`` and smooth through 0."""
    size = t.abs()
    flat = size < 1e-4
    safe = size.where(~flat, 1.0)
    log_phi_negative = torch.where(flat, -size / 2 + size**2 / 24, (-torch.expm1(-safe) / safe).log())
    return t.clamp(min=0) + log_phi_negative


def _logsumexp(x: Tensor, bag: Tensor, num_bags: int) -> Tensor:
    """``(M,)`` log of the sum of ``exp(x)`` over each bag."""
    top = x.detach().new_zeros(num_bags).scatter_reduce(0, bag, x.detach(), "amax", include_self=False)
    return top + torch.zeros_like(top).index_add(0, bag, (x - top[bag]).exp()).log()
