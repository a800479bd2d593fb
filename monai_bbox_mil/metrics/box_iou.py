# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
"""Agreement of a prediction's tight boxes with the given boxes, a quality measure that needs no mask."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from monai.metrics import CumulativeIterationMetric
from torch import Tensor

from monai_bbox_mil.boxes import boxes_to_mask
from monai_bbox_mil.transforms import MaskToBoxTensor

__all__ = ["BoxIoUMetric", "box_region_iou"]


def box_region_iou(pred: Tensor, box_tensor: Tensor, slice_dim: int | None = None) -> Tensor:
    """Compute the intersection over union of the prediction's tight boxes and the given boxes.

    The predicted region is the union of the tight boxes around the prediction's components. The given region is the
    union of the given boxes. Ignored regions belong to neither.

    Args:
        pred: ``(C, *spatial)`` binary prediction of one image.
        box_tensor: ``(N, 2*D + 1)`` given boxes.
        slice_dim: axis along which a volume's boxes were drawn slice by slice; ``None`` for boxes of whole volumes.

    Returns:
        ``(C,)`` IoU, NaN for a class that is neither predicted nor given.

    Example:
        >>> pred = torch.zeros(1, 4, 4)
        >>> pred[0, 0, :2] = 1
        >>> box_region_iou(pred, torch.tensor([[0.0, 0, 2, 2, 0]]))
        tensor([0.5000])
    """
    shape, num_classes = pred.shape[1:], len(pred)
    found = MaskToBoxTensor(slice_dim=slice_dim)(pred.bool().to(torch.uint8))
    box_tensor = torch.as_tensor(box_tensor).as_subclass(Tensor).cpu()
    given = boxes_to_mask(box_tensor[None], shape, num_classes)[0].flatten(1)
    ignored = boxes_to_mask(box_tensor[None], shape, num_classes, ignored=True)[0].flatten(1) & ~given
    predicted = boxes_to_mask(found[None], shape, num_classes)[0].flatten(1) & ~ignored
    union = (predicted | given).sum(1)
    return torch.where(union > 0, (predicted & given).sum(1) / union.clamp(min=1), torch.nan)


class BoxIoUMetric(CumulativeIterationMetric):
    """Mean :func:`box_region_iou` over images, for each class and threshold.

    Args:
        thresholds: probabilities at or above which a pixel is predicted.
        slice_dim: see :func:`box_region_iou`.

    Raises:
        ValueError: if there is no threshold, or one is outside ``[0, 1]``.

    Example:
        >>> metric = BoxIoUMetric(thresholds=(0.3, 0.7))
        >>> prob = torch.zeros(1, 1, 4, 4)
        >>> prob[..., :2, :2], prob[..., 0, 0] = 0.5, 0.9
        >>> _ = metric(prob, torch.tensor([[[0.0, 0, 2, 2, 0]]]))
        >>> metric.aggregate()
        tensor([[1.0000, 0.2500]])
    """

    def __init__(self, thresholds: Sequence[float] = (0.5,), slice_dim: int | None = None) -> None:
        super().__init__()
        self.thresholds = tuple(thresholds)
        if not self.thresholds or not all(0 <= threshold <= 1 for threshold in self.thresholds):
            raise ValueError(f"thresholds must be one or more numbers in [0, 1], got {self.thresholds}.")
        self.slice_dim = slice_dim

    def _compute_tensor(self, y_pred: Tensor, y: Tensor | None = None, **kwargs: Any) -> Tensor:
        """Score probabilities ``(B, C, *spatial)`` against boxes ``(B, N_max, 2*D + 1)``; returns ``(B, C, T)``."""
        if y is None or y.ndim != 3 or len(y) != len(y_pred):
            raise ValueError(f"y must be a box tensor (B, N, 2*D + 1), got {None if y is None else tuple(y.shape)}.")
        y_pred = y_pred.detach().as_subclass(Tensor).float().cpu()
        scores = [
            [box_region_iou(prob >= threshold, boxes, self.slice_dim) for threshold in self.thresholds]
            for prob, boxes in zip(y_pred, y)
        ]
        return torch.stack([torch.stack(s, dim=-1) for s in scores])

    def aggregate(self) -> Tensor:
        """Average over the images in which the class is predicted or given.

        Returns:
            ``(C, T)`` means, NaN where there is no such image.

        Raises:
            ValueError: if the metric was not called since the last reset.
        """
        buffer = self.get_buffer()
        if buffer is None:
            raise ValueError("BoxIoUMetric must be called on at least one batch before aggregate(), got none.")
        return torch.nanmean(buffer, dim=0)
