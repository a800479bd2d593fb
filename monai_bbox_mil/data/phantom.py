# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
"""A synthetic pelvis: thick-slice MR-like volumes of an organ beside a lookalike, written the way PROMISE12 is.

With the phantom, every example, tutorial and test of this package runs without a download. A threshold cannot segment
the organ, because a lookalike of the same grey, shape and size lies outside the organ's box. A box does not determine
the outline, because the shapes are oblique and lobed. The phantom does not replace clinical data.
"""

from __future__ import annotations

import csv
import io
import json
import os
import re
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import itk
import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from monai_bbox_mil.data.phantom_anatomy import PhantomPatient, simulate_patient

__all__ = ["PhantomPatient", "make_phantom", "simulate_patient"]

# Raise it with every change that alters the images, so that an old folder is not mistaken for a new one.
_VERSION = 1
_MANIFEST = "phantom.json"


def make_phantom(
    output_dir: str | os.PathLike[str],
    num_patients: int = 16,
    seed: int = 0,
    image_size: Sequence[int] = (96, 96),
    num_slices: Sequence[int] = (10, 16),
    spacing_mm: Sequence[float] = (1.5, 1.5, 4.0),
    overwrite: bool = False,
    progress: bool = True,
) -> dict[str, list[dict[str, str]]]:
    """Write a phantom data set in the layout of PROMISE12, or reuse an existing one.

    The files are ``CaseNN.mhd/.raw`` (int16), ``CaseNN_segmentation.mhd/.raw`` (uint8), a ``cases.csv`` with the last
    quarter of the patients as validation part, and ``phantom.json`` with the parameters, which is marked complete last.
    An incomplete phantom is written again. Complete files are renamed into place, so several processes may call this
    function for one folder at once. The same parameters give the same bytes on the same machine and libraries.

    Args:
        output_dir: folder to write to; it is created if needed.
        num_patients: number of patients, from 1 to 100.
        seed: seed of the phantom, at least 0.
        image_size: number of voxels along x and y, each at least 48.
        num_slices: smallest and largest number of slices of a volume, at least 6. Each patient's number is drawn from
            this range, ends included.
        spacing_mm: spacing along x, y and z.
        overwrite: whether to replace even a complete phantom, whatever its parameters.
        progress: whether to show a progress bar.

    Returns:
        ``{"training": [...], "validation": [...]}``, one dictionary per patient with ``image``, ``mask`` (absolute
        paths) and ``patient``, as :func:`monai_bbox_mil.data.datalists.get_datalist` reads them from the folder.

    Raises:
        ValueError: if an argument is out of range, the folder has a phantom with other parameters and ``overwrite`` is
            false, or the folder has cases that this function did not write.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     data = make_phantom(folder, num_patients=2, image_size=(48, 48), progress=False)
        >>> data["training"][0]["patient"], data["validation"][0]["patient"]
        ('Case00', 'Case01')
    """
    parameters = _check_parameters(num_patients, seed, image_size, num_slices, spacing_mm)
    folder = Path(os.path.abspath(output_dir))
    cases = [f"Case{index:02d}" for index in range(num_patients)]
    datalist: dict[str, list[dict[str, str]]] = {"training": [], "validation": []}
    for case, split in zip(cases, _splits(num_patients), strict=True):
        mask = str(folder / f"{case}_segmentation.mhd")
        datalist[split].append({"image": str(folder / f"{case}.mhd"), "mask": mask, "patient": case})
    if _is_complete(folder, parameters, overwrite):
        return datalist

    folder.mkdir(parents=True, exist_ok=True)
    # A hidden folder on the same file system: renaming from it is atomic, and readers of data sets skip it.
    with tempfile.TemporaryDirectory(dir=folder, prefix=".phantom-") as name:
        scratch = Path(name)
        _write_manifest(scratch, folder, parameters, complete=False)
        for index, case in enumerate(tqdm(cases, desc="Writing phantom", disable=not progress)):
            patient = simulate_patient(seed, index, image_size, num_slices, spacing_mm)
            _write_volume(scratch, folder, case, patient.image, spacing_mm)
            _write_volume(scratch, folder, f"{case}_segmentation", patient.mask, spacing_mm)
        for path in folder.iterdir():
            match = re.fullmatch(r"(Case\d+)(_segmentation)?\.(mhd|raw)", path.name)
            if match and match[1] not in cases:
                path.unlink(missing_ok=True)
        _write_text(scratch, folder, "cases.csv", _cases_csv(cases))
        _write_manifest(scratch, folder, parameters, complete=True)
    return datalist


