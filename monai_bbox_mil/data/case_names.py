# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
"""Short, unique names of cases, made from their paths."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from monai_bbox_mil.data.image_files import image_stem
from monai_bbox_mil.runs.files import printable

__all__ = ["shortest_names"]


def shortest_names(paths: Iterable[str | os.PathLike[str]]) -> dict[str, str]:
    """Name each image by its file name without extension, after the fewest folders that make the name unique.

    The extension is part of the name only if nothing else differs. Bytes that are not UTF-8 are escaped.

    Args:
        paths: paths of all images; repeated paths are allowed.

    Returns:
        A dictionary from path to name, without equal names.

    Example:
        >>> shortest_names(["a/p1/image.nii.gz", "b/p1/image.nii.gz", "b/p2/image.nii.gz", "b/p2/other.png"])
        {'a/p1/image.nii.gz': 'a/p1/image',
         'b/p1/image.nii.gz': 'b/p1/image',
         'b/p2/image.nii.gz': 'p2/image',
         'b/p2/other.png': 'other'}
        >>> list(shortest_names(["p1/image.png", "p1/image.jpg"]).values())
        ['image.png', 'image.jpg']
    """
    whole = list(dict.fromkeys(os.fspath(path) for path in paths))
    # Two spellings of a path mean one file, which gets one name.
    parts = {path: Path(os.path.abspath(path)).parts for path in whole}
    stems = {each: (*each[:-1], image_stem(Path(*each))) for each in parts.values()}
    shared = Counter(stems.values())
    known = Counter(stem[start:] for stem in shared for start in range(len(stem)))
    names = {}
    for each, stem in stems.items():
        start = max((start for start in range(len(stem)) if known[stem[start:]] == 1), default=0)
        names[each] = printable(Path(*(stem if shared[stem] == 1 else each)[start:]).as_posix())
    return {path: names[each] for path, each in parts.items()}
