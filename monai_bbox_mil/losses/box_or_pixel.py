# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
"""One loss for two kinds of target: box tensors, and pixel labels such as those made from boxes."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.modules.loss import _Loss

from monai_bbox_mil.losses.dice_cross_entropy import dice_cross_entropy
from monai_bbox_mil.losses.inputs import reduce_classes
from monai_bbox_mil.losses.options import check_option
from monai_bbox_mil.pseudo_labels import UNKNOWN

__all__ = ["BoxOrPixelLoss"]


class BoxOrPixelLoss(_Loss):
    """A box loss for box tensors, and Dice + cross-entropy for pixel labels.

    A target in the shape of the input holds pixel labels: 1 in objects, 0 elsewhere, and
    :data:`~monai_bbox_mil.pseudo_labels.UNKNOWN` for pixels without a loss. Any other target goes to ``loss``. So a
    training from boxes can continue with pixel labels made from the boxes
    (:class:`~monai_bbox_mil.handlers.PseudoLabelRounds`), while validation still uses boxes.

    Args:
        loss: box loss that takes logits, such as :class:`~monai_bbox_mil.losses.GeneralizedMILLoss`. Its ``reduction``
            is used for pixel labels too.

    Raises:
        ValueError: in a call, if pixel labels are not 0, 1 or ``UNKNOWN``.

    Example:
        >>> from monai_bbox_mil.losses import GeneralizedMILLoss
        >>> loss = BoxOrPixelLoss(GeneralizedMILLoss())
        >>> logits = torch.zeros(1, 1, 8, 8)
        >>> _ = loss(logits, torch.tensor([[[1.0, 1, 4, 4, 0]]]))
        >>> sorted(loss.parts)
        ['loss', 'pairwise', 'unary']
        >>> _ = loss(logits, torch.ones(1, 1, 8, 8))
        >>> sorted(loss.parts)
        ['loss']
    """

    parts: dict[str, Tensor]
    """Terms per class, detached, from the latest call: the parts of ``loss``, or for pixel labels only ``loss``."""

    def __init__(self, loss: nn.Module) -> None:
        super().__init__(reduction=check_option("reduction", getattr(loss, "reduction", "mean")))
        self.loss = loss
        self.parts = {}

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        """Compute the loss of logits ``input`` ``(B, C, *spatial)`` for box tensors or pixel labels ``target``."""
        if target.shape != input.shape:
            value: Tensor = self.loss(input, target)
            self.parts = dict(getattr(self.loss, "parts", {}))
            return value
        with torch.autocast(input.device.type, enabled=False):
            logits = input if input.dtype == torch.float64 else input.float()
            label = target.as_subclass(Tensor).to(logits)
            known = label != UNKNOWN
            label = label.where(known, 0)
            if (wrong := label[(label != 0) & (label != 1)]).numel():
                raise ValueError(f"target must hold 0, 1 or {UNKNOWN} as pixel labels, got {wrong[0]:g}.")
            per_class = dice_cross_entropy(logits, label, known.to(logits))
        self.parts = {"loss": per_class.detach()}
        return reduce_classes(per_class, self.reduction)
