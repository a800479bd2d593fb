# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
"""From logits, images and boxes to pixel labels in one call."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from monai_bbox_mil.boxes import batch_box_tensors, clip_boxes, snap_boxes
from monai_bbox_mil.pseudo_labels.box_fitting import BoxHeights, PseudoLabelFitter
from monai_bbox_mil.pseudo_labels.edge_smoothing import smooth_logits

__all__ = ["fit_pseudo_labels", "whole_voxels"]


def fit_pseudo_labels(
    logits: Tensor,
    images: Tensor,
    target: Tensor,
    fitter: PseudoLabelFitter | None = None,
    sigma: float = 1.5,
    intensity_sigma: float = 0.2,
    spacing: Sequence[float] | None = None,
) -> Tensor:
    """Label the pixels in boxes from a network's logits: smooth them along edges, then fit them to the boxes.

    Args:
        logits: ``(B, C, H, W)`` of consecutive slices of one volume, or ``(B, C, H, W, Z)`` of volumes.
        images: ``(B, channels, *spatial)``, the network's input.
        target: ``(B, N_max, 2*D + 1)`` box tensor. Corners between voxels are snapped outward.
        fitter: fitter that has learned from many images; if ``None``, one learns from these images alone.
        sigma, intensity_sigma, spacing: see :func:`~monai_bbox_mil.pseudo_labels.smooth_logits`.

    Returns:
        ``(B, C, *spatial)`` uint8: 1 in objects, :data:`~monai_bbox_mil.pseudo_labels.UNKNOWN` where only ignored
        regions are, else 0.

    Raises:
        ValueError: if ``target`` does not fit ``logits``, ``images`` have another size, or an option is out of range.

    Example:
        >>> across = torch.linspace(-4, 4, 17)
        >>> images = (across[:, None].square() + across.square() < 9).float()[None, None]  # a disk, 11 pixels wide
        >>> logits = images - 0.2 * across.square()
        >>> labels = fit_pseudo_labels(logits, images, torch.tensor([[[3.0, 3, 14, 14, 0]]]))
        >>> images.sum(), labels.sum(), (labels * images).sum()
        (tensor(109.), tensor(97), tensor(97.))
    """
    boxes = batch_box_tensors([whole_voxels(rows, logits.shape[2:]) for rows in target.detach().cpu()])
    smooth = smooth_logits(logits.detach().float(), images, sigma, intensity_sigma, spacing, boxes)
    heights = BoxHeights.of(smooth, boxes)
    if fitter is None:
        fitter = PseudoLabelFitter(logits.shape[1])
        fitter.learn([heights])
    return fitter.fit(heights)


def whole_voxels(box_tensor: Tensor, spatial_shape: Sequence[int]) -> Tensor:
    """Snap the corners of ``(N, 2*D + 1)`` outward and clip them to the image; boxes outside the image are dropped."""
    boxes, left = clip_boxes(snap_boxes(box_tensor[:, :-1]), spatial_shape)
    return torch.cat([boxes, box_tensor[:, -1:]], 1)[left]
