# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
"""Images of a run: the user's own, or the phantom by default."""

from __future__ import annotations

import os
from typing import Any

from monai_bbox_mil.data.datalists import get_datalist
from monai_bbox_mil.data.phantom import make_phantom

__all__ = ["phantom_or_datalist"]


def phantom_or_datalist(
    dataset_dir: str | os.PathLike[str],
    datalist: str | os.PathLike[str] | None = None,
    phantom_dir: str | os.PathLike[str] | None = None,
    progress: bool = True,
) -> dict[str, list[dict[str, Any]]]:
    """List the images of each part; make the phantom first if its folder is given and does not exist.

    Args:
        dataset_dir: folder of the images.
        datalist: their data list (JSON), if ``dataset_dir`` holds none under a known name; then no phantom is made.
        phantom_dir: the ``dataset_dir`` for which the phantom is made.
        progress: whether making the phantom shows a progress bar.

    Returns:
        ``{"training": [...], "validation": [...]}`` and other parts, as :func:`~monai_bbox_mil.data.get_datalist` gives
        them.

    Raises:
        FileNotFoundError, ValueError: as :func:`~monai_bbox_mil.data.get_datalist` does.
    """
    if datalist is None and phantom_dir is not None and str(dataset_dir) == str(phantom_dir):
        return make_phantom(phantom_dir, progress=progress)
    return get_datalist(dataset_dir, datalist)
