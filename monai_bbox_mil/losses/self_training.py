# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
"""Self-training from boxes: a teacher's prediction becomes the label, cut at the level that reaches all sides of a box.

A bag loss asks for one high pixel per line and says nothing about the rest of the box. Probabilities then fall off
slowly from the middle of the object, and no single threshold is right for all boxes. The box determines the right one:
the highest level at which the region reaches every side. The level is found in the prediction of a teacher, whose
weights are the running mean of the network's weights (Tarvainen & Valpola, NeurIPS 2017). The network then learns the
pixels at or above the level as object, and all others as background.

Where the teacher has learned nothing yet, the region is the ellipse that touches the four sides. Few objects fill the
corners of their boxes, and most fill about as much of the box as an ellipse does.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.modules.loss import _Loss

from monai_bbox_mil.bags import BoxBands
from monai_bbox_mil.losses.dice_cross_entropy import dice_cross_entropy
from monai_bbox_mil.losses.inputs import check_inputs, reduce_classes
from monai_bbox_mil.losses.options import check_core, check_not_negative, check_option

__all__ = ["BoxSelfTrainingLoss", "box_level_set", "box_self_training_loss"]


def box_level_set(logits: Tensor, target: Tensor, roundness: float = 2.0, core: float = 1.0) -> Tensor:
    """Find the pixels of each box at or above the highest level at which the region reaches all sides of the box.

    A pixel's height is ``logit + roundness * (1 - r^2)``. ``r`` is its distance from the middle of the box in units of
    the half axes, so ``r = 1`` on the inscribed ellipse (ellipsoid). The region begins to touch a side at the height of
    the highest pixel in the box's outermost row (column, slice). The level is the lowest of these heights.

    Args:
        logits: ``(B, C, *spatial)``.
        target: ``(B, N_max, 2*D + 1)`` box tensor on the host; the corners are whole voxels inside the image.
        roundness: weight of the prior belief that objects are round; 0 relies on the logits alone.
        core: for loose boxes, the share of the rows (columns, slices), taken from the middle, that the region must
            reach. ``floor(n (1 - core) / 2)`` of ``n`` rows are left out on either side, as in
            :class:`~monai_bbox_mil.bags.CrossingLines`. The default 1 uses all rows, for tight boxes.

    Returns:
        ``(B, C, *spatial)``, 1 in the level sets and 0 elsewhere, without gradient.

    Raises:
        ValueError: if an option is out of range, or the shapes do not match.

    Example:
        >>> box = torch.tensor([[[0.0, 0, 4, 4, 0]]])
        >>> box_level_set(torch.zeros(1, 1, 4, 4), box)[0, 0]  # no prediction yet
        tensor([[0., 1., 1., 0.],
                [1., 1., 1., 1.],
                [1., 1., 1., 1.],
                [0., 1., 1., 0.]])
        >>> logits = torch.tensor([[[[0.8, 0.2, 0.9], [0.6, 0.1, 0.0]]]])
        >>> box_level_set(logits, torch.tensor([[[0.0, 0, 2, 2, 0]]]), 0.0)[0, 0]  # reached at 0.8, 0.6, 0.8 and 0.2
        tensor([[1., 1., 0.],
                [1., 0., 0.]])
    """
    return _level_set(logits, BoxBands(target, logits.shape, 1, logits.device), roundness, core)


def _level_set(logits: Tensor, rows: BoxBands, roundness: float, core: float) -> Tensor:
    check_not_negative(roundness=roundness)
    check_core(core)
    label = torch.zeros_like(logits.detach()).flatten()
    height = logits.detach().flatten().index_select(0, rows.pixel) + roundness * (1 - rows.squared_radius)
    reached = rows.depth == ((1 - core) / 2 * rows.per_axis).floor()
    sides = rows.max(height)[reached]
    level = sides.new_full((rows.num_boxes,), float("inf")).scatter_reduce(0, rows.box[reached], sides, "amin")
    label[rows.pixel[height >= level.index_select(0, rows.box_of_pixel)]] = 1
    return label.view_as(logits)


def box_self_training_loss(
    logits: Tensor,
    teacher: Tensor,
    target: Tensor,
    roundness: float = 2.0,
    core: float = 1.0,
    outside_weight: float = 5.0,
) -> Tensor:
    """Compute Dice plus cross-entropy against the :func:`box_level_set` of a teacher's prediction.

    The Dice term is the mean over the images of ``1 - 2 sum(p y) / (sum p + sum y)``, where ``y`` is the level set. The
    weighted cross-entropy is averaged over the pixels of each image, then over the images. Pixels that only ignored
    regions cover are left out.

    Args:
        logits: ``(B, C, *spatial)``.
        teacher: ``(B, C, *spatial)`` logits of the teacher for the same images.
        target: ``(B, N_max, 2*D + 1)`` box tensor on the host; the corners are whole voxels inside the image.
        roundness: see :func:`box_level_set`.
        core: see :func:`box_level_set`.
        outside_weight: weight of the cross-entropy outside all boxes, where the label is certain. Inside it is 1.

    Returns:
        ``(C,)`` losses.

    Raises:
        ValueError: if an option is out of range, or the shapes do not match.

    Example:
        >>> target = torch.tensor([[[0.0, 0, 2, 2, 0]]])
        >>> teacher = torch.tensor([[[[1.0, 1, -1], [1, -1, -1]]]])
        >>> [round(box_self_training_loss(scale * teacher, teacher, target).item(), 2) for scale in (9, 1)]
        [0.0, 1.0]
    """
    check_not_negative(outside_weight=outside_weight)
    if teacher.shape != logits.shape:
        raise ValueError(f"teacher must have the shape of logits {tuple(logits.shape)}, got {tuple(teacher.shape)}.")
    rows = BoxBands(target, logits.shape, 1, logits.device)
    label = _level_set(teacher, rows, roundness, core)
    inside, counts = torch.zeros_like(label).flatten(), torch.ones_like(label).flatten()
    inside[rows.pixel] = 1
    counts[rows.ignored_pixel] = 0
    counts = counts.maximum(inside).view_as(label)
    weight = outside_weight + (1 - outside_weight) * inside.view_as(label)
    return dice_cross_entropy(logits, label, counts, weight)


class BoxSelfTrainingLoss(_Loss):
    """A box loss, followed by self-training from a teacher, see :func:`box_self_training_loss`.

    If :attr:`teacher` was set before the call, the loss is ``box_weight * loss + weight * self_training``. Otherwise it
    is ``loss`` alone. Each call uses the teacher up, so validation, and training before there is a teacher, use the box
    loss alone. :class:`monai_bbox_mil.handlers.MeanTeacher` sets the teacher at each step.

    Args:
        loss: box loss that takes logits, such as :class:`~monai_bbox_mil.losses.GeneralizedMILLoss`. Its ``reduction``
            applies to the self-training too.
        weight: weight of the self-training.
        box_weight: weight of ``loss`` once there is a teacher. With 0 it is then no longer computed.
        roundness: weight of the prior belief that objects are round, see :func:`box_level_set`.
        core: for loose boxes, the share of a box's rows that the label must reach, see :func:`box_level_set`.
        outside_weight: weight of pixels outside all boxes in the self-training, see :func:`box_self_training_loss`.

    Raises:
        ValueError: if an option is out of range. When called: if input, target and teacher do not match.

    Example:
        >>> from monai_bbox_mil.losses import GeneralizedMILLoss
        >>> loss = BoxSelfTrainingLoss(GeneralizedMILLoss())
        >>> logits, target = torch.zeros(1, 1, 8, 8), torch.tensor([[[1.0, 1, 4, 4, 0]]])
        >>> alone = loss(logits, target)
        >>> loss.teacher = torch.randn(1, 1, 8, 8)
        >>> bool(loss(logits, target) > alone), sorted(loss.parts)
        (True, ['loss', 'self_training'])
    """

    teacher: Tensor | None
    """``(B, C, *spatial)`` logits of the teacher for the images of the next call."""
    parts: dict[str, Tensor]
    """``(C,)`` terms of the latest call, detached: the box loss's parts and ``self_training``, where they were
    computed, and the total ``loss``."""

    def __init__(
        self,
        loss: nn.Module,
        weight: float = 1.0,
        box_weight: float = 0.0,
        roundness: float = 2.0,
        core: float = 1.0,
        outside_weight: float = 5.0,
    ) -> None:
        check_not_negative(weight=weight, box_weight=box_weight, outside_weight=outside_weight, roundness=roundness)
        check_core(core)
        super().__init__(reduction=check_option("reduction", getattr(loss, "reduction", "mean")))
        self.loss = loss
        self.weight = weight
        self.box_weight = box_weight
        self.roundness = roundness
        self.core = core
        self.outside_weight = outside_weight
        self.teacher = None
        self.parts = {}

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        """Compute the loss of logits ``input`` ``(B, C, *spatial)`` for the box tensor ``(B, N_max, 2*D + 1)``."""
        teacher, self.teacher = self.teacher, None
        if teacher is None or not self.weight:
            return self._box_loss(input, target, 1.0)
        if teacher.shape != input.shape:
            raise ValueError(f"teacher must have the shape of input {tuple(input.shape)}, got {tuple(teacher.shape)}.")
        logits, boxes = check_inputs(input, target, sigmoid=True)
        teacher = teacher.detach().to(logits)
        with torch.autocast(logits.device.type, enabled=False):
            per_class = box_self_training_loss(logits, teacher, boxes, self.roundness, self.core, self.outside_weight)
        total = self.weight * reduce_classes(per_class, self.reduction)
        if self.box_weight:
            total = total + self._box_loss(input, target, self.box_weight)
        else:
            self.parts = {}
        self.parts["self_training"] = per_class.detach()
        self.parts["loss"] = self.parts.get("loss", 0) + self.weight * per_class.detach()
        return total

    def _box_loss(self, input: Tensor, target: Tensor, weight: float) -> Tensor:
        value: Tensor = self.loss(input, target)
        self.parts = dict(getattr(self.loss, "parts", {}))
        if "loss" in self.parts:
            self.parts["loss"] = weight * self.parts["loss"]
        return weight * value
