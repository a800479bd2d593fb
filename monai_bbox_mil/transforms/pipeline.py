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
from collections.abc import Iterator, Sequence
from types import FrameType
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

__all__ = ["BoxMaskTrait", "DeformationGuard", "refuse_lost_origin"]

_DEFORMATIONS = (
    *(Rand2DElasticd, Rand3DElasticd, GridDistortiond, RandGridDistortiond, RandSmoothDeformd),
    *(GridPatchd, GridSplitd, RandGridPatchd),
)


class BoxMaskTrait:
    """Marks transforms between boxes and masks: a mask follows any deformation that it is given to."""


class DeformationGuard:
    """Refuses deformations of an image around a transform that makes its boxes, once per pipeline.

    Args:
        image_key: key of the image.
        before: whether a deformation before the transform counts too: it does for boxes from files, which speak of the
            image as stored.
    """

    def __init__(self, image_key: str, before: bool = False) -> None:
        self.image_key = image_key
        self.before = before
        self._passed: list[Any] = []

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "_passed": []}  # else each copy of a transform would be one of its whole pipeline

    def check(self, transform: Any) -> None:
        """Raise if the image is deformed where boxes cannot follow.

        Args:
            transform: the one that is running and asks.

        Raises:
            ValueError: naming the deformation and what to do.
        """
        running = list(_running())
        pipelines = [steps for steps, _ in running]
        if len(pipelines) == len(self._passed) and all(a is b for a, b in zip(pipelines, self._passed, strict=True)):
            return
        before, after = _neighbours(running)
        name = type(transform).__name__
        earlier = next(filter(self._deforms, before), None) if self.before else None
        if earlier is not None:
            raise ValueError(
                f"{name}: boxes from files cannot follow {self.image_key!r} through {type(earlier).__name__}, which "
                "deforms it and leaves no trace in its affine. Load the boxes before it, turn them into a mask "
                "(PackBoxesd, BoxTensorToMaskd), deform image and mask together, and box the mask (MaskToBoxTensord)."
            )
        # Boxes that become a mask, or are cut from one again, follow it.
        converted = any(isinstance(step, (BoxMaskTrait, BoxToMaskd, MaskToBoxd)) for step in after)
        later = None if converted else next(filter(self._deforms, after), None)
        if later is not None:
            raise ValueError(
                f"{name}: boxes cannot follow {self.image_key!r} through {type(later).__name__}, which comes later and "
                f"deforms it. Make the boxes after {type(later).__name__}, from a mask that goes through it together "
                f"with {self.image_key!r} (MaskToBoxTensord; boxes become a mask by BoxTensorToMaskd)."
            )
        self._passed = pipelines

    def _deforms(self, step: Any) -> bool:
        return isinstance(step, _DEFORMATIONS) and self.image_key in step.keys and getattr(step, "prob", 1) != 0


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
    before, _ = _neighbours(list(_running()))
    if any(isinstance(step, (LoadImaged, LoadCheckedImaged)) and image_key in step.keys for step in before):
        raise ValueError(
            f"{type(transform).__name__}: {image_key!r} was loaded from a file, but has lost its name and "
            "affine, without which boxes cannot be placed. Give PersistentDataset (or its kin) track_meta=True and "
            "weights_only=False, leave out track_meta=False of transforms before this one, or move "
            f"{type(transform).__name__} and PackBoxesd before the first random transform."
        )


def _running() -> Iterator[tuple[Any, Any]]:
    """List the steps of the running pipelines from the innermost out, and the step that each is at."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        if frame.f_code is execute_compose.__code__:
            yield frame.f_locals["transforms"], frame.f_locals["_transform"]
        frame = frame.f_back


def _neighbours(running: Sequence[tuple[Any, Any]]) -> tuple[list[Any], list[Any]]:
    """Return the transforms before and after the running one, in all pipelines that it is part of."""
    before: list[Any] = []
    after: list[Any] = []
    for steps, current in running:
        number = next((i for i, step in enumerate(steps) if step is current), None)
        if number is None:  # MONAI runs a copy of it
            number = next((i for i, step in enumerate(steps) if type(step) is type(current)), 0)
        before = [*_flat(steps[:number]), *before]
        after = [*after, *_flat(steps[number + 1 :])]
    return before, after


def _flat(steps: Any) -> Iterator[Any]:
    """List the transforms of a pipeline, and one by one those of pipelines inside it."""
    for step in steps:
        if inner := getattr(step, "transforms", None):
            yield from _flat(inner)
        else:
            yield step
