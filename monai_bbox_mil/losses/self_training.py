# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
"""Self-training from boxes: the level set of a teacher's prediction that fits a box is the label of its pixels.

A loss of bags asks for one high pixel a line and is silent about the rest of the box, so that probabilities fall off
slowly from the middle of the object and no threshold is right for all boxes. The box tells the right one: the level at
which the region just reaches the box's sides. What lies above it, in the prediction of a teacher whose weights are the
running mean of the network's (Tarvainen & Valpola, NeurIPS 2017), is taught as object, all else as background.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits
from torch.nn.modules.loss import _Loss

from monai_bbox_mil.bags import BoxBands
from monai_bbox_mil.losses.inputs import check_inputs, check_option, reduce_classes

__all__ = ["BoxSelfTrainingLoss", "box_level_set", "box_self_training_loss"]

_LEVELS = (0.15, 0.85)  # beyond them a box's prediction says too little to learn from
_SMOOTH = 1e-5


def box_level_set(prob: Tensor, target: Tensor) -> Tensor:
    """Pixels of each box at or above the level at which they reach its sides, on average over the sides.

    The highest pixel of a box's outermost row (column, slice) tells at which level the region begins to touch that
    side; the level is the mean over the sides, at least 0.15 and at most 0.85.

    Args:
        prob: ``(B, C, *spatial)`` probabilities.
        target: ``(B, N_max, 2*D + 1)`` box tensor on the host, corners whole voxels inside the image.

    Returns:
        ``(B, C, *spatial)``, 1 in the level sets and 0 elsewhere, without gradient.

    Example:
        >>> prob = torch.tensor([[[[0.8, 0.2, 0.9], [0.6, 0.1, 0.0]]]])
        >>> box_level_set(prob, torch.tensor([[[0.0, 0, 2, 2, 0]]]))[0, 0]  # sides at 0.8, 0.6, 0.8, 0.2: level 0.6
        tensor([[1., 0., 0.],
                [1., 0., 0.]])
    """
    bands = BoxBands(target, prob.shape, 1, prob.device)
    label = torch.zeros_like(prob.detach()).flatten()
    inside = prob.detach().flatten().index_select(0, bands.pixel)
    sides, box = bands.max(inside)[bands.outermost], bands.box[bands.outermost]
    total, count = (sides.new_zeros(bands.num_boxes).index_add(0, box, t) for t in (sides, torch.ones_like(sides)))
    level = (total / count).clamp(*_LEVELS)
    label[bands.pixel[inside >= level.index_select(0, bands.box_of_pixel)]] = 1
    return label.view_as(prob)


def box_self_training_loss(logits: Tensor, teacher: Tensor, target: Tensor) -> Tensor:
    """Dice and cross-entropy loss against the level sets of a teacher's prediction that fit the boxes.

    ``mean(1 - 2 sum(p y) / (sum p + sum y))`` over the images plus the mean cross-entropy over their pixels, with ``y``
    the :func:`box_level_set` of the teacher. Pixels that only ignored regions cover do not count.

    Args:
        logits: ``(B, C, *spatial)``.
        teacher: ``(B, C, *spatial)`` logits of the teacher for the same images.
        target: ``(B, N_max, 2*D + 1)`` box tensor on the host, corners whole voxels inside the image.

    Returns:
        ``(C,)``.

    Example:
        >>> target = torch.tensor([[[0.0, 0, 2, 2, 0]]])
        >>> teacher = torch.tensor([[[[1.0, 1], [1, -1]]]])
        >>> [round(box_self_training_loss(scale * teacher, teacher, target).item(), 3) for scale in (9, 1)]
        [0.0, 0.51]
    """
    label = box_level_set(teacher.sigmoid(), target)
    prob, pixels = logits.sigmoid(), tuple(range(2, logits.ndim))
    cross_entropy = binary_cross_entropy_with_logits(logits, label, reduction="none")
    number = torch.tensor(logits[0, 0].numel(), device=logits.device)
    if (target[..., -1] < -1).any():
        bands = BoxBands(target, logits.shape, 1, logits.device)
        counts = torch.ones_like(label).flatten()
        counts[bands.ignored_pixel] = 0
        counts[bands.pixel] = 1
        counts = counts.view_as(label)
        prob, cross_entropy, number = prob * counts, cross_entropy * counts, counts.sum(pixels).clamp(min=1)
    both, either = (prob * label).sum(pixels), (prob + label).sum(pixels)
    dice = 1 - (2 * both + _SMOOTH) / (either + _SMOOTH)
    return (dice + cross_entropy.sum(pixels) / number).mean(0)


class BoxSelfTrainingLoss(_Loss):
    """A loss from boxes, and beside it self-training from a teacher, see :func:`box_self_training_loss`.

    ``loss + weight * self_training``, the latter only in a call before which :attr:`teacher` was set: it is used once
    and forgotten, so that validation, and training before there is a teacher, are the box loss's own.
    :class:`monai_bbox_mil.handlers.MeanTeacher` sets it at each step.

    Args:
        loss: such as :class:`~monai_bbox_mil.losses.GeneralizedMILLoss`, whose ``reduction`` is taken over; one that
            takes logits.
        weight: of the self-training.

    Raises:
        ValueError: for a weight below 0, when made; for input, target and teacher that do not fit, when called.

    Example:
        >>> from monai_bbox_mil.losses import GeneralizedMILLoss
        >>> loss = BoxSelfTrainingLoss(GeneralizedMILLoss())
        >>> logits, target = torch.zeros(1, 1, 8, 8), torch.tensor([[[1.0, 1, 4, 4, 0]]])
        >>> alone = loss(logits, target)
        >>> loss.teacher = torch.randn(1, 1, 8, 8)
        >>> bool(loss(logits, target) > alone), sorted(loss.parts)
        (True, ['loss', 'pairwise', 'self_training', 'unary'])
    """

    teacher: Tensor | None
    """``(B, C, *spatial)`` logits of the teacher for the images of the next call."""
    parts: dict[str, Tensor]
    """Per class, detached, from the latest call: the box loss's parts, ``self_training`` if any, and ``loss``."""

    def __init__(self, loss: nn.Module, weight: float = 1.0) -> None:
        if weight < 0:
            raise ValueError(f"weight must be at least 0, got {weight}.")
        super().__init__(reduction=check_option("reduction", getattr(loss, "reduction", "mean")))
        self.loss = loss
        self.weight = weight
        self.teacher = None
        self.parts = {}

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        """Loss of logits ``input`` ``(B, C, *spatial)`` given the box tensor ``target`` ``(B, N_max, 2*D + 1)``."""
        teacher, self.teacher = self.teacher, None
        total = self.loss(input, target)
        self.parts = dict(getattr(self.loss, "parts", {}))
        if teacher is None or not self.weight:
            return total
        if teacher.shape != input.shape:
            raise ValueError(f"teacher must have the shape of input {tuple(input.shape)}, got {tuple(teacher.shape)}.")
        logits, boxes = check_inputs(input, target, sigmoid=True)
        with torch.autocast(logits.device.type, enabled=False):
            per_class = box_self_training_loss(logits, teacher.detach().to(logits), boxes)
        self.parts["self_training"] = per_class.detach()
        if "loss" in self.parts:
            self.parts["loss"] = self.parts["loss"] + self.weight * per_class.detach()
        return total + self.weight * reduce_classes(per_class, self.reduction)
