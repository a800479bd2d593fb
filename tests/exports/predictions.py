# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
"""Predictions that tests of the exports share, and what these tests ask of files."""

from __future__ import annotations

import math

import numpy as np
import torch
from matplotlib.path import Path as Polygon
from monai.data import MetaTensor

from monai_bbox_mil.annotations import read_boxes
from monai_bbox_mil.boxes import snap_boxes
from monai_bbox_mil.exports import Prediction
from monai_bbox_mil.exports.formats import make_exports

CLASSES = ("left ventricle, «Höhle»", "tumour & <rim>")
VALUES = (3, 1001)


def picture(rng: np.random.Generator | None = None) -> np.ndarray:
    """Two classes ``(23, 17)`` that touch: a ring around an object, a pinched hole, single pixels, all four rims."""
    labels = np.zeros((23, 17), dtype=np.int32)
    labels[2:9, 1:9] = VALUES[0]
    labels[4:7, 3:7] = 0
    labels[5, 4:6] = VALUES[1]
    labels[9:13, 2:7] = VALUES[1]
    labels[7, 7] = 0
    labels[14:20, 3:12] = VALUES[0]
    for hole in ((15, 4), (16, 5), (15, 6), (18, 4), (18, 8), (16, 9), (17, 10)):  # some touch over a corner
        labels[hole] = 0
    labels[0, 0] = labels[22, 16] = labels[22, 0] = VALUES[1]
    labels[0, 12:17] = labels[1, 16] = VALUES[0]
    labels[20, 12] = VALUES[0]  # touches the object above over a corner
    if rng is not None:
        noise = rng.random(labels.shape)
        labels = np.where(noise < 0.4, VALUES[0], np.where(noise < 0.8, VALUES[1], 0)).astype(np.int32)
    return labels


def volume() -> np.ndarray:
    """Two classes ``(14, 11, 6)``: bent, touching, single voxels, at the rims."""
    labels = np.zeros((14, 11, 6), dtype=np.int32)
    labels[2:9, 3:7, 1:4] = VALUES[0]
    labels[9:11, 4:9, 2:5] = VALUES[1]
    labels[4, 4:6, 2] = 0
    labels[0, 0, 0] = labels[13, 10, 5] = VALUES[1]
    labels[11:13, 0:2, 0:6] = VALUES[0]
    return labels


EMPTY = np.zeros((14, 11, 6), dtype=np.int32)


def affine(degrees: float = 0.0, flips: tuple[int, ...] = (1, 1, 1), spacing_mm=(0.7, 1.3, 4.0)) -> torch.Tensor:
    """An affine of unequal spacings with an offset, turned about two axes."""
    c, s = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    turn = np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]]) @ np.array([[1, 0, 0], [0, c, s], [0, -s, c]])
    matrix = np.eye(4)
    matrix[:3, :3] = turn * np.array(spacing_mm) * np.array(flips)
    matrix[:3, 3] = (-31.5, 12.25, 107.0)
    return torch.as_tensor(matrix)


AFFINES = {
    "straight": affine(),
    "as DICOM": affine(flips=(-1, -1, 1)),
    "left-handed": affine(flips=(-1, 1, 1)),
    "upside down": affine(flips=(1, 1, -1)),
    "oblique": affine(27.0),
    "oblique and left-handed": affine(-35.0, flips=(1, -1, 1)),
    "axes exchanged": affine()[:, [2, 0, 1, 3]],
}


def as_image(labels: np.ndarray, path, matrix: torch.Tensor | None = None) -> MetaTensor:
    """A label map ``(1, *spatial)`` as the networks' output has it: with the affine and the file of its image."""
    matrix = torch.eye(4, dtype=torch.float64) if matrix is None else matrix
    meta = {"filename_or_obj": str(path), "original_affine": matrix.numpy(), "spatial_shape": np.array(labels.shape)}
    return MetaTensor(torch.as_tensor(labels)[None], affine=matrix, meta=meta)


def probabilities(labels: np.ndarray, seed: int = 0) -> np.ndarray:
    """Probabilities ``(2, *spatial)`` that are high inside each class."""
    inside = np.stack([labels == value for value in VALUES])
    return (0.6 * inside + 0.4 * np.random.default_rng(seed).random(inside.shape)).astype(np.float32)


def predict(labels: np.ndarray, path, matrix: torch.Tensor | None = None, sure: bool = True, classes=CLASSES):
    prob = probabilities(labels) if sure else None
    return Prediction(as_image(labels, path, matrix), VALUES, classes, probabilities=prob)


def export(name, folder, *predictions: Prediction, data_root_dir="") -> None:
    """Write all predictions in one format."""
    (writer,) = make_exports(name, folder, predictions[0].class_names, data_root_dir)
    for each in predictions:
        writer.add(each)
    writer.finish()


def expected_boxes(prediction: Prediction, dims: int | None = None) -> list[list[float]]:
    dims = dims or prediction.dims
    return sorted([*found.low[:dims], *found.high[:dims], found.channel] for found in prediction.objects)


def found_boxes(path, prediction: Prediction, matrix: torch.Tensor | None = None, **options) -> list[list[float]]:
    """Boxes with their classes that our readers find in a file, for the image of a prediction."""
    image = as_image(prediction.labels, prediction.image, matrix)
    boxes, channels = read_boxes(path, image, prediction.class_names, **options)
    return sorted([*box, channel] for box, channel in zip(snap_boxes(boxes).tolist(), channels.tolist(), strict=True))


def filled(polygon: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Fill a polygon ``(K, 2)``: a pixel is inside where its centre is."""
    centres = np.argwhere(np.ones(shape, dtype=bool)) + 0.5
    closed = np.concatenate([polygon, polygon[:1]])
    return Polygon(closed, closed=True).contains_points(centres).reshape(shape)
