# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
"""Writers of MONAI that write a mask as it is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from monai.data import ImageWriter, ITKWriter

from monai_bbox_mil.transforms.nifti_header import NiftiLikeWriter

__all__ = ["ITKMaskWriter", "NiftiMaskWriter"]


class _AsItIs(ImageWriter):
    """Makes a writer of MONAI keep a mask as it is: what MONAI resamples, even to the same grid, becomes float32."""

    @classmethod
    def resample_if_needed(cls, data_array: Any, affine: Any = None, *_: Any, **__: Any) -> tuple[Any, Any]:
        return data_array, affine


class NiftiMaskWriter(_AsItIs, NiftiLikeWriter):
    """Writes NIfTI with the header of the image."""


class ITKMaskWriter(_AsItIs, ITKWriter):
    """Writes the formats of ITK, without an axis for the channel: of vectors ITK writes too few types."""

    def set_metadata(self, meta_dict: Mapping[str, Any] | None = None, resample: bool = True, **options: Any) -> None:
        super().set_metadata(meta_dict, resample, **options)
        if self.channel_dim is not None:
            self.data_obj, self.channel_dim = self.data_obj[..., 0], None
