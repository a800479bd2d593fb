# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
"""Convert boxes between an image's index space and the world.

A half-open index box ``[min, max)`` covers the voxels ``min .. max - 1``. Around their centres, this is the continuous
range ``[min - 0.5, max - 0.5)``. :func:`edge_affine` is the one place that deals with this half voxel.
"""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = [
    "LPS_TO_RAS",
    "box_corners",
    "boxes_from_world",
    "boxes_to_world",
    "edge_affine",
    "enclosing_boxes",
    "map_points",
]

# LPS and RAS differ in the signs of the first two axes, so one matrix converts in both directions.
LPS_TO_RAS = torch.diag(torch.tensor([-1.0, -1.0, 1.0, 1.0], dtype=torch.float64))


def edge_affine(affine: Tensor) -> Tensor:
    """Return the matrix from the corners of half-open index boxes to the world.

    Args:
        affine: ``(D+1, D+1)``, from voxel centres (voxels) to the world (mm).

    Returns:
        ``(D+1, D+1)`` float64.

    Example:
        >>> edge_affine(torch.diag(torch.tensor([2.0, 2.0, 1.0])))[:2, 2]
        tensor([-1., -1.], dtype=torch.float64)
    """
    affine = torch.as_tensor(affine, dtype=torch.float64)
    half_voxel = torch.eye(len(affine), dtype=torch.float64)
    half_voxel[:-1, -1] = -0.5
    return affine @ half_voxel


def box_corners(boxes: Tensor) -> Tensor:
    """Return all corners of boxes.

    Args:
        boxes: ``(N, 2*D)``, in any unit.

    Returns:
        ``(N, 2**D, D)`` float64 in the same unit.

    Example:
        >>> box_corners(torch.tensor([[1, 2, 5, 6]])).tolist()
        [[[1.0, 2.0], [1.0, 6.0], [5.0, 2.0], [5.0, 6.0]]]
    """
    boxes = torch.as_tensor(boxes, dtype=torch.float64)
    dims = boxes.shape[-1] // 2
    which = torch.cartesian_prod(*[torch.arange(2)] * dims)
    ends = boxes.reshape(-1, 2, dims)
    return ends[:, which, torch.arange(dims)]


def enclosing_boxes(corners: Tensor) -> Tensor:
    """Return the smallest axis-aligned boxes ``(N, 2*D)`` around points ``(N, K, D)``, in the same unit.

    Example:
        >>> enclosing_boxes(torch.tensor([[[3.0, 1.0], [0.0, 2.0]]])).tolist()
        [[0.0, 1.0, 3.0, 2.0]]
    """
    return torch.cat([corners.amin(dim=1), corners.amax(dim=1)], dim=-1)


def map_points(points: Tensor, matrix: Tensor) -> Tensor:
    """Move points ``(..., D)`` by a homogeneous matrix ``(D+1, D+1)``; both float64.

    Example:
        >>> map_points(torch.tensor([1.0, 2.0]), torch.tensor([[0.0, 1.0, 5.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]]))
        tensor([7., 1.])
    """
    return points @ matrix[:-1, :-1].T + matrix[:-1, -1]


def boxes_to_world(boxes: Tensor, affine: Tensor) -> Tensor:
    """Return the world extent of index boxes; for an oblique image, the enclosing one.

    Args:
        boxes: ``(N, 2*D)`` half-open index boxes, voxels.
        affine: ``(D+1, D+1)``, from voxel centres to the world.

    Returns:
        ``(N, 2*D)`` float64, mm: continuous edges along the world's axes.

    Example:
        >>> boxes_to_world(torch.tensor([[1, 2, 5, 6]]), torch.diag(torch.tensor([-2.0, 3.0, 1.0]))).tolist()
        [[-9.0, 4.5, -1.0, 16.5]]
    """
    return enclosing_boxes(map_points(box_corners(boxes), edge_affine(affine)))


def boxes_from_world(boxes: Tensor, affine: Tensor) -> Tensor:
    """Return the index boxes around world boxes: the inverse of :func:`boxes_to_world`, unless the image is oblique.

    Args:
        boxes: ``(N, 2*D)``, mm: continuous edges along the world's axes.
        affine: ``(D+1, D+1)``, from voxel centres to the world.

    Returns:
        ``(N, 2*D)`` float64 half-open index boxes, voxels, not yet snapped to whole voxels.

    Example:
        >>> affine = torch.diag(torch.tensor([-2.0, 3.0, 1.0]))
        >>> boxes_from_world(torch.tensor([[-9.0, 4.5, -1.0, 16.5]]), affine).tolist()
        [[1.0, 2.0, 5.0, 6.0]]
    """
    return enclosing_boxes(map_points(box_corners(boxes), torch.linalg.inv(edge_affine(affine))))
