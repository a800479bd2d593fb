# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
"""What boxes cannot follow, looked up in the pipeline itself because it leaves no trace in the image.

MONAI's elastic and grid deformations change neither the affine of an image nor the list of its transforms, and an image
that lost its meta data looks like one that never had any. Only the transforms around tell, and ``Compose`` gives a
transform no way to ask for them, so the running one is looked up on the call stack. Transforms that run without a
``Compose`` are not seen.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

from monai.apps.detection.transforms.dictionary import BoxToMaskd, MaskToBoxd
from monai.data import MetaTensor
from monai.transforms import (
    GridDistortiond,
    GridPatchd,
    GridSplitd,
    LoadImaged,
    Rand2DElasticd,
    Rand3DElasticd,
    RandGridDistortiond,
    RandGridPatchd,
    RandSmoothDeformd,
)
from monai.transforms.compose import execute_compose
from monai.utils import ImageMetaKey, MetaKeys

from monai_bbox_mil.transforms.loading import LoadCheckedImaged

__all__ = ["BoxMaskTrait", "refuse_deformations_after", "refuse_deformations_before", "refuse_lost_origin"]

_DEFORMATIONS = (
    *(Rand2DElasticd, Rand3DElasticd, GridDistortiond, RandGridDistortiond, RandSmoothDeformd),
    *(GridPatchd, GridSplitd, RandGridPatchd),
)


class BoxMaskTrait:
    """Marks transforms between boxes and masks: a mask follows any deformation that it is given to."""


def refuse_deformations_before(transform: Any, image_key: str) -> None:
    """Raise if an image was deformed before its boxes are read from a file, which speak of the image as stored.

    Args:
        transform: the one that is running and asks.
        image_key: key of the image.

    Raises:
        ValueError: naming the deformation.
    """
    before, _ = _neighbours(transform)
    for step in before:
        if _deforms(step, image_key):
            raise ValueError(
                f"{type(transform).__name__}: boxes from files cannot follow {image_key!r} through "
                f"{type(step).__name__}, which deforms it and leaves no trace in its affine. Load the boxes before it, "
                "turn them into a mask (PackBoxesd, BoxTensorToMaskd), deform image and mask together, and box the "
                "mask again (MaskToBoxTensord)."
            )


def refuse_deformations_after(transform: Any, image_key: str) -> None:
    """Raise if an image is deformed after its boxes were made, unless they become a mask that is boxed again.

    Args:
        transform: the one that is running and asks.
        image_key: key of the image.

    Raises:
        ValueError: naming the deformation.
    """
    _, after = _neighbours(transform)
    deformation = None
    for step in after:
        if isinstance(step, (BoxToMaskd, MaskToBoxd)) or type(step).__name__ in (
            "BoxTensorToMaskd",
            "MaskToBoxTensord",
        ):
            return
        if deformation is None and _deforms(step, image_key):
            deformation = step
    if deformation is not None:
        name = type(deformation).__name__
        raise ValueError(
            f"{type(transform).__name__}: boxes cannot follow {image_key!r} through {name}, which comes later and "
            f"deforms it. Make the boxes after {name}, from a mask that goes through it together with {image_key!r} "
            "(MaskToBoxTensord; boxes become a mask by BoxTensorToMaskd)."
        )


def refuse_lost_origin(transform: Any, image_key: str, image: Any) -> None:
    """Raise if an image was loaded from a file in this pipeline and has since lost where it lies.

    MONAI's ``PersistentDataset`` does so by default: what it reads back from its cache has no meta data, so that from
    the second epoch on boxes would be placed as if the image had never been moved.

    Args:
        transform: the one that is running and asks.
        image_key: key of the image.
        image: the image.

    Raises:
        ValueError: saying what to do.
    """
    known = image.meta if isinstance(image, MetaTensor) else {}
    if ImageMetaKey.FILENAME_OR_OBJ in known or MetaKeys.ORIGINAL_AFFINE in known:
        return
    before, _ = _neighbours(transform)
    if any(isinstance(step, (LoadImaged, LoadCheckedImaged)) and image_key in step.keys for step in before):
        raise ValueError(
            f"{type(transform).__name__}: {image_key!r} was loaded from a file, but has lost its name and "
            "affine, without which boxes cannot be placed. Give PersistentDataset (LMDBDataset, CacheNTransDataset) "
            "track_meta=True, leave out track_meta=False of transforms before this one, or move "
            f"{type(transform).__name__} and PackBoxesd before the first random transform."
        )


def _neighbours(transform: Any) -> tuple[list[Any], list[Any]]:
    """Transforms before and after the running one, in all pipelines that it is part of."""
    before: list[Any] = []
    after: list[Any] = []
    frame = sys._getframe(1)
    while (frame := frame.f_back) is not None:  # type: ignore[assignment]
        if frame.f_code is not execute_compose.__code__:
            continue
        steps, running = frame.f_locals["transforms"], frame.f_locals["_transform"]
        number = next((i for i, step in enumerate(steps) if step is running), None)
        if number is None:  # MONAI runs a copy of it
            number = next((i for i, step in enumerate(steps) if type(step) is type(running)), 0)
        before = [*_flat(steps[:number]), *before]
        after = [*after, *_flat(steps[number + 1 :])]
    return before, after


def _flat(steps: Any) -> Iterator[Any]:
    """The transforms of a pipeline, those of pipelines inside it one by one."""
    for step in steps:
        if inner := getattr(step, "transforms", None):
            yield from _flat(inner)
        else:
            yield step


def _deforms(step: Any, image_key: str) -> bool:
    return isinstance(step, _DEFORMATIONS) and image_key in step.keys and getattr(step, "prob", 1) != 0
