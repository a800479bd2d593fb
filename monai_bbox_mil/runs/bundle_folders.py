# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
"""The bundle's own folder, and the folder in it where a training saves its model."""

from __future__ import annotations

import os
import sys
from pathlib import Path

__all__ = ["check_scores_folder", "find_bundle", "training_folder"]


class _Found(str):
    """A bundle's folder that was found by a search, because none was named."""


def find_bundle() -> str:
    """Find the bundle's own folder. MONAI puts it on the search path before it runs a config, from any working folder.

    Raises:
        FileNotFoundError: when it is neither on the search path nor in the working folder nor in its ``bundle`` folder.
    """
    places = [*map(Path, sys.path[1:]), Path("."), Path("bundle")]
    for place in places:
        if (place / "configs" / "metadata.json").is_file():
            return _Found(place)
    raise FileNotFoundError(
        "bundle_root: expected a folder with configs/metadata.json on Python's search path, as the working folder or "
        "as bundle/ in it, got none. Name the bundle's folder: --bundle_root FOLDER"
    )


def training_folder(bundle_root: str) -> str:
    """Return where a training saves its model by default: not over the weights that come with the bundle in ``models``.

    A program that names ``bundle_root``, such as MONAI Label's app for bundles or a federated client, expects the model
    in ``models``, where bundles of MONAI's model zoo save it. With any other folder it would go on with the old model.

    Args:
        bundle_root: from :func:`find_bundle`, or named by the user.

    Example:
        >>> training_folder("apps/model/mine")
        'apps/model/mine/models'
    """
    return f"{bundle_root}/{'trained' if isinstance(bundle_root, _Found) else 'models'}"


def check_scores_folder(output_dir: str | os.PathLike[str], dataset_dir: str | os.PathLike[str]) -> None:
    """Refuse to write scores into the images' folder, where ``cases.csv`` is the table of parts and patients.

    Raises:
        ValueError: when both are the same folder.

    Example:
        >>> check_scores_folder("bundle/eval", "images")
    """
    if os.path.realpath(output_dir) == os.path.realpath(dataset_dir):
        raise ValueError(
            f"output_dir {output_dir}: expected another folder than dataset_dir, whose cases.csv (the table of parts "
            "and patients) the scores would overwrite or be mistaken for. Give another --output_dir."
        )
