# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
"""The batches on which losses are timed, and the losses to compare."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import torch
from monai.losses import DiceFocalLoss
from torch import Tensor

from monai_bbox_mil.boxes import boxes_to_mask
from monai_bbox_mil.losses import GeneralizedMILLoss, GlobalConstraintLoss

PIXEL_WISE = "DiceFocalLoss"
OURS = "alpha_softmax"
WIDE_ANGLES = (-60, 60, 30)


class Case(NamedTuple):
    what: str
    shape: tuple[int, ...]
    boxes: int
    """Boxes per class and image."""
    size: tuple[int, int]
    """Smallest and largest side of a box, in pixels."""
    goal: float
    """Largest time and largest memory, relative to the pixel-wise loss."""
    options: dict[str, Any] = {}
    all_systems: bool = False


CASES = {
    "P": Case("16 images of 256x256, one large box", (16, 1, 256, 256), 1, (60, 110), 1.0, {}, True),
    "A": Case("80 images of 208x256, three small boxes", (80, 1, 208, 256), 3, (6, 40), 1.0,
              {"angles_deg": WIDE_ANGLES}, True),
    "M": Case("4 images of 512x512, 50 small boxes each, 200 in all", (4, 1, 512, 512), 50, (8, 32), 1.5),
    "M4": Case("4 images of 512x512, 200 small boxes each, 800 in all", (4, 1, 512, 512), 200, (8, 32), 1.5),
    "V": Case("2 volumes of 96x96x96, four boxes each", (2, 1, 96, 96, 96), 4, (16, 48), 1.5),
    "C": Case("8 images of 256x256, 8 classes, three boxes per class", (8, 8, 256, 256), 3, (20, 80), 1.2),
}  # fmt: skip

SYSTEMS: dict[str, Callable[..., torch.nn.Module]] = {
    OURS: GeneralizedMILLoss,
    "alpha_quasimax": partial(GeneralizedMILLoss, smooth_max="alpha_quasimax"),
    "max": partial(GeneralizedMILLoss, smooth_max="max"),
    "MIL baseline": lambda **_: GeneralizedMILLoss("max", angles_deg=(0,), unary="bce", negatives="lines"),
    "global constraint": lambda **_: GlobalConstraintLoss(),  # a case's options are angles, which it does not use
}
OTHER_SYSTEMS_GOAL = 1.5


def random_boxes(shape: tuple[int, ...], boxes: int, size: tuple[int, int], seed: int) -> Tensor:
    """Return a box tensor with ``boxes`` boxes per class and image, uniform in side and position."""
    generator = torch.Generator().manual_seed(seed)
    batch, classes, *spatial = shape
    sides = torch.randint(size[0], size[1] + 1, (batch, classes * boxes, len(spatial)), generator=generator)
    room = torch.tensor(spatial) - sides
    low = (torch.rand(sides.shape, generator=generator) * (room + 1)).floor().long()
    channel = torch.arange(classes).repeat_interleave(boxes).expand(batch, -1)[..., None]
    return torch.cat([low, low + sides, channel], dim=-1).float()


def batch_of(case: Case, device: str, seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    """Return logits, box tensor, and the mask for the pixel-wise loss (the filled boxes)."""
    box_tensor = random_boxes(case.shape, case.boxes, case.size, seed)
    mask = boxes_to_mask(box_tensor, case.shape[2:], case.shape[1]).float()
    logits = torch.randn(case.shape, generator=torch.Generator().manual_seed(seed))
    return logits.to(device).requires_grad_(), box_tensor.to(device), mask.to(device)


def contenders(case: Case, device: str, seed: int = 0) -> dict[str, Callable[[], None]]:
    """Return functions for the forward and backward pass of the pixel-wise loss and of ours, on the same logits."""
    logits, box_tensor, mask = batch_of(case, device, seed)

    def both_passes(loss: torch.nn.Module, target: Tensor) -> Callable[[], None]:
        def run() -> None:
            logits.grad = None
            loss(logits, target).backward()

        return run

    systems = SYSTEMS if case.all_systems else {OURS: SYSTEMS[OURS]}
    return {
        PIXEL_WISE: both_passes(DiceFocalLoss(sigmoid=True), mask),
        **{name: both_passes(make(**case.options), box_tensor) for name, make in systems.items()},
    }
