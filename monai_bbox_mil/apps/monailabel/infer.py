# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
"""Prediction on a MONAI Label server: for a whole image, or inside a box that the user drew."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from monai.data import MetaTensor
from monai.transforms.transform import Transform
from monailabel.interfaces.exception import MONAILabelError, MONAILabelException
from monailabel.interfaces.tasks.infer_v2 import InferTask, InferType
from monailabel.tasks.infer.bundle import BundleInferTask

from monai_bbox_mil.apps.monailabel.bundle import Bundle
from monai_bbox_mil.apps.monailabel.datalist import BOX_TAG
from monai_bbox_mil.apps.monailabel.requests import infer_request
from monai_bbox_mil.losses import box_level_set
from monai_bbox_mil.transforms import PackBoxes, ThresholdClassesd
from monai_bbox_mil.transforms.mask_files import label_dtype

__all__ = ["BoxPrompt", "BoxInferTask", "roi_to_box"]


def roi_to_box(roi: Sequence[float], spatial_shape: Sequence[int]) -> torch.Tensor:
    """Return the box tensor ``(1, 2*D + 1)`` of a region of interest as a viewer sends it.

    Args:
        roi: ``[x, x, y, y, z, z]``, one pair of voxel numbers per axis. A pair is reversed where the image's axis runs
            against the viewer's. A pair of equal numbers means one voxel. Without the last pair, all slices are meant.
        spatial_shape: of the image.

    Raises:
        MONAILabelException: when the number of values is wrong, or the box lies outside of the image.

    Example:
        >>> roi_to_box([5, 2, 1, 1, 0, 3], (8, 8, 8))
        tensor([[2., 1., 0., 5., 2., 3., 0.]])
    """
    dims = len(spatial_shape)
    if len(roi) not in (2 * dims, 4) or dims < 2:
        raise MONAILabelException(
            MONAILabelError.INVALID_INPUT, f"roi must have {2 * dims} numbers, a pair per axis, got {list(roi)}."
        )
    pairs = [sorted(map(float, roi[i : i + 2])) for i in range(0, len(roi), 2)]
    pairs += [[0.0, float(size)] for size in spatial_shape[len(pairs) :]]
    corners = torch.tensor([[low for low, _ in pairs] + [max(high, low + 1) for low, high in pairs]])
    box = PackBoxes()(corners, torch.zeros(1), spatial_shape)
    if not len(box):
        raise MONAILabelException(
            MONAILabelError.INVALID_INPUT,
            f"roi must lie in the image of {tuple(spatial_shape)} voxels, got {list(roi)}.",
        )
    return box


class BoxPrompt(Transform):
    """Replace the threshold: keep the largest region of a prediction that fits a box, see :func:`.box_level_set`.

    Args:
        roi: see :func:`roi_to_box`.
        channel: of the class that was drawn.
        value: of that class in the mask.
        roundness: as in training.
    """

    def __init__(self, roi: Sequence[float], channel: int, value: int, roundness: float = 2.0) -> None:
        self.roi = roi
        self.channel = channel
        self.value = value
        self.roundness = roundness

    def __call__(self, data: Mapping[str, Any]) -> dict[str, Any]:
        """Turn probabilities ``(C, *spatial)`` in ``pred`` into a label map ``(1, *spatial)``."""
        pred: MetaTensor = data["pred"]
        prob = pred.as_tensor()[self.channel].float().cpu()
        limits = torch.finfo(prob.dtype)
        logits = torch.logit(prob.clamp(limits.tiny, 1 - limits.eps))[None, None]
        region = box_level_set(logits, roi_to_box(self.roi, prob.shape)[None], self.roundness)[0]
        return {**data, "pred": MetaTensor(self.value * region.to(label_dtype(self.value)), meta=pred.meta)}


class _BundleTask(BundleInferTask):
    """MONAI Label's own task, with strict loading of weights; a box prompt replaces the threshold."""

    def __init__(self, bundle: Bundle, conf: dict[str, str], type: InferType) -> None:
        super().__init__(str(bundle.root), conf, type=type, load_strict=True)
        self.bundle = bundle

    def post_transforms(self, data: dict[str, Any] | None = None) -> Sequence[Callable[..., Any]]:
        transforms = list(super().post_transforms(data))
        if self.type != InferType.DEEPGROW:
            return transforms
        if not data or not data.get("roi"):
            raise MONAILabelException(
                MONAILabelError.INVALID_INPUT, "roi is missing: draw a box around the object, or use the segmentation."
            )
        names = list(self.bundle.labels)
        name = data.get("label") or names[0]
        if name not in names:
            raise MONAILabelException(MONAILabelError.INVALID_INPUT, f"label must be one of {names}, got {name!r}.")
        prompt = BoxPrompt(data["roi"], names.index(name), self.bundle.labels[name])
        return [prompt if isinstance(t, ThresholdClassesd) else t for t in transforms]


class BoxInferTask(InferTask):
    """Prediction with the bundle's latest weights.

    Args:
        bundle: the source of weights, threshold and preprocessing; the first two are read again after each training.
        conf: of the server.
        type: ``SEGMENTATION``, or ``DEEPGROW`` for the region that fits the box in the parameter ``roi``.
    """

    def __init__(self, bundle: Bundle, conf: dict[str, str], type: InferType = InferType.SEGMENTATION) -> None:
        metadata = bundle.metadata
        dimension = 3  # whole volumes go in and come out, whether the network sees slices or volumes
        super().__init__(type, bundle.labels, dimension, metadata["description"])
        self.bundle = bundle
        self.conf = conf
        self._task: _BundleTask | None = None

    def is_valid(self) -> bool:
        """Return true always: before the first training, the answer to a request says what to do."""
        return True

    def get_path(self, validate: bool = True) -> str | None:
        """Return the path of the weights."""
        return None if validate and not self.bundle.model.is_file() else str(self.bundle.model)

    def task(self) -> _BundleTask:
        """Return the task that predicts; it notices by itself when new weights are written.

        Raises:
            MONAILabelException: before the first training.
        """
        if not self.bundle.model.is_file():
            raise MONAILabelException(
                MONAILabelError.INFERENCE_ERROR,
                f"There is no trained model yet ({self.bundle.model}). Save boxes under the label tag '{BOX_TAG}' and "
                f"start a training.",
            )
        if self._task is None:
            self._task = _BundleTask(self.bundle, self.conf, self.type)
        return self._task

    def __call__(self, request: dict[str, Any]) -> tuple[str | None, dict[str, Any]]:
        """Return the path of the mask, and the other fields of the answer.

        Raises:
            MONAILabelException: before the first training, and for an invalid parameter.
        """
        result: tuple[str | None, dict[str, Any]] = self.task()(infer_request(request))
        return result
