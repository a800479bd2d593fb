# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
"""Map boxes from their annotation's own space to the image as it is now."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence

import torch
from torch import Tensor

from monai_bbox_mil.annotations.frame import ImageFrame
from monai_bbox_mil.annotations.geometry import box_corners, boxes_to_world, edge_affine, enclosing_boxes, map_points
from monai_bbox_mil.annotations.interface import Annotation
from monai_bbox_mil.annotations.records import BoxError, FileBox
from monai_bbox_mil.boxes import clip_boxes, snap_boxes

__all__ = [
    "boxes_in_image",
    "image_columns",
    "matrix_to_image",
    "place_boxes",
    "short_place",
    "turned_corners",
    "volume_corners",
]

_STRAIGHT = 1e-6


def short_place(box: FileBox, annotation: Annotation) -> str:
    """Return where a box is in its annotation, without the annotation's name."""
    return box.place.removeprefix(f"{annotation.name}, ")


def image_columns(frame: ImageFrame) -> list[int]:
    """Return the columns of a 3D box for which the image has axes."""
    return [*range(frame.dims), *range(3, 3 + frame.dims)]


def matrix_to_image(space: str, annotation: Annotation) -> Tensor:
    """Return the matrix ``(4, 4)`` from the annotation's space to the edges of the image's voxels as they are now."""
    frame = annotation.frame
    to_image: Tensor = torch.linalg.inv(edge_affine(frame.affine))
    if space == "index":
        to_image = to_image @ edge_affine(annotation.original_affine())
    return to_image


def boxes_in_image(corners: Tensor, to_image: Tensor) -> Tensor:
    """Return the boxes ``(N, 6)`` in the image around corners ``(N, 8, 3)`` in the annotation's space; both float64.

    Slices may be shifted against each other in their planes, as in a series with a tilted gantry. The box then covers
    the pixels at the slices' centres, half a slice inside of its ends, because the ends are shifted further.

    Example:
        >>> sheared = torch.eye(4, dtype=torch.float64)
        >>> sheared[0, 2] = 0.5
        >>> boxes_in_image(box_corners(torch.tensor([[2, 2, 0, 4, 4, 1]])), sheared).tolist()
        [[2.25, 2.0, 0.0, 4.25, 4.0, 1.0]]
    """
    boxes = enclosing_boxes(map_points(corners, to_image))
    if to_image[2, :2].abs().max() > _STRAIGHT or to_image[:2, 2].abs().max() <= _STRAIGHT:
        return boxes
    depths = corners[..., 2]
    low, high = depths.amin(dim=1, keepdim=True), depths.amax(dim=1, keepdim=True)
    inward = torch.minimum(0.5 / to_image[2, 2].abs(), (high - low) / 2)
    inside = torch.stack([*corners[..., :2].unbind(-1), depths.clamp(low + inward, high - inward)], dim=-1)
    in_plane = enclosing_boxes(map_points(inside, to_image))
    boxes[:, [0, 1, 3, 4]] = in_plane[:, [0, 1, 3, 4]]
    return boxes


def place_boxes(found: Sequence[FileBox], space: str, annotation: Annotation) -> tuple[Tensor, Tensor]:
    """Return boxes ``(N', 2*D)`` float32 in the image as it is now, and ``(N,)`` bool, which of ``found`` remain."""
    frame, to_image = annotation.frame, matrix_to_image(space, annotation)
    if not found:
        return torch.zeros(0, 2 * frame.dims), torch.zeros(0, dtype=torch.bool)
    corners = torch.stack([box.corners for box in found])
    _check_not_fractions(corners, found, space, annotation)
    _check_inside_original(corners, found, space, annotation)
    boxes, _ = clip_boxes(boxes_in_image(corners, to_image), frame.shape)
    # Rounding may leave a sliver of a box that ends where the crop begins, thinner than the tolerance of snapping.
    snapped = snap_boxes(boxes)
    kept = (snapped[:, :3] < snapped[:, 3:]).all(dim=1)
    if not kept.all():
        lost = [short_place(box, annotation) for box, keep in zip(found, kept.tolist(), strict=True) if not keep]
        warnings.warn(
            f"{annotation.name}: {len(lost)} of {len(found)} boxes lie outside of {frame.name}, now "
            f"{frame.shape[: frame.dims]} voxels after cropping, and are dropped: {', '.join(lost)}.",
            stacklevel=3,
        )
    return boxes[kept][:, image_columns(frame)].float(), kept


