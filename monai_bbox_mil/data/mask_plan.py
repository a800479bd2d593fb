# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
"""Plan of the masks that a prediction writes, checked before the first image is read."""

from __future__ import annotations

import os
import tempfile
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import itk
import nibabel
from monai.transforms import LoadImage
from PIL import Image

from monai_bbox_mil.data.image_files import MASK_SUFFIXES
from monai_bbox_mil.runs.files import same_place
from monai_bbox_mil.runs.texts import first_few
from monai_bbox_mil.transforms.mask_files import (
    check_label_values,
    largest_label,
    mask_extension,
    mask_path,
)

__all__ = ["plan_masks"]


def plan_masks(
    images: Sequence[Mapping[str, Any]],
    output_dir: str | os.PathLike[str],
    output_postfix: str = "_segmentation",
    dataset_dir: str | os.PathLike[str] = "",
    label_values: Sequence[int] = (1,),
    resume: bool = False,
    model: str | os.PathLike[str] | None = None,
) -> list[dict[str, Any]]:
    """Return the items whose masks are still to be made, after checking that each mask has a file of its own.

    Without ``resume``, existing masks are replaced. With it they are kept, except those that cannot be read or differ
    in size from their images: these are made again. The function prints how many are replaced and kept, and how many
    of those kept are older than the model. Nothing next to the images is replaced, as somebody may have drawn it.

    Args:
        images: items from :func:`.find_images`.
        output_dir: folder of the masks.
        output_postfix: suffix added to the images' names.
        dataset_dir: folder of the images; see ``data_root_dir`` of :func:`.mask_path`.
        label_values: values of the classes in the masks.
        resume: whether to keep existing masks.
        model: file of the weights.

    Raises:
        ValueError: when two images would write one mask; when a mask would replace an image, or a file next to the
            images; when masks next to the images would be taken for images the next time; when a file type cannot hold
            a label, or a name is too long; when ``output_dir`` is no folder that can be written.

    Example:
        >>> [item["image"] for item in plan_masks([{"image": "images/a.png"}, {"image": "images/b.png"}], "masks")]
        ['images/a.png', 'images/b.png']
    """
    there = _check_folder(output_dir)
    masks = {str(item["image"]): mask_path(item["image"], output_dir, output_postfix, dataset_dir) for item in images}
    _check_files(masks, check_label_values(label_values), there)
    _check_one_mask_each(masks, output_dir, there)
    beside = _check_images_stay(masks, output_dir, output_postfix)
    present = [image for image, mask in masks.items() if os.path.lexists(mask)]
    kept = _keep(masks, present, output_dir, model) if resume else set()
    replaced = [image for image in present if image not in kept]
    for image in replaced:
        if image in beside:
            raise ValueError(
                f"output_dir {output_dir}: {masks[image]} is there already, next to the image, and may be a mask that "
                "somebody drew. Move or delete it, or give another --output_dir or --output_postfix. Masks of an "
                "interrupted run are kept by --resume True."
            )
    if replaced:
        print(f"Masks of an earlier run in {output_dir} that are replaced: {len(replaced)}.")
    return [dict(item) for item in images if str(item["image"]) not in kept]


def _check_folder(output_dir: str | os.PathLike[str]) -> Path:
    """Check the folder, and return it or the nearest existing folder above it."""
    if not os.fspath(output_dir):
        raise ValueError("output_dir: expected the name of a folder, got empty text.")
    there = next(path for path in (Path(os.path.abspath(output_dir)), *Path(os.path.abspath(output_dir)).parents)
                 if os.path.lexists(path))  # fmt: skip
    if not there.is_dir():
        raise ValueError(f"output_dir {output_dir}: expected a folder, got a file or a broken link, {there}.")
    if not os.access(there, os.W_OK | os.X_OK):
        raise ValueError(
            f"output_dir {output_dir}: expected a folder that can be written, got no write permission in {there}."
        )
    return there


def _check_files(masks: Mapping[str, Path], label_values: Sequence[int], there: Path) -> None:
    longest = os.pathconf(there, "PC_NAME_MAX") if hasattr(os, "pathconf") else 255
    for image, mask in masks.items():
        extension = mask_extension(mask)
        if max(label_values) > largest_label(extension):
            raise ValueError(
                f"label_values {list(label_values)}: expected at most {largest_label(extension)}, the largest value of "
                f"a file {extension}, which the mask of {image!r} is written to."
            )
        if len(os.fsencode(mask.name)) > longest:
            raise ValueError(
                f"output_postfix: expected masks with names of at most {longest} bytes, got "
                f"{len(os.fsencode(mask.name))} for the mask of {image!r}. Give a shorter --output_postfix, or rename "
                "the image."
            )


