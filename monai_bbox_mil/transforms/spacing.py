# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
"""MONAI's resampling to a spacing, slab by slab: a large volume takes no more memory than its result."""

from __future__ import annotations

import copy
from collections.abc import Hashable, Mapping, Sequence
from itertools import product
from typing import Any

import numpy as np
import torch
from monai.config import USE_COMPILED
from monai.data import MetaTensor
from monai.data.utils import AFFINE_TOL, to_affine_nd
from monai.networks.layers import AffineTransform
from monai.transforms import Spacing, Spacingd, SpatialResample
from monai.utils import TraceKeys, get_equivalent_dtype, get_torch_dtype_from_string
from torch import Tensor

__all__ = [
    "SlabSpacing",
    "SlabSpacingD",
    "SlabSpacingDict",
    "SlabSpacingd",
]

_SLAB_VOXELS = 1 << 22  # with its sampling points, up to 300 MiB


class _SlabResample(SpatialResample):
    """``SpatialResample`` that samples a few slices of its result at a time, from those slices that they need.

    MONAI makes the sampling points of the whole result, three float64 a voxel, and the whole image float64.
    """

    def __init__(self, whole: SpatialResample, slab_voxels: int) -> None:
        super().__init__(whole.mode, whole.padding_mode, whole.align_corners, whole.dtype, whole.lazy)
        if slab_voxels < 1:
            raise ValueError(f"slab_voxels must be at least 1, got {slab_voxels}.")
        self.slab_voxels = slab_voxels

    def __call__(
        self,
        img: Tensor,
        dst_affine: Tensor | None = None,
        spatial_size: Sequence[int] | Tensor | int | None = None,
        mode: str | int | None = None,
        padding_mode: str | None = None,
        align_corners: bool | None = None,
        dtype: Any = None,
        lazy: bool | None = None,
    ) -> Tensor:
        options: dict[str, Any] = {
            "mode": self.mode if mode is None else mode,
            "padding_mode": self.padding_mode if padding_mode is None else padding_mode,
            "align_corners": self.align_corners if align_corners is None else align_corners,
        }
        lazy = self.lazy if lazy is None else lazy
        size = () if spatial_size is None or isinstance(spatial_size, int) else tuple(int(n) for n in spatial_size)
        slices = self._slices(img, size)
        if lazy or dst_affine is None or not 0 < slices < size[-1] or not _can_be_cut(**options):
            return super().__call__(img, dst_affine, spatial_size, **options, dtype=dtype, lazy=lazy)
        source, target = (to_affine_nd(3, np.asarray(a, dtype=np.float64)) for a in (_affine(img), dst_affine))
        points = np.linalg.solve(source, target)  # from voxels of the result to those of the image
        same = np.allclose(source, target, atol=AFFINE_TOL) or np.allclose(points, np.eye(4), atol=AFFINE_TOL)
        if same and size == tuple(img.shape[1:]):  # MONAI then leaves the image as it is
            return super().__call__(img, dst_affine, spatial_size, **options, dtype=dtype, lazy=False)
        precision = get_equivalent_dtype(dtype or self.dtype or img.dtype, Tensor)
        sampler = AffineTransform(normalized=False, reverse_indexing=True, **options)
        voxels = img.as_tensor() if isinstance(img, MetaTensor) else img
        result = torch.empty((len(img), *size), dtype=torch.float32, device=img.device)
        for start in range(0, size[-1], slices):
            depth = min(slices, size[-1] - start)
            first, end = _needed(points, (*size[:2], depth), start, img.shape[-1])
            shifted = points.copy()
            shifted[:, -1] += start * points[:, 2]
            shifted[2, -1] -= first
            slab = voxels[None, ..., first:end].to(precision)
            result[..., start : start + depth] = sampler(slab, torch.as_tensor(shifted).to(slab), (*size[:2], depth))[0]
        return self._record(img, dst_affine, result, dtype, options)

    def inverse(self, data: Tensor) -> Tensor:
        applied = self.pop_transform(data)
        options = dict(applied[TraceKeys.EXTRA_INFO])  # the arguments of the call
        options["dtype"] = get_torch_dtype_from_string(options["dtype"])
        if options["align_corners"] == TraceKeys.NONE:  # as Invertd writes it with nearest_interp
            options["align_corners"] = False
        with self.trace_transform(False):
            return self(data, options.pop("src_affine"), applied[TraceKeys.ORIG_SIZE], **options)

    def _slices(self, img: Tensor, size: tuple[int, ...]) -> int:
        """Return how many slices of the result go into one slab; 0 if it is no volume."""
        if img.ndim != 4 or len(size) != 3 or min(size) <= 0:
            return 0
        return max(1, self.slab_voxels // (len(img) * max(size[0] * size[1], img.shape[1] * img.shape[2])))

    def _record(self, img: Tensor, dst_affine: Tensor, result: Tensor, dtype: Any, options: dict[str, Any]) -> Tensor:
        """Give ``result`` the affine and the trace that MONAI makes for an image of one voxel."""
        voxel = super().__call__(img[:1, :1, :1, :1], dst_affine, (2, 2, 2), **options, dtype=dtype, lazy=False)
        if not isinstance(voxel, MetaTensor):
            return result
        if self.tracing:
            voxel.applied_operations[-1][TraceKeys.ORIG_SIZE] = tuple(img.shape[1:])
        recorded: MetaTensor = MetaTensor(result).copy_meta_from(voxel)
        return recorded


def _can_be_cut(mode: str | int, padding_mode: str, align_corners: bool) -> bool:
    """Return whether a slab holds all it depends on: splines and reflections reach farther, corners would move."""
    local = str(mode) in ("bilinear", "nearest") and str(padding_mode) in ("border", "zeros")
    return local and not align_corners and not USE_COMPILED


def _needed(points: np.ndarray, size: Sequence[int], start: int, number: int) -> tuple[int, int]:
    """Return the range of an image's ``number`` slices that a slab of ``size`` from ``start`` on depends on."""
    corners = np.array(list(product((0, size[0] - 1), (0, size[1] - 1), (start, start + size[2] - 1), (1,))))
    places = corners @ points[2]
    # Slices stay slices where the spacing changes in their plane alone: what lies beside one is rounding.
    first = int(np.clip(np.floor(places.min() + 1e-9), 0, number - 1))
    return first, int(np.clip(np.ceil(places.max() - 1e-9) + 1, first + 1, number))


def _affine(img: Tensor) -> Tensor:
    return img.peek_pending_affine() if isinstance(img, MetaTensor) else torch.eye(4)


def _steps_across(affine: Tensor) -> np.ndarray | None:
    """Return how far each axis of a sheared affine (a tilted gantry) goes at right angles to those before it.

    ``None`` where the axes are at right angles.
    """
    axes = np.asarray(affine, dtype=np.float64)[:-1, :-1]
    lengths = np.linalg.norm(axes, axis=0)
    steps = np.abs(np.diag(np.linalg.qr(axes, mode="r")))
    return None if np.allclose(steps, lengths, rtol=1e-5) else steps


class SlabSpacing(Spacing):
    """MONAI's ``Spacing``, slab by slab along the last axis: a large volume takes little more memory than its result.

    MONAI makes the sampling points of the whole result, 24 bytes a voxel and more. A sheared volume, as of a tilted
    gantry, is straightened: its slices are moved in their planes and stay slices where the spacing across them does
    not change. Else shape, affine and inverse are as of ``Spacing``; so are the values, but for the rounding of
    sampling points: last digits of float32, and which voxel is the nearest to a point half-way between two. A volume
    of at most ``slab_voxels``, a 2D image, and what cannot be cut (splines, reflection at the border,
    ``align_corners``, lazy resampling) goes to MONAI whole.

    Args:
        *args, **kwargs: as of ``Spacing``: ``pixdim`` (mm), ``mode``, ...
        slab_voxels: of all channels, at most, in one slab, which has at least one slice.

    Raises:
        ValueError: for ``slab_voxels`` below 1.

    Example:
        >>> image = MetaTensor(torch.arange(48.0).reshape(1, 4, 4, 3), affine=torch.diag(torch.tensor([1.0, 1, 5, 1])))
        >>> resampled = SlabSpacing([2, 2, -1], slab_voxels=16)(image)
        >>> resampled.shape, resampled.pixdim.tolist()
        (torch.Size([1, 2, 2, 3]), [2.0, 2.0, 5.0])
        >>> torch.equal(resampled, Spacing([2, 2, -1])(image))
        True
    """

    def __init__(self, *args: Any, slab_voxels: int = _SLAB_VOXELS, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.sp_resample = _SlabResample(self.sp_resample, slab_voxels)

    def __call__(self, data_array: Tensor, *args: Any, **kwargs: Any) -> Tensor:  # type: ignore[override]
        """Resample ``(C, *spatial)``."""
        steps = _steps_across(_affine(data_array))
        if steps is None:
            return super().__call__(data_array, *args, **kwargs)
        # MONAI would keep the length of the slanted step from slice to slice, and slices would no longer be slices.
        straight = copy.copy(self)
        given = np.resize(np.append(self.pixdim, np.full(len(steps), self.pixdim[-1])), len(steps))
        straight.pixdim = np.where(given > 0, given, steps)
        return Spacing.__call__(straight, data_array, *args, **kwargs)


class SlabSpacingd(Spacingd):
    """Dictionary version of :class:`SlabSpacing`, which like ``Spacingd`` gives images of one size one size.

    ``Spacingd`` takes each key that begins with an image's, such as ``image_path``, for its meta data; only mappings
    count as such here.

    Args:
        *args, **kwargs: as of ``Spacingd``: ``keys``, ``pixdim`` (mm), ``mode``, ...
        slab_voxels: as in the array version.

    Example:
        >>> image = MetaTensor(torch.zeros(1, 4, 4, 3))
        >>> SlabSpacingd("image", pixdim=[2, 2, -1])({"image": image})["image"].shape
        torch.Size([1, 2, 2, 3])
    """

    def __init__(self, *args: Any, slab_voxels: int = _SLAB_VOXELS, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        whole = self.spacing_transform
        self.spacing_transform = SlabSpacing(
            whole.pixdim,
            diagonal=whole.diagonal,
            recompute_affine=whole.recompute_affine,
            min_pixdim=whole.min_pixdim,
            max_pixdim=whole.max_pixdim,
            lazy=whole.lazy,
            slab_voxels=slab_voxels,
        )

    def __call__(self, data: Mapping[Hashable, Any], lazy: bool | None = None) -> dict[Hashable, Any]:
        seen = {key: value for key, value in data.items() if key in self.keys or isinstance(value, Mapping)}
        return {**data, **super().__call__(seen, lazy)}


SlabSpacingD = SlabSpacingDict = SlabSpacingd
