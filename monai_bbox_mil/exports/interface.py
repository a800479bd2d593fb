# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
"""The interface of exports: each takes the prediction of one image after the other, and is finished once."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

from monai_bbox_mil.exports.prediction import Prediction, check_class_names
from monai_bbox_mil.runs.files import replacing, same_place
from monai_bbox_mil.transforms.mask_files import mask_extension, mask_path

__all__ = ["Export", "FilePerImage", "OneFile"]


class Export(ABC):
    """Writes predictions in the format of a tool.

    Args:
        output_dir: folder to write to, made if it is not there.
        class_names: names of the classes, as in each :class:`.Prediction`.
        data_root_dir: folder that all images lie in, at any depth. Folders between it and an image are repeated in the
            names of files.

    Raises:
        ValueError: for names that the format cannot hold.
    """

    name: ClassVar[str]
    """Its name in :data:`.EXPORTS`."""
    holds_volumes: ClassVar[bool] = True
    """Whether it can hold more than one slice."""
    needs_mm: ClassVar[bool] = False
    """Whether it places objects in millimetres."""

    def __init__(
        self,
        output_dir: str | os.PathLike[str],
        class_names: Sequence[str],
        data_root_dir: str | os.PathLike[str] = "",
    ) -> None:
        self.output_dir = Path(output_dir)
        self.data_root_dir = os.fspath(data_root_dir)
        self._prepare(class_names)

    def _prepare(self, class_names: Sequence[str]) -> None:
        """Take the names of the classes, or raise an error if the format cannot hold them; start collecting."""
        self.class_names = check_class_names(class_names, range(1, len(class_names) + 1))

    def add(self, prediction: Prediction) -> None:
        """Add the prediction of one image; a later one of the same image replaces it.

        Raises:
            ValueError: when the format cannot hold it.
            OSError: when a file cannot be written.
        """
        if prediction.class_names != self.class_names:
            raise ValueError(
                f"class_names: expected {list(self.class_names)} in all predictions, got "
                f"{list(prediction.class_names)} for {prediction.image}."
            )
        if not (self.holds_volumes or prediction.is_flat):
            raise ValueError(
                f"export {self.name}: expected pictures, which are all that this format holds, got {prediction.image} "
                f"with {' x '.join(map(str, prediction.labels.shape))} voxels. For volumes export slicer_rois, "
                "seg_nrrd or dicom_seg."
            )
        if self.needs_mm and prediction.unplaced:
            raise ValueError(
                f"export {self.name}: expected an image with a place in millimetres, which this format needs, got "
                f"{prediction.image}: {prediction.unplaced} For pictures export coco, yolo, cvat or label_studio."
            )
        self._add(prediction)

    @abstractmethod
    def _add(self, prediction: Prediction) -> None:
        """Add a prediction that the format can hold."""

    @abstractmethod
    def finish(self) -> None:
        """Write what describes all images together.

        Raises:
            OSError: when it cannot be written.
        """


class FilePerImage(Export):
    """An export with a file per image, in a folder with the export's name."""

    suffix: ClassVar[str]
    """Extension of its files."""
    folder: ClassVar[str] = ""
    """Folder of the files below that of the export."""

    def _prepare(self, class_names: Sequence[str]) -> None:
        super()._prepare(class_names)
        self._images: dict[Path, str] = {}

    def path(self, image: str | os.PathLike[str]) -> Path:
        """Return the path of an image's file.

        Raises:
            ValueError: as :func:`~monai_bbox_mil.transforms.mask_path`.
        """
        like = mask_path(image, self.output_dir / self.name / self.folder, "", self.data_root_dir)
        return like.with_name(like.name.removesuffix(mask_extension(like)) + self.suffix)

    def _add(self, prediction: Prediction) -> None:
        target = self.path(prediction.image)
        image = os.path.abspath(prediction.image)
        other = self._images.setdefault(same_place(target), image)
        if other != image:
            raise ValueError(
                f"export {self.name}: expected one file per image, got {target} for both {other} and {image}. Give "
                "data_root_dir, or rename one of the images."
            )
        with replacing(target) as unfinished:
            self._write(prediction, unfinished)

    @abstractmethod
    def _write(self, prediction: Prediction, path: Path) -> None:
        """Write the file of one image."""

    def finish(self) -> None:
        """Do nothing: each image has its file."""


class OneFile(Export):
    """An export with one file for all images, written by :meth:`finish`.

    ``records`` has what the file says about each image, by the image's path, as JSON can hold it. So processes that
    share the images can send their records to one of them, which writes the file, or pass them on by
    :func:`.save_records`. The file's bytes do not depend on the order of the images.
    """

    file_name: ClassVar[str]
    """Name of the file in ``output_dir``."""

    def _prepare(self, class_names: Sequence[str]) -> None:
        super()._prepare(class_names)
        self.records: dict[str, Any] = {}

    def _add(self, prediction: Prediction) -> None:
        self.records[os.path.abspath(prediction.image)] = self._record(prediction)

    def finish(self) -> None:
        """Write the file; without images, one that lists none."""
        names = _names(list(self.records), self.data_root_dir)
        listed = [(names[image], self.records[image]) for image in sorted(self.records, key=lambda each: names[each])]
        with replacing(self.output_dir / self.file_name) as unfinished:
            self._write(listed, unfinished)

    @abstractmethod
    def _record(self, prediction: Prediction) -> Any:
        """Return what the file says about an image."""

    @abstractmethod
    def _write(self, listed: Sequence[tuple[str, Any]], path: Path) -> None:
        """Write the file from the name and the record of each image."""


def _names(images: Sequence[str], data_root_dir: str) -> dict[str, str]:
    """Name images by their paths below ``data_root_dir``, or below the folder that all share."""
    if not images:
        return {}
    root = os.path.abspath(data_root_dir) if data_root_dir else os.path.commonpath([*map(os.path.dirname, images)])
    outside = next((image for image in images if data_root_dir and os.path.commonpath([root, image]) != root), None)
    if outside is not None:
        raise ValueError(f"data_root_dir {data_root_dir}: expected a folder that holds all images, got {outside}.")
    return {image: Path(os.path.relpath(image, root)).as_posix() for image in images}
