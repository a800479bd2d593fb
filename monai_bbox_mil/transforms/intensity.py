# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
"""MONAI's normalisation for voxels of any size."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

import torch
from monai.config import KeysCollection
from monai.config.type_definitions import NdarrayOrTensor
from monai.data import MetaTensor
from monai.transforms import NormalizeIntensity
from monai.transforms.transform import MapTransform
from monai.utils import convert_to_tensor
from torch import Tensor

__all__ = [
    "NormalizeAnyIntensity",
    "NormalizeAnyIntensityD",
    "NormalizeAnyIntensityDict",
    "NormalizeAnyIntensityd",
]

# Sums over 10^9 voxels up to here are far from the end of float32.
_LARGEST = 2.0**64


class NormalizeAnyIntensity(NormalizeIntensity):
    """MONAI's ``NormalizeIntensity`` by mean and standard deviation, also of voxels near the end of float32.

    There sums and differences are infinite, so that MONAI's result is NaN. Such channels are divided by 2^64 first,
    which changes no digit; of all other images the result is MONAI's.

    Args:
        *args, **kwargs: as of ``NormalizeIntensity``: ``nonzero``, ``channel_wise``, ``dtype``; not ``subtrahend`` and
            ``divisor``.

    Raises:
        ValueError: for ``subtrahend`` or ``divisor``.

    Example:
        >>> image = torch.tensor([[0.0, 1.0, 2.0, 3.0]])
        >>> torch.allclose(NormalizeAnyIntensity()(1e38 * image), NormalizeIntensity()(image))
        True
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if self.subtrahend is not None or self.divisor is not None:
            raise ValueError("subtrahend and divisor must not be given: they depend on the size of the voxels.")

    def __call__(self, img: NdarrayOrTensor) -> NdarrayOrTensor:
        """Scale an image ``(C, *spatial)`` to mean 0 and standard deviation 1, of all channels or of each."""
        image: Tensor = convert_to_tensor(img, track_meta=isinstance(img, MetaTensor))
        if not image.is_floating_point() or not image.numel():
            return super().__call__(img)
        voxels = image.as_subclass(Tensor)
        largest = torch.stack([torch.stack(channel.aminmax()).abs().max() for channel in voxels])
        if not self.channel_wise:
            largest = largest.max().expand_as(largest)
        if not (largest > _LARGEST).any():
            return super().__call__(img)
        factor = torch.where(largest > _LARGEST, 1 / _LARGEST, 1.0).to(image.dtype)
        return super().__call__(image * factor.reshape(-1, *[1] * (image.ndim - 1)))


class NormalizeAnyIntensityd(MapTransform):
    """Dictionary version of :class:`NormalizeAnyIntensity`.

    Args:
        keys: images.
        *args, **kwargs: as in the array version.
        allow_missing_keys: whether an absent image is passed over.

    Example:
        >>> data = {"image": torch.tensor([[-3e38, 3e38]])}
        >>> NormalizeAnyIntensityd("image")(data)["image"].tolist()
        [[-1.0, 1.0]]
    """

    def __init__(self, keys: KeysCollection, *args: Any, allow_missing_keys: bool = False, **kwargs: Any) -> None:
        super().__init__(keys, allow_missing_keys)
        self.normalizer = NormalizeAnyIntensity(*args, **kwargs)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        d = dict(data)
        for key in self.key_iterator(d):
            d[key] = self.normalizer(d[key])
        return d


NormalizeAnyIntensityD = NormalizeAnyIntensityDict = NormalizeAnyIntensityd
