# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
"""From where an annotation's boxes stand in its own space to where they lie in the image as it is now."""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import torch
from torch import Tensor

from monai_bbox_mil.boxes import clip_boxes, snap_boxes
from monai_bbox_mil.transforms.box_geometry import ImageFrame, boxes_to_world, edge_affine, enclosing_boxes, map_points
from monai_bbox_mil.transforms.box_records import FileBox, Source

__all__ = ["image_columns", "matrix_to_image", "place_boxes", "short_place"]


def short_place(box: FileBox, file: Source) -> str:
    """Where a box stands in its annotation, without the annotation's name."""
    return box.place.removeprefix(f"{file.name}, ")


def image_columns(frame: ImageFrame) -> list[int]:
    """Columns of a 3D box that the image has axes for."""
    return [*range(frame.dims), *range(3, 3 + frame.dims)]


def matrix_to_image(space: str, file: Source) -> Tensor:
    """Matrix ``(4, 4)`` from the annotation's space to the edges of the image's voxels as they are now."""
    frame = file.frame
    to_image = torch.linalg.inv(edge_affine(frame.affine))
    if space == "index":
        to_image = to_image @ edge_affine(file.original_affine())
    return to_image


def place_boxes(found: Sequence[FileBox], space: str, file: Source) -> tuple[Tensor, Tensor]:
    """Boxes ``(N', 2*D)`` float32 in the image as it is now, and ``(N,)`` bool, which of ``found`` are left."""
    frame, to_image = file.frame, matrix_to_image(space, file)
    if not found:
        return torch.zeros(0, 2 * frame.dims), torch.zeros(0, dtype=torch.bool)
    corners = torch.stack([box.corners for box in found])
    _check_not_fractions(corners, found, space, file)
    _check_inside_original(corners, found, space, file)
    boxes, _ = clip_boxes(enclosing_boxes(map_points(corners, to_image)), frame.shape)
    # Rounding may leave a box that ends where the crop begins a sliver thinner than what snapping forgives.
    snapped = snap_boxes(boxes)
    kept = (snapped[:, :3] < snapped[:, 3:]).all(dim=1)
    if not kept.all():
        lost = [short_place(box, file) for box, keep in zip(found, kept.tolist(), strict=True) if not keep]
        warnings.warn(
            f"{file.name}: {len(lost)} of {len(found)} boxes lie outside of {frame.name}, now "
            f"{frame.shape[: frame.dims]} voxels after cropping, and are dropped: {', '.join(lost)}.",
            stacklevel=3,
        )
    return boxes[kept][:, image_columns(frame)].float(), kept


def _check_not_fractions(corners: Tensor, found: Sequence[FileBox], space: str, file: Source) -> None:
    """Refuse parts of the image's size given as voxels: no object is a part of one voxel."""
    plane, shape = corners[..., :2], file.frame.original_shape
    if space == "index" and plane.max() <= 1 and (plane % 1 != 0).any() and shape is not None and min(shape[:2]) > 1:
        given = [round(value, 4) for value in enclosing_boxes(corners)[0].tolist()]
        raise ValueError(
            f"{found[0].place}: expected corners in voxels, got boxes that all lie in the first voxel of "
            f"{file.frame.name}, such as {given}; fractions of the image's size are read from YOLO files only."
        )


def _check_inside_original(corners: Tensor, found: Sequence[FileBox], space: str, file: Source) -> None:
    """Refuse boxes that lie outside of the image even as it is in its file: their coordinates mean something else."""
    frame = file.frame
    if frame.original_shape is None or frame.original_affine is None:
        return
    to_file = torch.eye(4, dtype=torch.float64)
    if space == "world":
        to_file = torch.linalg.inv(edge_affine(frame.original_affine))
    _, inside = clip_boxes(enclosing_boxes(map_points(corners, to_file)), frame.original_shape)
    if inside.all():
        return
    first = int((~inside).nonzero()[0])
    given = [round(value, 3) for value in enclosing_boxes(corners)[first].tolist()]
    if space == "world":
        whole = torch.tensor([[0, 0, 0, *frame.original_shape]])
        extent = boxes_to_world(whole, frame.original_affine)[0]
        where = f"which spans {[round(value, 3) for value in extent.tolist()]} mm RAS"
        unit = "mm RAS"
    else:
        where = f"which has {frame.original_shape[: frame.dims]} voxels"
        unit = "voxels"
        given = [*given[: frame.dims], *given[3 : 3 + frame.dims]]
    raise ValueError(
        f"{found[first].place}: expected a box that meets {frame.name}, {where} in its file, got {given} {unit} "
        "(min, then max); is the coordinate system right?"
    )