def _check_one_mask_each(masks: Mapping[str, Path], output_dir: str | os.PathLike[str], there: Path) -> None:
    pair = _same(masks, lambda mask: str(same_place(mask)))
    if pair is None:  # on some disks, names that differ only in case are one file
        pair = _same(masks, lambda mask: unicodedata.normalize("NFC", str(same_place(mask))).casefold())
        if pair is None or not _folds_case(there):
            return
    raise ValueError(
        f"output_dir {output_dir}: {pair[0]} and {pair[1]} would both write the mask {masks[pair[1]]}. Rename one "
        "of the images, or move it to another folder and predict it into another output_dir."
    )


def _same(masks: Mapping[str, Path], key: Any) -> tuple[str, str] | None:
    """Return the first two images whose masks have the same key."""
    images: dict[str, str] = {}
    return next(((images[k], i) for i, m in masks.items() if images.setdefault(k := key(m), i) != i), None)


def _folds_case(folder: Path) -> bool:
    """Test whether a disk ignores upper and lower case in names."""
    with tempfile.NamedTemporaryFile(prefix=".Case", dir=folder) as probe:
        return Path(probe.name).with_name(Path(probe.name).name.swapcase()).exists()


def _check_images_stay(masks: Mapping[str, Path], output_dir: str | os.PathLike[str], output_postfix: str) -> set[str]:
    """Refuse masks that would replace images or be read as images; return images with a mask beside them."""
    images = {place: image for image in masks for place in (same_place(image), Path(os.path.realpath(image)))}
    known = {identity for image in masks if (identity := _identity(image))}
    folders = {same_place(image).parent for image in masks} | {p for p in images if p.is_dir()}
    beside = set()
    for image, mask in masks.items():
        place = same_place(mask)
        replaced = images.get(place) or (image if _identity(mask) in known else None)
        if replaced is not None:
            raise ValueError(
                f"output_dir {output_dir}, output_postfix {output_postfix!r}: the mask of {image} would replace the "
                f"image {replaced}. Give another --output_dir, or --output_postfix _segmentation."
            )
        if place.parent in folders:
            beside.add(image)
            stem = mask.name[: len(mask.name) - len(mask_extension(mask))]
            if not stem.lower().endswith(MASK_SUFFIXES):
                raise ValueError(
                    f"output_dir {output_dir}, output_postfix {output_postfix!r}: {mask} would lie next to the images "
                    "and be taken for one the next time. Give another --output_dir, or an --output_postfix that ends "
                    f"in one of {', '.join(MASK_SUFFIXES)}."
                )
    return beside


def _identity(path: str | os.PathLike[str]) -> tuple[int, int] | None:
    """Return the device and inode of a file, which are the same under all of its names."""
    if not os.path.isfile(path) or os.path.islink(path):
        return None
    status = os.stat(path)
    return status.st_dev, status.st_ino


def _keep(
    masks: Mapping[str, Path],
    present: Iterable[str],
    output_dir: str | os.PathLike[str],
    model: str | os.PathLike[str] | None,
) -> set[str]:
    """Return the images whose masks are complete."""
    faults = {image: fault for image in present if (fault := _fault(image, masks[image])) is not None}
    kept = set(present) - set(faults)
    if kept:
        print(f"Masks in {output_dir} that are kept: {len(kept)}.")
    if faults:
        faulty = [f"{masks[image].name!r} ({fault})" for image, fault in faults.items()]
        print(f"Masks in {output_dir} that do not fit their images: {len(faults)}, {first_few(faulty)}.")
    trained = os.path.getmtime(model) if model is not None and os.path.isfile(model) else 0.0
    older = sum(os.path.getmtime(masks[image]) < trained for image in kept)
    if older:
        print(f"Of those kept, older than the model {model}, and so perhaps of another: {older}. Without --resume "
              "True all are made again.")  # fmt: skip
    return kept


def _fault(image: str, mask: Path) -> str | None:
    """Say why a file is not the complete mask of an image; ``None`` if it is."""
    try:
        found = LoadImage(image_only=True, dtype=None)(mask)
        expected = None if os.path.isdir(image) else _size(Path(image))
    except Exception as error:  # each reader raises its own errors
        return f"not readable: {' '.join(str(error).split()):.80}"
    size = sorted(n for n in found.shape if n > 1)
    return None if expected is None or size == expected else f"of {size} voxels, not {expected}"


def _size(image: Path) -> list[int]:
    """Read the spatial size from the header. It is sorted, as a picture may be rotated when it is read."""
    name = image.name.lower()
    if name.endswith((".nii", ".nii.gz")):
        shape = nibabel.load(image).shape  # type: ignore[attr-defined]
    elif name.endswith((".mhd", ".mha", ".nrrd")):
        header = itk.ImageIOFactory.CreateImageIO(str(image), itk.CommonEnums.IOFileMode_ReadMode)
        header.SetFileName(str(image))
        header.ReadImageInformation()
        shape = tuple(header.GetDimensions(axis) for axis in range(header.GetNumberOfDimensions()))
    else:
        with Image.open(image) as picture:
            shape = picture.size
    return sorted(n for n in shape[:3] if n > 1)
