# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
"""Dense conditional random field: probabilities that follow the edges of their image."""

from __future__ import annotations

import numpy as np
import torch
from monai.config.type_definitions import NdarrayOrTensor
from monai.transforms.transform import Transform
from monai.utils import OptionalImportError, convert_to_tensor, optional_import
from torch import Tensor

__all__ = ["DenseCRF"]

# A probability of exactly 0 or 1, as a saturated network gives it, would outweigh every neighbour.
_MIN_PROB = 1e-4


class DenseCRF(Transform):
    r"""Refine the probabilities of a slice by a fully connected conditional random field.

    Krähenbühl & Koltun, "Efficient Inference in Fully Connected CRFs with Gaussian Edge Potentials" (NeurIPS 2011), as
    DeepCut (Rajchl et al. 2016) uses it. Each class is labelled against background on its own. Unary energies are the
    negative logarithms of the probabilities; two pixels :math:`i, j` of different labels cost

    .. math::
        w_a \exp\Big(-\frac{|x_i - x_j|^2}{2 \theta_x^2} - \frac{|g_i - g_j|^2}{2 \theta_g^2}\Big)
        + w_s \exp\Big(-\frac{|x_i - x_j|^2}{2 \theta_s^2}\Big)

    with positions :math:`x` in pixels and grey values :math:`g`; both kernels are normalised, so that a weight does not
    depend on how many pixels a kernel reaches. The result are the marginals after some mean-field steps.

    Grey values are those of the slice, rescaled so that its 1st and 99th percentile come to 0 and 255 (clipped beyond),
    each image channel on its own; a constant channel becomes 0 and leaves the appearance kernel a second smoothness.

    Needs ``pydensecrf2``: ``pip install "monai_bbox_mil[deepcut]"``.

    Args:
        appearance_px: :math:`\theta_x`, pixels.
        appearance_grey: :math:`\theta_g`, grey levels of 0..255.
        appearance_weight: :math:`w_a`. At 5, near the lower end of what is usual, the confident prediction of a filled
            box shrinks to the disc of 28 px radius in it, and most of a noisy disc of 8 px survives; at 3 the corners
            of the box stay, at 10 small objects in noise are taken for background.
        smoothness_px: :math:`\theta_s`, pixels.
        smoothness_weight: :math:`w_s`. 3, as usual: it keeps small objects together in noise.
        iterations: mean-field steps.

    Raises:
        OptionalImportError: without ``pydensecrf2``.
        ValueError: for a kernel width that is not positive, a negative weight or less than one iteration.
    """

    def __init__(
        self,
        appearance_px: float = 10,
        appearance_grey: float = 20,
        appearance_weight: float = 5,
        smoothness_px: float = 1,
        smoothness_weight: float = 3,
        iterations: int = 5,
    ) -> None:
        for name, width in (
            ("appearance_px", appearance_px),
            ("appearance_grey", appearance_grey),
            ("smoothness_px", smoothness_px),
        ):
            if not width > 0:
                raise ValueError(f"{name} must be above 0, got {width}.")
        for name, weight in (("appearance_weight", appearance_weight), ("smoothness_weight", smoothness_weight)):
            if not weight >= 0:
                raise ValueError(f"{name} must be at least 0, got {weight}.")
        if iterations < 1:
            raise ValueError(f"iterations must be at least 1, got {iterations}.")
        self.appearance_px = appearance_px
        self.appearance_grey = appearance_grey
        self.appearance_weight = appearance_weight
        self.smoothness_px = smoothness_px
        self.smoothness_weight = smoothness_weight
        self.iterations = iterations
        self._crf, found = optional_import("pydensecrf.densecrf", name="DenseCRF")
        if not found:
            raise OptionalImportError('DenseCRF needs pydensecrf2: pip install "monai_bbox_mil[deepcut]".')

    def __call__(self, prob: NdarrayOrTensor, image: NdarrayOrTensor) -> Tensor:  # type: ignore[override]
        """Refine one slice.

        Args:
            prob: ``(C, H, W)`` probabilities of each class against background.
            image: ``(channels, H, W)`` of any scale.

        Returns:
            ``(C, H, W)`` refined probabilities, float32 on the CPU.

        Raises:
            ValueError: when the shapes do not fit or a value is not finite or not a probability.
        """
        probs = np.asarray(convert_to_tensor(prob, dtype=torch.float32, device="cpu", track_meta=False))
        pixels = np.asarray(convert_to_tensor(image, dtype=torch.float32, device="cpu", track_meta=False))
        if probs.ndim != 3 or pixels.ndim != 3 or probs.shape[1:] != pixels.shape[1:]:
            raise ValueError(
                f"prob and image must have the shapes (C, H, W) and (channels, H, W) of one size, got {probs.shape} "
                f"and {pixels.shape}."
            )
        if not np.isfinite(pixels).all():
            raise ValueError("image must hold finite numbers, got NaN or infinite ones.")
        if not ((probs >= 0) & (probs <= 1)).all():
            raise ValueError(f"prob must hold numbers from 0 to 1, got {probs.min():g} to {probs.max():g}.")
        places = np.indices(probs.shape[1:], dtype=np.float32).reshape(2, -1)
        greys = np.stack([_to_grey_levels(channel).ravel() for channel in pixels])
        kernels = [
            (np.concatenate([places / self.appearance_px, greys / self.appearance_grey]), self.appearance_weight),
            (places / self.smoothness_px, self.smoothness_weight),
        ]
        refined = [self._refine(channel.ravel(), kernels).reshape(channel.shape) for channel in probs]
        return torch.from_numpy(np.stack(refined))

    def _refine(self, prob: np.ndarray, kernels: list[tuple[np.ndarray, float]]) -> np.ndarray:
        """Compute the marginals ``(H * W,)`` of one class."""
        crf = self._crf(prob.size, 2)
        object_prob = prob.clip(_MIN_PROB, 1 - _MIN_PROB)
        crf.setUnaryEnergy(np.ascontiguousarray(-np.log(np.stack([1 - object_prob, object_prob])), dtype=np.float32))
        for features, weight in kernels:
            crf.addPairwiseEnergy(np.ascontiguousarray(features, dtype=np.float32), compat=float(weight))
        return np.asarray(np.asarray(crf.inference(self.iterations))[1], dtype=np.float32)


def _to_grey_levels(channel: np.ndarray) -> np.ndarray:
    """Scale an image ``(H, W)`` to 0..255; a few extreme pixels do not compress the others."""
    low, high = np.percentile(channel, (1, 99))
    if high <= low:
        return np.zeros_like(channel)
    return np.asarray(((channel - low) * (255 / (high - low))).clip(0, 255), dtype=np.float32)