def _check_parameters(
    num_patients: int, seed: int, image_size: Sequence[int], num_slices: Sequence[int], spacing_mm: Sequence[float]
) -> dict[str, Any]:
    """Convert parameters as JSON does, so that they can be compared with a manifest."""
    if not 1 <= num_patients <= 100:
        raise ValueError(f"num_patients must be from 1 to 100, got {num_patients}.")
    if seed < 0:
        raise ValueError(f"seed must be at least 0, got {seed}.")
    if len(image_size) != 2 or min(image_size) < 48:
        raise ValueError(f"image_size must be two numbers of voxels of at least 48, got {tuple(image_size)}.")
    if len(num_slices) != 2 or not 6 <= num_slices[0] <= num_slices[1]:
        raise ValueError(f"num_slices must be (fewest, most), in this order and at least 6, got {tuple(num_slices)}.")
    if len(spacing_mm) != 3 or not all(0 < s < float("inf") for s in spacing_mm):
        raise ValueError(f"spacing_mm must be three positive lengths, got {tuple(spacing_mm)}.")
    return {
        "version": _VERSION,
        "num_patients": int(num_patients),
        "seed": int(seed),
        "image_size": [int(n) for n in image_size],
        "num_slices": [int(n) for n in num_slices],
        "spacing_mm": [float(s) for s in spacing_mm],
    }


def _is_complete(folder: Path, parameters: dict[str, Any], overwrite: bool) -> bool:
    """Return whether the folder has the wanted phantom; raise if writing one would destroy other files."""
    manifest = _read_manifest(folder)
    if manifest is None:
        cases = sorted(path.name for path in folder.glob("Case*.mhd"))
        # Read again, because another process may just have written its manifest and then its cases.
        manifest = _read_manifest(folder)
        if cases and manifest is None:
            raise ValueError(
                f"output_dir {folder} must be empty or hold an earlier phantom, got {len(cases)} file(s) that "
                f"make_phantom did not write, such as {cases[0]}. Choose another folder."
            )
    if manifest is None or overwrite or not manifest.get("complete"):
        return False
    different = [key for key in parameters if manifest.get(key) != parameters[key]]
    if different:
        changes = ", ".join(f"{key} is {manifest.get(key)} there, {parameters[key]} was asked for" for key in different)
        raise ValueError(
            f"output_dir {folder} holds a phantom of other parameters: {changes}. Choose another folder, or pass "
            "overwrite=True to replace it."
        )
    return True


def _read_manifest(folder: Path) -> dict[str, Any] | None:
    try:
        manifest = json.loads((folder / _MANIFEST).read_text())
    except (FileNotFoundError, json.JSONDecodeError):
        return None
    return manifest if isinstance(manifest, dict) else None


def _write_manifest(scratch: Path, folder: Path, parameters: dict[str, Any], complete: bool) -> None:
    _write_text(scratch, folder, _MANIFEST, json.dumps({**parameters, "complete": complete}, indent=2) + "\n")


def _splits(num_patients: int) -> list[str]:
    # Of two or three patients, one is still for validation; a single one is for training.
    validation = max(num_patients // 4, min(num_patients - 1, 1))
    return ["training"] * (num_patients - validation) + ["validation"] * validation


def _cases_csv(cases: Sequence[str]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("case", "split", "patient"))
    writer.writerows(zip(cases, _splits(len(cases)), cases, strict=True))
    return text.getvalue()


def _write_text(scratch: Path, folder: Path, name: str, text: str) -> None:
    (scratch / name).write_text(text)
    os.replace(scratch / name, folder / name)


def _write_volume(
    scratch: Path, folder: Path, case: str, volume: NDArray[np.generic], spacing_mm: Sequence[float]
) -> None:
    image = itk.image_from_array(np.ascontiguousarray(volume.T))
    image.SetSpacing([float(s) for s in spacing_mm])
    itk.imwrite(image, str(scratch / f"{case}.mhd"))
    for suffix in (".raw", ".mhd"):
        os.replace(scratch / f"{case}{suffix}", folder / f"{case}{suffix}")
