# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
"""Read box annotations, in a file or inline, as boxes in an image's current index space.

==================  ==============  ===============================================================================
``format``          file            boxes
==================  ==============  ===============================================================================
``"json"``          ``.json``       ``{"box": [[..]], "label": [..], "box_mode": "xyzxyz", "space": "index"}``: any box
                                    mode of MONAI, standard mode if none; ``"space": "world"`` is RAS mm, or LPS mm
                                    with ``"coordinate_system": "LPS"``. A bare list of boxes is read too.
``"coco"``          ``.json``       COCO ``images``, ``annotations`` (``bbox`` as x, y, width, height; for turned ones
                                    see :mod:`~monai_bbox_mil.annotations.coco_corners`), ``categories``
``"label_studio"``  ``.json``       Label Studio tasks: rectangles, also turned ones, polygons, ellipses, brushes
``"slicer"``        ``.mrk.json``   3D Slicer markups of type ROI, LPS mm unless they say RAS, rotated ones too
``"yolo"``          ``.txt``        one line per box, ``class cx cy w h``, or per polygon, ``class x y x y x y ..``, as
                                    fractions of the image's width and height
``"csv"``           ``.csv``        columns ``x_min, y_min, x_max, y_max``, ``z_min, z_max`` or ``slice``, ``label`` or
                                    ``class``, ``image`` and ``case``; between commas, semicolons or tabs
``"cvat"``          ``.xml``        CVAT XML 1.1 for images: boxes, also turned ones, polygons, ellipses, masks
``"dicom"``         ``.dcm``        RTSTRUCT: a box per closed contour; SEG: a box per 4-connected component of each
                                    frame
==================  ==============  ===============================================================================

Several files for one image, such as one per ROI, are given as a list of paths. Their boxes are put together.

Index coordinates are those of the image's file as MONAI loads it (x is axis 0), half-open, before any transform. World
coordinates are continuous edges. DICOM needs the extra ``dicom`` and a volume; for what exactly is read, see
:mod:`monai_bbox_mil.annotations.dicom`.

If a file describes several images (COCO, CVAT, Label Studio, CSV with an image column), an image that it does not
mention is an error. An image without boxes is among the images of COCO or CVAT, has a Label Studio annotation without
regions, or a CSV row without numbers. Where nobody annotated a Label Studio task, its one prediction is read, with a
warning.
:mod:`~monai_bbox_mil.annotations.image_names` says how images are found. Such a file is parsed once, unless it changes.

Regions to ignore are COCO's ``iscrowd`` and ``ignore``, the JSON list ``ignored`` and the CSV column ``ignored``. Text
is UTF-8, or UTF-16 or UTF-32 with a byte order mark. Labels and ids are compared as text, numbers in any spelling.
YOLO class numbers are positions in the names that lie beside the file (``data.yaml``, ``classes.txt`` or ``obj.names``)
if these contain all ``classes``; otherwise in ``classes``, unless these are numbers themselves. The class of a Slicer
ROI is looked up by its ``label``, its ``name``, then its first control point's description and label (without "-1"),
and by the name of its file after that of the image, which comes before a control point's label such as "R-1".
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from monai_bbox_mil.annotations.dicom_series import check_dicom_image
from monai_bbox_mil.annotations.frame import check_can_be_followed, check_has_world, image_frame
from monai_bbox_mil.annotations.geometry import edge_affine, enclosing_boxes, map_points
from monai_bbox_mil.annotations.guard import errors_with_name
from monai_bbox_mil.annotations.interface import MIN_SIZE, Annotation
from monai_bbox_mil.annotations.opening import open_annotation
from monai_bbox_mil.annotations.placing import boxes_in_image, image_columns, matrix_to_image, place_boxes, short_place
from monai_bbox_mil.annotations.records import BoxError, BoxFault, BoxSurvey, FileBox, label_key
from monai_bbox_mil.annotations.values import shown
from monai_bbox_mil.boxes import box_codes

__all__ = ["is_file_list", "read_boxes", "survey_boxes"]


def read_boxes(
    source: str | os.PathLike[str] | Mapping[str, Any] | Sequence[Any] | np.ndarray | Tensor,
    image: Tensor,
    classes: Sequence[str | int] | None = None,
    format: str = "auto",
    min_size: int = MIN_SIZE,
) -> tuple[Tensor, Tensor]:
    """Read box annotations into the index space of the image as it is now.

    Everything that moved the image since it was loaded (``Orientation``, ``Spacing``, crops, flips, ...) is taken from
    its affine. The box's corners are moved, and the result is the box around them. It is exact after flips and turns by
    90 degrees, and the enclosing box where the image or an annotation is oblique. Boxes are clipped to the image. A box
    that a crop removed completely is dropped with a warning.

    Args:
        source: path of a file, or a list of paths, whose boxes are put together; or an annotation in memory: a mapping
            as in the JSON formats, or a list of boxes.
        image: ``MetaTensor`` ``(C, H, W)`` or ``(C, H, W, Z)``. In files that describe several images, it is found by
            the end of ``image.meta["filename_or_obj"]``.
        classes: names or numbers of the classes, in the order of the output channels. With ``None``, labels must be
            0-based channels already; boxes without labels belong to channel 0.
        format: ``"auto"`` to go by extension and content, or a name of the table above.
        min_size: components of a DICOM SEG with fewer pixels in their slice become regions to ignore. The default
            covers single pixels, which segmentation tools often leave behind; with 1, each of them is an object.

    Returns:
        boxes ``(N, 2*D)`` float32, voxels, half-open, not snapped to whole voxels; classes ``(N,)`` int64, as
        the codes of :mod:`monai_bbox_mil.boxes`: a region to ignore, such as a COCO crowd, has ``-2 - class``.

    Raises:
        TypeError: when ``source`` or ``image`` has a wrong type.
        OptionalImportError: for a DICOM SEG without the extra ``dicom``.
        ValueError: when the annotation is malformed, has an unknown class, more than 20,000 boxes for the image, or a
            box outside of the image's file; when the image has lost what is needed to place boxes, or was read from
            DICOM slices that do not form one image. The message names the file and the box.
        OSError: when the file cannot be opened.

    Example:
        >>> from monai.data import MetaTensor
        >>> from monai.transforms import Flip
        >>> image = MetaTensor(torch.zeros(1, 10, 20), meta={"original_affine": torch.eye(4)})
        >>> image = Flip(spatial_axis=0)(image)
        >>> read_boxes({"box": [[1, 2, 4, 6]], "label": ["lesion"]}, image, classes=("lesion",))
        (tensor([[6., 2., 9., 6.]]), tensor([0]))
    """
    boxes, codes = [], []
    for each in _read(source, image, classes, format, min_size):
        placed, kept = place_boxes(each.boxes, each.space, each.annotation)
        boxes.append(placed)
        codes.append(box_codes(torch.tensor(each.channels, dtype=torch.int64), _ignored(each.boxes))[kept])
    return torch.cat(boxes), torch.cat(codes)


def survey_boxes(
    source: str | os.PathLike[str] | Mapping[str, Any] | Sequence[Any] | np.ndarray | Tensor,
    image: Tensor,
    classes: Sequence[str | int] | None = None,
    format: str = "auto",
    min_size: int = MIN_SIZE,
) -> BoxSurvey:
    """Read box annotations as :func:`read_boxes` does, but without refusing, clipping or dropping a box.

    Args:
        source, image, classes, format, min_size: as in :func:`read_boxes`.

    Returns:
        all readable boxes, wherever they lie, and the faults of the others.

    Raises:
        TypeError, ValueError, OSError: as :func:`read_boxes`, when the annotation as a whole is at fault.

    Example:
        >>> from monai.data import MetaTensor
        >>> survey = survey_boxes({"box": [[-1, 2, 4, 9], [5, 1, 5, 2]]}, MetaTensor(torch.zeros(1, 8, 8)))
        >>> survey.boxes.tolist(), [(fault.place, fault.kind) for fault in survey.faults]
        ([[-1.0, 2.0, 4.0, 9.0]], [('box[1]', 'min_not_below_max')])
    """
    faults: list[BoxFault] = []
    sources = _read(source, image, classes, format, min_size, faults)
    spaces = {each.space for each in sources}
    # Files in voxels and files in mm have the voxels of the image's file in common.
    space = spaces.pop() if len(spaces) == 1 else "index"
    found = [box for each in sources for box in each.boxes]
    return BoxSurvey(
        boxes=torch.cat([_boxes_in_image(each) for each in sources]),
        given=torch.cat([enclosing_boxes(_corners_in(each, space)) for each in sources]),
        space=space,
        classes=torch.tensor([channel for each in sources for channel in each.channels], dtype=torch.int64),
        ignored=_ignored(found),
        places=[each.file + short_place(box, each.annotation) for each in sources for box in each.boxes],
        faults=faults,
    )


class _Source(NamedTuple):
    """The boxes of one file or mapping, with their channels and the space of their corners."""

    boxes: list[FileBox]
    channels: list[int]
    space: str
    annotation: Annotation
    file: str
    """Beginning of the places of its boxes: the name of the file if there are several, else empty."""


def _read(
    source: Any,
    image: Tensor,
    classes: Sequence[str | int] | None,
    format: str,
    min_size: int,
    faults: list[BoxFault] | None = None,
) -> list[_Source]:
    """Read each of the files, or the one annotation."""
    if min_size < 1:
        raise ValueError(f"min_size must be at least 1 pixel, got {min_size}.")
    frame = image_frame(image)
    check_dicom_image(frame)
    check_can_be_followed(frame)
    _check_classes(classes)
    channel_names = None if classes is None else tuple(classes)
    several = is_file_list(source)
    found: list[_Source] = []
    for one in source if several else [source]:
        name, found_format, content = open_annotation(one, format, frame.name)
        count = found[-1].annotation.count if found else 0
        mine: list[BoxFault] | None = None if faults is None else []
        annotation = Annotation(name, frame, channel_names, mine, count, min_size)
        with errors_with_name(name, frame.name):
            space, boxes = found_format.read(content, annotation)
        if space == "world":
            check_has_world(frame, name, isinstance(one, (str, os.PathLike)))
        each = _Source([], [], space, annotation, f"{Path(one).name}, " if several else "")
        for box in boxes:
            with annotation.one_box(box.place):
                each.channels.append(_channel(box, annotation))
                each.boxes.append(box)
        found.append(each)
        if faults is not None and mine is not None:
            faults += [fault._replace(place=each.file + fault.place) for fault in mine]
    return found


def is_file_list(source: Any) -> bool:
    """Return whether an annotation is a list of paths, and not a list of boxes.

    Example:
        >>> is_file_list(["a.mrk.json", "b.mrk.json"]), is_file_list([[1, 2, 5, 6]]), is_file_list([])
        (True, False, False)
    """
    return (
        isinstance(source, (list, tuple))
        and bool(source)
        and all(isinstance(one, (str, os.PathLike)) for one in source)
    )


def _corners(source: _Source) -> Tensor:
    return torch.stack([box.corners for box in source.boxes]) if source.boxes else torch.zeros(0, 8, 3).double()


def _corners_in(source: _Source, space: str) -> Tensor:
    """Return corners ``(N, 8, 3)`` in a space, either their own or that of the voxels of the image's file."""
    corners = _corners(source)
    if source.space == space:
        return corners
    return map_points(corners, torch.linalg.inv(edge_affine(source.annotation.original_affine())))


