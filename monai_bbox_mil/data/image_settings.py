# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
"""Resampling and size of the images that a network was trained on, in a file beside its weights.

A network takes images of any spacing and size, so weights that are used with the wrong ones fail silently. Prediction
therefore reads from this file how training saw its images.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from monai_bbox_mil.runs.files import replacing

__all__ = ["ReadImageSettings", "load_image_settings", "save_image_settings"]


def save_image_settings(
    path: str | os.PathLike[str], spacing_mm: Sequence[float] | None, image_size: Sequence[int]
) -> None:
    """Write the image settings of a training as JSON.

    Args:
        path: file to write; its folder is made if need be.
        spacing_mm: spacing after resampling along the first axes; ``None`` where images kept their own.
        image_size: pixels after padding or cropping, two numbers for slices or three for volumes.

    Raises:
        ValueError: for a spacing or size that is not positive.

    Example:
        >>> from tempfile import TemporaryDirectory
        >>> with TemporaryDirectory() as folder:
        ...     save_image_settings(f"{folder}/image_settings.json", None, [96, 96])
        ...     load_image_settings(f"{folder}/image_settings.json")
        {'spacing_mm': None, 'image_size': [96, 96]}
    """
    settings = {
        "spacing_mm": None if spacing_mm is None else [float(value) for value in spacing_mm],
        "image_size": [int(value) for value in image_size],
    }
    _check(settings, "image settings")
    with replacing(path) as unfinished:
        unfinished.write_text(json.dumps(settings, indent=2) + "\n")


def load_image_settings(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Read the ``spacing_mm`` and ``image_size`` that :func:`save_image_settings` wrote.

    Raises:
        FileNotFoundError: if there is no file. The message says how to do without it.
        ValueError: if the file has other content.
    """
    try:
        content = json.loads(Path(path).read_text())
        settings = {key: content[key] for key in ("spacing_mm", "image_size")}
    except FileNotFoundError as e:
        raise FileNotFoundError(
            f"{path}: no image settings there. Training writes them beside the model; without them, give those of the "
            'training: --spacing_mm None --image_size "[96,96]"'
        ) from e
    except (json.JSONDecodeError, KeyError, TypeError) as e:
        raise ValueError(f"{path}: expected JSON with 'spacing_mm' and 'image_size', got something else ({e}).") from e
    _check(settings, str(path))
    return settings


class ReadImageSettings:
    """Image settings for a pipeline that lives longer than its model, as on a server that trains.

    The file is read on first use. It may be missing where both settings are given in another way.

    Args:
        path: file that :func:`save_image_settings` wrote.

    Raises:
        FileNotFoundError, ValueError: on first use, as :func:`load_image_settings` does.

    Example:
        >>> settings = ReadImageSettings("models/image_settings.json")
        >>> settings.check("image.nii.gz")  # no setting was read yet, so none can be outdated
        'image.nii.gz'
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = path
        self._read: dict[str, Any] | None = None

    def __getitem__(self, name: str) -> Any:
        """Return ``"spacing_mm"`` or ``"image_size"``, as :func:`load_image_settings` gives them."""
        if self._read is None:
            self._read = load_image_settings(self.path)
        return self._read[name]

    def check(self, data: Any) -> Any:
        """Return ``data`` unchanged, after checking that the settings of the pipeline are still current.

        Raises:
            ValueError: when a training has left other settings since.
        """
        present = self._read and load_image_settings(self.path)
        if present != self._read:
            raise ValueError(
                f"{self.path}: a training has changed the image settings to {present}, this process still has "
                f"{self._read}. Start it again."
            )
        return data


def _check(settings: dict[str, Any], name: str) -> None:
    for key, values in settings.items():
        if not (key == "spacing_mm" and values is None) and not (
            isinstance(values, list) and values and all(isinstance(v, (int, float)) and v > 0 for v in values)
        ):
            raise ValueError(f"{name}: {key} must be a list of positive numbers, got {values}.")
