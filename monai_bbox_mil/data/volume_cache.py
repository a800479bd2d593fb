# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
"""Cache of transformed volumes, filled by threads that end before an error is raised."""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from monai.data import CacheDataset
from tqdm import tqdm

__all__ = ["VolumeCache"]


class VolumeCache(CacheDataset):
    """MONAI's ``CacheDataset``, filled without leaving a thread running after an error.

    MONAI fills its cache from a ``ThreadPool``, which does not wait for its threads if an item raises an error. A
    thread that is still inside torch when the interpreter ends aborts the process, with exit status 134 instead of 1.
    Here, a single worker is the calling thread. Several workers finish their current items, and start no others, before
    the error is raised. The arguments are those of ``CacheDataset``.

    Raises:
        Exception: any error of a transform.

    Example:
        >>> from monai.transforms import Lambda
        >>> list(VolumeCache([1, 2], Lambda(lambda number: 10 * number), num_workers=2, progress=False))
        [10, 20]
    """

    def _fill_cache(self, indices: Sequence[int] | None = None) -> list[Any]:
        indices = range(self.cache_num) if indices is None else indices
        bar: Any = tqdm(total=len(indices), desc="Loading dataset", disable=not self.progress)

        def load(index: int) -> Any:
            item = self._load_cache_item(index)
            bar.update()
            return item

        with bar:
            if self.num_workers == 1:
                return [load(index) for index in indices]
            threads = ThreadPoolExecutor(self.num_workers or os.cpu_count())
            try:
                return list(threads.map(load, indices))
            finally:
                threads.shutdown(cancel_futures=True)