def _boxes_in_image(source: _Source) -> Tensor:
    annotation = source.annotation
    boxes = boxes_in_image(_corners(source), matrix_to_image(source.space, annotation))
    return boxes[:, image_columns(annotation.frame)]


def _check_classes(classes: Sequence[str | int] | None) -> None:
    if isinstance(classes, str):
        raise TypeError(f"classes must be a sequence of names or numbers, got the string {classes!r}.")
    keys = [label_key(name) for name in classes or ()]
    if len(set(keys)) < len(keys):
        raise ValueError(f"classes must differ, as one for each channel, got {tuple(classes or ())}.")


def _ignored(found: Sequence[FileBox]) -> Tensor:
    return torch.tensor([box.ignored for box in found], dtype=torch.bool)


# More digits than this cannot be a channel: torch could not count so far.
_MAX_CHANNEL_DIGITS = 9


def _channel(box: FileBox, annotation: Annotation) -> int:
    """Return the 0-based output channel of a box."""
    if annotation.classes is None:
        key = label_key(box.labels[0]) if box.labels else "0"
        if key.isdecimal() and len(key) <= _MAX_CHANNEL_DIGITS:
            return int(key)
        raise BoxError(
            f"{box.place}: without classes a label must be a 0-based channel, got {shown(box.labels[0])}; "
            "give classes in the order of the channels.",
            "unknown_class",
        )
    known = [label_key(value) for value in annotation.classes]
    for label in box.labels:
        if label_key(label) in known:
            return known.index(label_key(label))
    if not box.labels and len(known) == 1:
        return 0
    got = " or ".join(map(shown, box.labels)) if box.labels else "no label"
    raise BoxError(f"{box.place}: expected one of the classes {annotation.classes}, got {got}.", "unknown_class")