def _check_not_fractions(corners: Tensor, found: Sequence[FileBox], space: str, annotation: Annotation) -> None:
    """Refuse fractions of the image's size given as voxels: no object is smaller than one voxel."""
    plane, shape = corners[..., :2], annotation.frame.original_shape
    if space == "index" and plane.max() <= 1 and (plane % 1 != 0).any() and shape is not None and min(shape[:2]) > 1:
        given = [round(value, 4) for value in enclosing_boxes(corners)[0].tolist()]
        raise ValueError(
            f"{found[0].place}: expected corners in voxels, got boxes that all lie in the first voxel of "
            f"{annotation.frame.name}, such as {given}; fractions of the image's size are read from YOLO files only."
        )


def _check_inside_original(corners: Tensor, found: Sequence[FileBox], space: str, annotation: Annotation) -> None:
    """Refuse boxes that lie outside of the image even in its file: their coordinates must mean something else."""
    frame = annotation.frame
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


def volume_corners(low: Sequence[float], high: Sequence[float], space: str, place: str, frame: ImageFrame) -> Tensor:
    """Return the corners of a box in a file; a 2D box gets its third axis from the image's only slice.

    Args:
        low: 2 or 3 minima, in voxels of the image's file or in mm.
        high: as many maxima.
        space: ``"index"`` or ``"world"``.
        place: position of the box in the file, for messages.
        frame: of the image.

    Returns:
        ``(8, 3)`` float64, in the same unit.

    Raises:
        ValueError: for a box without extent, or with a number of axes that does not suit the image.

    Example:
        >>> from monai.data import MetaTensor
        >>> from monai_bbox_mil.annotations.frame import image_frame
        >>> frame = image_frame(MetaTensor(torch.zeros(1, 8, 9)))
        >>> volume_corners([1, 2], [5, 6], "index", "box[0]", frame)[-1]
        tensor([5., 6., 1.], dtype=torch.float64)
    """
    low, high = list(low), list(high)
    if not all(a < b for a, b in zip(low, high, strict=True)):
        message = f"{place}: expected min < max on every axis, got min {low} and max {high}."
        raise BoxError(message, "min_not_below_max")
    if len(low) == 2:
        if not frame.is_flat:
            raise ValueError(
                f"{place}: a 2D box needs an image of one slice, or the slice's number, got {frame.name} "
                f"with {frame.shape} voxels."
            )
        ends = (0.0, float((frame.original_shape or frame.shape)[2])) if space == "index" else frame.plane_mm
        if ends is None:
            raise ValueError(f"{place}: a 2D box in world coordinates needs an axial slice, which {frame.name} is not.")
        low, high = [*low, ends[0]], [*high, ends[1]]
    elif frame.dims == 2 and space == "index":
        raise ValueError(f"{place}: expected a box with 2 axes as {frame.name} has, got 3.")
    elif not frame.has_depth:
        raise ValueError(
            f"{place}: cannot place a 3D box in {frame.name}, a 2D slice of a volume; read the boxes on the volume."
        )
    return box_corners(torch.tensor([[*low, *high]], dtype=torch.float64))[0]


def turned_corners(
    x: float, y: float, width: float, height: float, degrees: float, place: str, frame: ImageFrame
) -> Tensor:
    """Return the corners of a box of a picture that is turned about its centre.

    Args:
        x, y: upper left corner before the turn, pixels of the image's file.
        width, height: pixels.
        degrees: clockwise, as one sees it.
        place: position of the box in the file, for messages.
        frame: of the image.

    Returns:
        ``(8, 3)`` float64, pixels.

    Raises:
        ValueError: for a box without extent, or an image of several slices.

    Example:
        >>> from monai.data import MetaTensor
        >>> from monai_bbox_mil.annotations.frame import image_frame
        >>> corners = turned_corners(4, 8, 8, 2, 90.0, "box[0]", image_frame(MetaTensor(torch.zeros(1, 20, 20))))
        >>> enclosing_boxes(corners[None]).round(decimals=3).tolist()
        [[7.0, 5.0, 0.0, 9.0, 13.0, 1.0]]
    """
    corners = volume_corners([x, y], [x + width, y + height], "index", place, frame)
    if degrees % 360 == 0:
        return corners
    angle = math.radians(degrees)
    # The image's second axis points down, so this matrix turns clockwise on the screen.
    matrix = torch.tensor([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]]).double()
    centre = torch.tensor([x + width / 2, y + height / 2], dtype=torch.float64)
    corners[:, :2] = (corners[:, :2] - centre) @ matrix.T + centre
    return corners
