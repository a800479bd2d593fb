# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
"""Slices of volumes as a map-style data set."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.data import Dataset, MetaTensor
from monai.data.utils import set_rnd
from monai.transforms import Compose, Randomizable, Transform, apply_transform
from torch.utils.data import Dataset as TorchDataset
from tqdm import tqdm

from monai_bbox_mil.annotations import check_box_frame, with_box_frame
from monai_bbox_mil.boxes import slice_box_tensor
from monai_bbox_mil.data.object_counts import ObjectCount, count_objects
from monai_bbox_mil.data.shared_labels import SharedLabels
from monai_bbox_mil.data.volume_cache import VolumeCache

__all__ = ["SliceDataset"]


class SliceDataset(TorchDataset[dict[str, Any]]):
    """Every slice of every volume, once per epoch.

    Volumes are transformed once and, with the default ``cache_rate``, kept in memory. A slice is cut from its volume on
    each access; its ``volume_index`` and ``slice_index`` say where it comes from. Because the data set is map-style,
    loaders can shuffle it and ``DistributedSampler`` can split it. A 2D image is one slice. The attribute ``objects``
    counts the objects in the labels, see :func:`~monai_bbox_mil.data.check_objects`.

    Args:
        data: items of a MONAI data list, or any map-style data set of dictionaries.
        transform: volume transforms; their leading deterministic part is cached, as in MONAI's ``CacheDataset``.
        slice_transform: transforms of each slice's dictionary, run on every access.
        keys: keys of the values to cut, if present: channel-first images and masks ``(C, H, W, Z)`` are cut to
            ``(C, H, W)``, and box tensors ``(N, 7)`` to ``(N', 5)``.
        slice_dim: spatial axis along which volumes are cut; ``None`` to use each whole volume as a single slice.
        cache_rate: share of the volumes to keep in memory. The others are loaded again for each of their slices.
        num_workers: number of threads that fill the cache. With 1 the calling thread does it; ``None`` uses one thread
            per core.
        progress: whether to show a progress bar while the cache is filled.

    Raises:
        ValueError: if there are no items, an item has no image under ``keys``, or its images differ in size.

    Example:
        >>> volumes = [{"image": torch.zeros(1, 8, 8, 3)}, {"image": torch.zeros(1, 8, 8, 2)}]
        >>> slices = SliceDataset(volumes, progress=False)
        >>> len(slices), slices[4]["image"].shape, slices[4]["slice_index"]
        (5, torch.Size([1, 8, 8]), 1)
    """

    def __init__(
        self,
        data: Sequence[Mapping[str, Any]],
        transform: Callable[..., Any] | None = None,
        slice_transform: Callable[..., Any] | None = None,
        keys: Sequence[str] = ("image", "label", "mask"),
        slice_dim: int | None = -1,
        cache_rate: float = 1.0,
        num_workers: int | None = 1,
        progress: bool = True,
    ) -> None:
        if len(data) == 0:
            raise ValueError("data must hold at least one item, got none.")
        self.items = data
        self.keys = tuple(keys)
        self.slice_dim = slice_dim
        self.slice_transform = slice_transform
        self.labels: SharedLabels | None = None
        self._relabelled = torch.empty(0, dtype=torch.bool)
        # In shared memory, so that persistent workers see changes; negative for no seed.
        self._item_seed = torch.full((1,), -1).share_memory_()
        self._label_key = ""
        self._checked: dict[tuple[int, str], torch.Tensor] = {}
        if transform is None:
            self.volumes: Any = data
        elif cache_rate > 0:
            # The cached volumes are only read. Copying one for every slice would cost more than everything else.
            self.volumes = VolumeCache(
                data, transform, cache_rate=cache_rate, num_workers=num_workers, progress=progress, copy_cache=False
            )
        else:
            self.volumes = Dataset(data, transform)
        transforms = (getattr(self.volumes, "transform", None), slice_transform)
        self._random = [t for t in transforms if _may_draw(t)]
        indices = tqdm(range(len(data)), desc="Counting slices", disable=not progress or cache_rate >= 1)
        self.num_slices: list[int] = []
        self.objects: list[ObjectCount] = []
        for i in indices:  # one access per volume, because a volume outside the cache is loaded anew each time
            item = self.volumes[i]
            self.num_slices.append(self._count_slices(item, i))
            self.objects.append(count_objects(item))
        self._first = [0, *accumulate(self.num_slices)]

    def __len__(self) -> int:
        return self._first[-1]

    def __getitem__(self, index: int) -> Any:
        if (seed := int(self._item_seed)) >= 0:
            mixed = np.random.SeedSequence((seed, index % len(self))).generate_state(1)[0]
            set_rnd(self._random, int(mixed))
        item = self.plain(index)
        return item if self.slice_transform is None else apply_transform(self.slice_transform, item)

    def seed_items(self, seed: int) -> None:
        """Seed random MONAI transforms for each slice, from ``seed`` and the slice's index, from now on.

        This applies here and in all workers of a loader, even persistent ones. So neither the number of workers nor
        the order of the slices matters. Call it before each epoch with another seed
        (:class:`~monai_bbox_mil.runs.StepSeeder` does).

        Args:
            seed: at least 0.

        Example:
            >>> from monai.transforms import RandGaussianNoised
            >>> image = {"image": torch.zeros(1, 4, 4)}
            >>> slices = SliceDataset([image, image], None, RandGaussianNoised("image", prob=1.0))
            >>> slices.seed_items(0)
            >>> [bool((slices[i]["image"] == slices[1]["image"]).all()) for i in (0, 1)]
            [False, True]
        """
        self._item_seed.fill_(seed)

    def case_names(self, batch: Mapping[str, Any]) -> list[str]:
        """Name the origin of each slice of a collated batch: the file or patient of its volume, and the slice number.

        A file is named by its whole path if other folders have a file of the same name.

        Args:
            batch: collated batch with ``volume_index`` and ``slice_index``, ``(B,)`` each.
        """
        volumes, slices = (torch.as_tensor(batch[key]).tolist() for key in ("volume_index", "slice_index"))
        files = [self._file(item) for item in self.items]
        shared = Counter(file.name for file in {*files} if file is not None)
        names = []
        for volume, index in zip(volumes, slices):
            file = files[volume]
            if file is None:
                name = str(self.items[volume].get("patient", f"volume {volume}"))
            else:
                name = file.name if shared[file.name] == 1 else str(file)
            names.append(f"{name} slice {index}" if self.num_slices[volume] > 1 else name)
        return names

    def _file(self, item: Mapping[str, Any]) -> Path | None:
        path = next((item[key] for key in self.keys if isinstance(item.get(key), (str, os.PathLike))), None)
        return None if path is None else Path(path)

    def plain(self, index: int) -> dict[str, Any]:
        """Return one slice's dictionary before ``slice_transform``, with its current label.

        Raises:
            IndexError: if there is no such slice.
        """
        if not -len(self) <= index < len(self):
            raise IndexError(f"index {index} is out of range for {len(self)} slices.")
        index %= len(self)
        volume = int(np.searchsorted(self._first, index, side="right")) - 1
        item = self._cut(self.volumes[volume], volume, index - self._first[volume])
        if self.labels is not None and self._relabelled[index]:
            item[self._label_key] = self.labels[index]
        return item

    def allow_relabelling(self, key: str = "label", num_classes: int | None = None) -> SharedLabels:
        """Store the labels of all slices separately from their volumes, so that :meth:`relabel` can replace them.

        Call it before a loader starts its workers. From then on they share the labels, whether they are persistent or
        not, and at any ``cache_rate``. The labels of all slices are kept in memory. A second call changes nothing.

        Args:
            key: key of the labels: tensors whose shape does not change, such as masks ``(C, H, W)``.
            num_classes: number of channels of the pixel labels with which :meth:`relabel` will replace box tensors. A
                slice keeps its box tensor until it is relabelled. ``None`` if the labels are not box tensors.

        Returns:
            the labels, in the order of the slices.

        Raises:
            ValueError: if a slice has no tensor under ``key``.

        Example:
            >>> slices = SliceDataset([{"image": torch.zeros(1, 8, 8, 2), "label": torch.ones(1, 8, 8, 2)}])
            >>> labels = slices.allow_relabelling()
            >>> slices.relabel(1, torch.zeros(1, 8, 8))
            >>> [int(item["label"].sum()) for item in slices]
            [64, 0]
        """
        if self.labels is None or key != self._label_key:
            labels = SharedLabels(self._labels(key) if num_classes is None else self._no_labels(num_classes))
            self._relabelled = torch.full((len(self),), num_classes is None).share_memory_()
            self.labels, self._label_key = labels, key
        return self.labels

    def relabel(self, index: int, label: torch.Tensor) -> None:
        """Replace the label of one slice, here and in all workers of a loader.

        Args:
            index: index of the slice.
            label: label before ``slice_transform``, in the shape of the former one.

        Raises:
            RuntimeError: if :meth:`allow_relabelling` was not called before.
            ValueError: if the shape differs.
        """
        if self.labels is None:
            raise RuntimeError("allow_relabelling must be called before relabel, and before a loader starts workers.")
        self.labels[index] = label
        self._relabelled[index] = True

    def _labels(self, key: str) -> Iterator[torch.Tensor]:
        for index in range(len(self)):
            label = self.plain(index).get(key)
            if not torch.is_tensor(label):
                raise ValueError(f"slice {index} must hold a tensor under {key!r}, got {type(label).__name__}.")
            yield label

    def _no_labels(self, num_classes: int) -> Iterator[torch.Tensor]:
        for first, number in zip(self._first, self.num_slices):  # the slices of a volume have one size
            item = self.plain(first)
            image = next(item[key] for key in self.keys if key in item and item[key].ndim > 2)
            yield from [torch.zeros(num_classes, *image.shape[1:], dtype=torch.uint8)] * number

    def _count_slices(self, item: Mapping[str, Any], number: int) -> int:
        shapes = {key: tuple(item[key].shape[1:]) for key in self.keys if key in item and item[key].ndim > 2}
        if not shapes:
            raise ValueError(
                f"data[{number}] must hold an image under one of the keys {self.keys}, got the keys {tuple(item)}."
            )
        if len(set(shapes.values())) > 1:
            raise ValueError(f"data[{number}] must hold images of one size, got {shapes}.")
        shape = next(iter(shapes.values()))
        if len(shape) not in (2, 3):
            raise ValueError(f"data[{number}] must hold 2D or 3D images, got the spatial shape {shape}.")
        return shape[self.slice_dim] if self.slice_dim is not None and len(shape) == 3 else 1

    def _cut(self, item: Mapping[str, Any], volume: int, index: int) -> dict[str, Any]:
        cut = dict(item, slice_index=index, volume_index=volume)
        if self.slice_dim is None:
            return cut
        images = [key for key in self.keys if key in cut and cut[key].ndim == 4]
        boxes = [key for key in self.keys if key in cut and cut[key].ndim == 2 and cut[key].shape[1] == 7]
        for key in images:
            cut[key] = _select(cut[key], self.slice_dim % 3, index)
        for key in boxes:
            framed, rows = images and isinstance(item[key], MetaTensor), item[key].as_subclass(torch.Tensor)
            if framed and self._checked.get((volume, key)) is not item[key]:  # one check for all slices of a volume
                check_box_frame(item[key], item[images[0]], repr(key), images[0])
                self._checked[volume, key] = item[key]
            cut[key] = slice_box_tensor(rows, index, self.slice_dim)
            if framed:
                cut[key] = with_box_frame(cut[key], cut[images[0]])
        return cut


def _may_draw(transform: Callable[..., Any] | None) -> bool:
    if isinstance(transform, Compose):  # Compose is always Randomizable, whatever it contains
        return any(map(_may_draw, transform.transforms))
    return transform is not None and (isinstance(transform, Randomizable) or not isinstance(transform, Transform))


def _select(volume: torch.Tensor, dim: int, index: int) -> torch.Tensor:
    """Copy one slice of a volume; a ``MetaTensor`` keeps its file name and the slice's affine."""
    pixels = torch.as_tensor(volume).as_subclass(torch.Tensor).select(dim + 1, index).clone()
    if not isinstance(volume, MetaTensor):
        return pixels
    affine = volume.affine.clone()
    affine[:3, 3] += index * affine[:3, dim]
    kept = [i for i in range(3) if i != dim]
    affine = affine[:, [*kept, dim, 3]]
    name = {k: volume.meta[k] for k in ("filename_or_obj",) if k in volume.meta}
    return MetaTensor(pixels, affine=affine, meta=name)
