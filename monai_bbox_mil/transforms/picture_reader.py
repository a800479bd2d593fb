# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
"""PNG, JPEG, BMP, GIF and TIFF as people see them: turned by EXIF, coloured by their palette, with all bits."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import itk
import numpy as np
from monai.data import ImageReader
from monai.utils import MetaKeys, SpaceKeys, ensure_tuple
from PIL import Image, ImageSequence, UnidentifiedImageError

__all__ = ["PICTURES", "PICTURES_AND_TIFF", "PictureReader", "UnusableImageError"]

PICTURES = (".png", ".jpg", ".jpeg", ".bmp", ".gif")
"""Extensions of pictures; a TIFF may be one or a medical image."""
PICTURES_AND_TIFF = (*PICTURES, ".tif", ".tiff")
"""Extensions of files that have pixels and, but for some TIFFs, no millimetres."""
_ORIENTATION, _BITS, _SAMPLE_FORMAT = 0x0112, 258, 339  # tags of EXIF and TIFF
_UNSIGNED = 1
# What ITK reads right from a TIFF, and with the resolution as spacing.
_ITK_MODES, _ITK_BITS = ("L", "I", "F", "RGB", "I;16", "I;16B", "I;16L", "I;16N"), (8, 16, 32)


class UnusableImageError(ValueError):
    """An image that is whole and of a known type, but that cannot be used as asked; without the file's name."""


