# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
"""Pairwise smoothness of the prediction (Wang & Xia, MICCAI 2021, Eq. 3)."""

from __future__ import annotations

from itertools import product
from typing import Any

import torch
from torch import Tensor
from torch.nn.modules.loss import _Loss

from monai_bbox_mil.bags import BoxPatches
from monai_bbox_mil.losses.inputs import check_inputs, reduce_classes
from monai_bbox_mil.losses.options import PAIRWISE_REGIONS, check_option
from monai_bbox_mil.losses.process_mean import mean_over_processes
from monai_bbox_mil.losses.second_derivative import refuse_second_derivative

__all__ = ["BoxPairwiseLoss", "box_pairwise_loss"]


def box_pairwise_loss(logits: Tensor, target: Tensor, region: str = "box", sync_normalizer: bool = False) -> Tensor:
    """Compute the mean squared difference of neighbouring probabilities for each class (Eq. 3).

    The mean is over all ordered pairs ``(k, k')`` of neighbours inside the image, 8 per pixel in 2D and 26 in 3D. The
    pixel ``k`` is in a box of the class (``region="box"``) or anywhere (``region="image"``).

    Args:
        logits: ``(B, C, *spatial)``.
        target: ``(B, N_max, 2*D + 1)`` box tensor on the host; the corners are whole voxels inside the image.
        region: ``"box"`` or ``"image"``, the pixels ``k`` to use.
        sync_normalizer: whether to divide by the mean number of pairs over all ranks, see
            :func:`~monai_bbox_mil.losses.process_mean.mean_over_processes`.

    Returns:
        ``(C,)``, each in ``[0, 1]``; 0 for a class without pairs. It can be differentiated once.

    Raises:
        ValueError: if ``region`` is unknown, or the shapes do not match.

    Example:
        >>> logits = torch.tensor([[[[-50.0, 50.0, 50.0]]]])
        >>> box_pairwise_loss(logits, torch.tensor([[[0.0, 1, 1, 3, 0]]]))
        tensor([0.3333])
        >>> box_pairwise_loss(logits, torch.tensor([[[0.0, 1, 1, 3, 0]]]), region="image")
        tensor([0.5000])
    """
    check_option("pairwise_region", region, PAIRWISE_REGIONS)
    if region == "image":
        batch, num_classes, *spatial = logits.shape
        whole = torch.tensor([[0, 0, 0][: len(spatial)] + spatial + [c] for c in range(num_classes)])
        target = whole.expand(batch, -1, -1)
    patches = BoxPatches(target, logits.shape, logits.device)
    return mean_square_of_pairs(patches.gather(logits).sigmoid(), patches, sync_normalizer)


def mean_square_of_pairs(prob: Tensor, patches: BoxPatches, sync_normalizer: bool = False) -> Tensor:
    """Compute :func:`box_pairwise_loss` ``(C,)`` from the probability of each slot of the boxes, ignored ones left out.

    Args:
        prob: ``(num_box_slots,)`` probabilities.
        patches: the boxes.
        sync_normalizer: see :func:`box_pairwise_loss`.
    """
    means: Tensor = _MeanSquareOfPairs.apply(prob, patches, sync_normalizer)[0]
    return means


class _MeanSquareOfPairs(torch.autograd.Function):
    """Value and gradient in one pass, which visits each pair once for both of its pixels."""

    @staticmethod
    def forward(prob: Tensor, patches: BoxPatches, sync_normalizer: bool) -> tuple[Tensor, Tensor]:
        slope = torch.zeros_like(prob)
        sums: list[list[Tensor]] = [[prob.new_zeros(())] for _ in range(2 * patches.shape[1])]
        # The weight is 1 for a pixel in a box, 0 for another pixel and -2 outside the image. The two weights of a pair
        # add up to the number of its orders, (k, k') and (k', k), that are in the mean; a negative sum means none.
        slots = slice(0, len(prob))
        weight = patches.counted[slots].add(patches.in_image[slots], alpha=2).sub_(2).to(prob.dtype)
        for strip in patches.strips:
            p, w, s = (t[strip.first : strip.last] for t in (prob, weight, slope))
            difference, count = torch.empty_like(p), torch.empty_like(p)
            dims = len(strip.strides)
            for offset in product((-1, 0, 1), repeat=dims):
                if offset <= (0,) * dims:
                    continue
                away = sum(o * stride for o, stride in zip(offset, strip.strides))
                d = torch.sub(p[away:], p[:-away], out=difference[away:])
                c = torch.add(w[away:], w[:-away], out=count[away:]).clamp_(min=0)
                sums[2 * strip.channel].append(c.sum())
                c *= d
                sums[2 * strip.channel + 1].append(torch.dot(c, d))
                s[away:] += c
                s[:-away] -= c
        number, total = torch.stack([torch.stack(parts).sum() for parts in sums]).view(-1, 2).unbind(1)
        if sync_normalizer:
            number = mean_over_processes(number, number.dtype)
        number = number.where(number > 0, 1)
        return total / number, patches.scale_slots_by_class(slope, 2 / number)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, BoxPatches, bool], output: tuple[Tensor, Tensor]) -> None:
        ctx.mark_non_differentiable(output[1])
        ctx.save_for_backward(inputs[0], output[1])
        ctx.patches = inputs[1]

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:
        prob, slope = ctx.saved_tensors
        return refuse_second_derivative(ctx.patches.scale_slots_by_class(slope, grads[0]), prob), None, None


class BoxPairwiseLoss(_Loss):
    """Pairwise smoothness of a network's output in its boxes or the whole image, see :func:`box_pairwise_loss`.

    Args:
        region: ``"box"`` for pairs that start in a box of the class, as in the published results, or ``"image"`` for
            all pairs, as in the paper's text.
        sigmoid: true if ``input`` is logits, false if it is probabilities.
        reduction: how to reduce the classes: ``"mean"``, ``"sum"`` (the paper's Eq. 4) or ``"none"``.

    Raises:
        ValueError: if an option is unknown. When called: if input and target do not match.

    Example:
        >>> from monai_bbox_mil.losses import BoxPairwiseLoss
        >>> target = torch.tensor([[[1.0, 1.0, 3.0, 3.0, 0.0]]])  # one box of class 0
        >>> BoxPairwiseLoss()(torch.zeros(1, 1, 4, 4), target)
        tensor(0.)
    """

    def __init__(self, region: str = "box", sigmoid: bool = True, reduction: str = "mean") -> None:
        check_option("region", region, PAIRWISE_REGIONS)
        super().__init__(reduction=check_option("reduction", reduction))
        self.region = region
        self.sigmoid = sigmoid

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        """Compute the loss of ``input`` ``(B, C, *spatial)`` for the box tensor ``target`` ``(B, N_max, 2*D + 1)``."""
        logits, target = check_inputs(input, target, self.sigmoid)
        with torch.autocast(logits.device.type, enabled=False):
            return reduce_classes(box_pairwise_loss(logits, target, self.region), self.reduction)
