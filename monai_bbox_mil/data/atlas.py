# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
"""Data list of ATLAS R1.1 (Anatomical Tracings of Lesions After Stroke)."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from monai_bbox_mil.data.splits import split_by_patient, split_published
from monai_bbox_mil.runs.texts import first_few

__all__ = ["ATLAS_VALIDATION", "atlas_datalist", "find_atlas_images"]

# fmt: off
ATLAS_VALIDATION = (
    "031785", "031794", "031800", "031812", "031814", "031817", "031826", "031836", "031856", "031861", "031862",
    "031865", "031872", "031877", "031916", "031919", "031925", "031929", "031934", "031950", "031965", "031973",
    "031974", "031975", "031985",
)
# fmt: on
"""The 25 validation patients of the paper (26 images: 031950 was scanned twice).

The paper only gives the numbers of images, and says that the split is that of Kervadec et al. (MIDL 2020). The public
code of both papers shuffles the 220 sorted patients by ``random.seed(0); random.shuffle(ids)`` and takes the first 25.
The patients of R1.1 are ``031768`` to ``031987``. The resulting numbers, 203 images of 195 patients and 26 images of
25 patients, are those of the paper.
"""

_IMAGE = "Site*/*/t[0-9]*/*_t1w_deface_stx.nii.gz"


def atlas_datalist(
    dataset_dir: str | os.PathLike[str],
    validation_patients: Sequence[str] | None = ATLAS_VALIDATION,
    validation_fraction: float = 25 / 220,
    seed: int = 0,
) -> dict[str, list[dict[str, Any]]]:
    """Make the data list of the standard-space images of ATLAS R1.1, split by patient.

    Images are ``Site*/<subject>/t0N/<subject>_t1w_deface_stx.nii.gz``. The lesion masks of an image lie beside it as
    ``<subject>_LesionSmooth[_N]_stx.nii.gz``. An image with several masks has a list under ``mask``. ``LoadImaged``
    and ``EnsureChannelFirstd`` make one channel per file, so that the maximum over channels merges them. Any value
    above 0 is foreground (files contain 1, 254 or 255; resampled files also contain values in between).

    Args:
        dataset_dir: folder with the ``Site*`` folders, or one at most two levels above.
        validation_patients: the validation part; ``None`` for a seeded draw.
        validation_fraction: share of the patients to draw. It is also used, with a warning, when
            ``validation_patients`` is the paper's list and some of these patients are missing.
        seed: seed of the draw.

    Returns:
        ``{"training": [...], "validation": [...]}``, items with ``image``, ``mask`` and ``patient``.

    Raises:
        ValueError: if there are no images, one has no mask, or ``validation_patients`` names unknown patients.

    Example:
        >>> from tempfile import TemporaryDirectory
        >>> with TemporaryDirectory() as folder:
        ...     for patient in ("031768", "031769"):
        ...         session = Path(folder, "Site1", patient, "t01")
        ...         session.mkdir(parents=True)
        ...         for name in ("t1w_deface_stx", "LesionSmooth_stx"):
        ...             _ = (session / f"{patient}_{name}.nii.gz").write_bytes(b"")
        ...     parts = atlas_datalist(folder, validation_patients=["031769"])
        >>> {name: [item["patient"] for item in items] for name, items in parts.items()}
        {'training': ['031768'], 'validation': ['031769']}
    """
    root = Path(os.path.abspath(dataset_dir))
    images = find_atlas_images(root)
    if not images:
        raise ValueError(f"dataset_dir {root}: expected images {_IMAGE}, got none.")
    items: list[dict[str, Any]] = []
    bare = []
    for image in images:
        subject = image.parent.parent.name
        masks = sorted(str(path) for path in image.parent.glob(f"{subject}_LesionSmooth_*stx.nii.gz"))
        items.append({"image": str(image), "mask": masks[0] if len(masks) == 1 else masks, "patient": subject})
        if not masks:
            bare.append(str(image))
    if bare:
        raise ValueError(
            f"dataset_dir {root}: expected a <subject>_LesionSmooth_stx.nii.gz beside every image, got {len(bare)} "
            f"without: {first_few(bare)}."
        )
    if validation_patients is None:
        return split_by_patient(items, validation_fraction, seed)
    source = f"validation_patients of {root}"
    return split_published(items, validation_patients, ATLAS_VALIDATION, validation_fraction, seed, source)


def find_atlas_images(dataset_dir: str | os.PathLike[str]) -> list[Path]:
    """Find the images, sorted by site, subject and session; an empty list for any other data set."""
    root = Path(os.path.abspath(dataset_dir))
    for above in ("", "*/", "*/*/"):
        images = sorted(path for path in root.glob(above + _IMAGE) if not path.name.startswith("."))
        if images:
            return images
    return []