class PictureReader(ImageReader):
    """Read pictures into arrays whose first axis runs to the right, as MONAI's ``PILReader`` does.

    Orientation tags are obeyed, so that the picture is the one that annotation tools show. A picture with a palette has
    the palette's colours: one channel where all of them are grey, else three; of a label map the palette's index is the
    label. An alpha channel that is opaque is left out. A TIFF's pages become the third axis.

    Args:
        label_map: whether the files hold labels.
        num_channels: how many channels are wanted, if that is known: a grey palette gives three for 3, and alpha is
            kept for 2 and 4.
    """

    def __init__(self, label_map: bool = False, num_channels: int | None = None) -> None:
        super().__init__()
        self.label_map = label_map
        self.num_channels = num_channels

    def verify_suffix(self, filename: Sequence[str | os.PathLike[str]] | str | os.PathLike[str]) -> bool:
        """Return whether all files are pictures. A TIFF that ITK can read is none, because ITK knows its spacing."""
        return all(_is_picture(os.fspath(name)) for name in ensure_tuple(filename))

    def read(self, data: Sequence[str | os.PathLike[str]] | str | os.PathLike[str], **kwargs: Any) -> list[np.ndarray]:
        """Read files as arrays ``(W, H[, pages], C)``.

        Raises:
            UnusableImageError: for a moving picture, for one that is partly transparent, for pages of several sizes,
                and for a label map in colours that have no number.
        """
        return [self._picture(os.fspath(name)) for name in ensure_tuple(data)]

    def get_data(self, img: Sequence[np.ndarray]) -> tuple[np.ndarray, dict[MetaKeys, object]]:
        """Return voxels and meta data of what :meth:`read` gave; several files are stacked as channels."""
        shapes = {array.shape[:-1] for array in img}
        if len(shapes) > 1:
            raise UnusableImageError(f"expected files of one size, got {sorted(shapes)} pixels.")
        meta = {
            MetaKeys.SPATIAL_SHAPE: np.asarray(shapes.pop()),
            MetaKeys.SPACE: SpaceKeys.RAS,
            MetaKeys.ORIGINAL_CHANNEL_DIM: -1,
        }
        return img[0] if len(img) == 1 else np.concatenate(img, axis=-1), meta

    def _picture(self, path: str) -> np.ndarray:
        with Image.open(path) as picture:
            frames = getattr(picture, "n_frames", 1)
            # A camera's MPO is a JPEG with a preview or a depth map behind it.
            if frames > 1 and picture.format not in ("TIFF", "MPO"):
                raise UnusableImageError(
                    f"expected one picture, got {frames} frames of a moving {picture.format}; save the frames as files "
                    "of their own, or as a volume."
                )
            pages = ImageSequence.Iterator(picture) if frames > 1 and picture.format == "TIFF" else [picture]
            arrays = [_turned(self._channels(page, path), page) for page in pages]
        if len({array.shape for array in arrays}) > 1:
            raise UnusableImageError(f"expected pages of one size, got {[array.shape[:2] for array in arrays]} pixels.")
        return np.stack(arrays, axis=2) if len(arrays) > 1 else arrays[0]

    def _channels(self, page: Image.Image, path: str) -> np.ndarray:
        """Read a page ``(H, W, C)`` as it is stored."""
        if page.mode == "P" and self.label_map:
            return np.asarray(page)[..., None]
        array = self._samples(page, path)
        array = array[..., None] if array.ndim == 2 else array
        if array.shape[2] in (2, 4) and page.mode != "CMYK" and (self.label_map or self.num_channels != array.shape[2]):
            array = self._without_alpha(array)
        is_grey = array.shape[2] == 3 and (array == array[..., :1]).all()
        may_be_grey = self.label_map or (page.mode in ("P", "PA") and self.num_channels != 3)
        return array[..., :1] if is_grey and may_be_grey else array

    def _samples(self, page: Any, path: str) -> np.ndarray:
        """Read the numbers ``(H, W)`` or ``(H, W, C)`` of a page, in grey or RGB, with alpha if there is any."""
        if _has_more_bits(page):
            reader = itk.ImageFileReader[itk.VectorImage[itk.US, 2]].New(FileName=path)
            reader.Update()
            return np.asarray(itk.array_from_image(reader.GetOutput()))
        few_bits = next((bits for bits in (2, 4) if f"L;{bits}" in _raw_modes(page)), None)
        tags = page.tag_v2 if page.format == "TIFF" else {}
        is_unsigned = tags.get(_SAMPLE_FORMAT, (_UNSIGNED,))[0] == _UNSIGNED
        array = np.asarray(self._plain(page))
        if self.label_map and few_bits:
            return np.asarray(array // (255 // (2**few_bits - 1)))  # Pillow stretches them to 0..255
        if page.mode == "I" and tags.get(_BITS) == (32,) and is_unsigned:
            return array.view(np.uint32)  # Pillow has no unsigned type of 32 bits
        return array

    def _plain(self, page: Image.Image) -> Image.Image:
        """Convert the page to grey or RGB, with alpha if it has it."""
        if page.mode in ("P", "PA"):
            return page.convert("RGBA" if page.has_transparency_data else "RGB")
        if page.mode in ("La", "RGBa"):  # multiplied by their alpha
            return page.convert({"La": "LA", "RGBa": "RGBA"}[page.mode])
        if page.mode in ("L", "RGB") and "transparency" in page.info and not self.label_map:
            return page.convert({"L": "LA", "RGB": "RGBA"}[page.mode])
        if page.mode in ("CMYK", "YCbCr", "HSV", "LAB"):
            if self.label_map:
                raise UnusableImageError(f"expected a label map, got a picture in {page.mode} colours.")
            return page if page.mode == "CMYK" and self.num_channels == 4 else page.convert("RGB")
        return page

    def _without_alpha(self, array: np.ndarray) -> np.ndarray:
        colours, transparent = array[..., :-1], array[..., -1] < np.iinfo(array.dtype).max
        # What is transparent and 0 in a label map is background either way.
        if transparent.any() and not (self.label_map and not colours[transparent].any()):
            raise UnusableImageError(
                f"expected an opaque picture, got {int(transparent.sum())} of {transparent.size} pixels that are "
                "transparent, and programs show different colours there; save it without an alpha channel, on the "
                "background that it is to have."
            )
        return colours


def _is_picture(path: str) -> bool:
    name = path.lower()
    if name.endswith(PICTURES):
        return True
    if not name.endswith((".tif", ".tiff")):
        return False
    try:
        with Image.open(path) as opened:
            page: Any = opened
            bits = page.tag_v2.get(_BITS, (8,))[0] if page.format == "TIFF" else 8
            plain = page.mode in _ITK_MODES and bits in _ITK_BITS and not _has_more_bits(page)
            return not plain or page.getexif().get(_ORIENTATION, 1) in range(2, 9)
    except UnidentifiedImageError:
        return False  # of a kind that Pillow does not know; ITK may


def _raw_modes(page: Any) -> list[str]:
    """Return how the file stores its numbers, in Pillow's words; known until the page is loaded."""
    return [args if isinstance(args, str) else str(args[0]) for *_, args in page.tile if args]


def _has_more_bits(page: Any) -> bool:
    """Return whether Pillow would drop the lower 8 of 16 bits, as it does in colour and beside alpha."""
    return page.mode in ("LA", "RGB", "RGBA") and any(";16" in mode for mode in _raw_modes(page))


def _turned(array: np.ndarray, page: Image.Image) -> np.ndarray:
    """Turn a page ``(H, W, C)`` as it is stored into ``(W, H, C)`` as it is shown."""
    orientation = page.getexif().get(_ORIENTATION, 1)
    if orientation in (3, 4, 6, 7):  # the first row is at the bottom, or on the right
        array = array[::-1]
    if orientation in (2, 3, 7, 8):  # the first column is on the right, or at the bottom
        array = array[:, ::-1]
    return array if orientation in (5, 6, 7, 8) else array.swapaxes(0, 1)
