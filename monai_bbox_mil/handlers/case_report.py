# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
"""Scores of each case as CSV, and pictures of the best, the median and the worst case."""

from __future__ import annotations

import hashlib
import logging
import os
import warnings
from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypeVar

import ignite.distributed as idist
import numpy as np
import pandas as pd
import torch
from ignite.engine import Engine, Events
from monai.data.utils import affine_to_spacing
from monai.metrics import compute_dice, compute_hausdorff_distance
from torch import Tensor

from monai_bbox_mil.boxes import slice_box_tensor
from monai_bbox_mil.csv_tables import write_table
from monai_bbox_mil.data.case_names import shortest_names
from monai_bbox_mil.metrics import box_region_iou
from monai_bbox_mil.runs.files import printable
from monai_bbox_mil.visualize import CasePicture, load_pictures, save_picture_grid, save_pictures

__all__ = ["CaseReport"]

_SCORES = ("dice", "hd95_mm", "box_iou")
_Value = TypeVar("_Value")


class CaseReport:
    """Score each volume at its own resolution and write ``cases.csv``, ``summary.csv`` and ``cases.png``.

    The scores of each case and class are the 3D Dice (1 where both masks are empty), the 95 % Hausdorff distance in mm
    (blank where either mask is empty) and the IoU of the predicted and the given box regions. Without masks there is
    only the IoU.

    The handler reads, for each case, ``original`` (the image as loaded), ``label`` (its box tensor ``(N, 7)``),
    ``pred`` (``(C, H, W, Z)``, binary, with the geometry of ``original``) and, if present, ``mask``
    (``(C, H, W, Z)``).

    A case is an item of the data list. Its name is the file name of its image, preceded by as many folders as are
    needed to make it unique. If several items share the image, the mask's name or a number follows.

    Args:
        output_dir: folder for the three files.
        class_names: names of the channels, all different.
        threshold: threshold or thresholds to record beside the scores.
        slice_dim: axis along which the given boxes were drawn slice by slice; ``None`` for boxes of whole volumes.
        num_pictures: number of rows of the picture grid.
        name: name of the logger; ``None`` for the engine's logger.
        keep_pictures: whether to also save, for each case, the slice that shows most of the object to ``pictures.npz``,
            see :func:`~monai_bbox_mil.visualize.load_pictures`.
        images: paths of all images in the data list; for an image of several files, a list of paths. With them, a
            case has the same name whichever images are evaluated. Without them, names are unique only among the
            evaluated images.

    Raises:
        ValueError: if two class names are the same.
    """

    def __init__(
        self,
        output_dir: str | os.PathLike[str],
        class_names: Sequence[str],
        threshold: float | Sequence[float] | None = None,
        slice_dim: int | None = -1,
        num_pictures: int = 3,
        name: str | None = None,
        keep_pictures: bool = False,
        images: Sequence[str | os.PathLike[str] | Sequence[str | os.PathLike[str]]] = (),
    ) -> None:
        self.output_dir = Path(output_dir)
        self.class_names = tuple(str(each) for each in class_names)
        if len(set(self.class_names)) < len(self.class_names):
            raise ValueError(f"class_names must differ from each other, got {list(self.class_names)}.")
        self.threshold = np.broadcast_to(np.nan if threshold is None else threshold, len(self.class_names)).tolist()
        self.slice_dim = slice_dim
        self.num_pictures = num_pictures
        self.keep_pictures = keep_pictures
        self.images = [os.fspath(i) if isinstance(i, (str, os.PathLike)) else os.fspath(i[0]) for i in images]
        self._name = name
        self._rows: list[dict[str, Any]] = []
        self._pictures: dict[str, Path] = {}

    def attach(self, engine: Engine) -> None:
        """Watch ``engine``, an evaluator whose output is decollated."""
        engine.add_event_handler(Events.STARTED, self._start)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self._add)
        engine.add_event_handler(Events.COMPLETED, self._finish)

    def _start(self) -> None:
        self._rows, self._pictures = [], {}
        # Which pictures to show is known only at the end. Until then they are on disk, to save memory.
        self._scratch = TemporaryDirectory(prefix="case_report_")

    def _add(self, engine: Engine) -> None:
        items: Any = zip(engine.state.batch, engine.state.output)  # type: ignore[call-overload]
        rank = idist.get_rank()
        for batch, output in items:
            case = {**batch, **output}
            known: dict[str, Any] = {
                "_item": _identity(case),
                "_image": _path(case["original"]),
                "_mask": _path(case.get("mask")),
            }
            # With n processes, samplers give each process every n-th item of the data list.
            known["_order"] = (len(self._pictures), rank)
            self._rows += [{**known, **row} for row in self._score(case)]
            path = Path(self._scratch.name, f"{len(self._pictures)}.npz")
            save_pictures(path, {known["_item"]: _picture(case)})
            self._pictures[known["_item"]] = path

    def _score(self, case: Mapping[str, Any]) -> list[dict[str, Any]]:
        pred = case["pred"].as_subclass(Tensor).cpu()
        if len(pred) != len(self.class_names):
            raise ValueError(
                f"class_names must have one name per channel of pred ({len(pred)}), got {self.class_names}."
            )
        scores = {"box_iou": box_region_iou(pred, case["label"], self.slice_dim)}
        mask = case.get("mask")
        if mask is not None:
            mask = mask.as_subclass(Tensor).cpu()
            if mask.shape != pred.shape:
                name = _path(case["original"])
                raise ValueError(
                    f"{name}: mask must have the shape of pred {tuple(pred.shape)}, got {tuple(mask.shape)}."
                )
            scores["dice"] = compute_dice(pred[None], mask[None], include_background=True, ignore_empty=False)[0]
            scores["hd95_mm"] = _hausdorff_95(pred, mask, affine_to_spacing(case["original"].affine).tolist())
        patient = case.get("patient")
        return [
            {
                "patient": patient.item() if isinstance(patient, Tensor) else patient,
                "class": name,
                **{key: scores[key][channel].item() if key in scores else np.nan for key in _SCORES},
                "pred_voxels": int(pred[channel].sum()),
                "mask_voxels": np.nan if mask is None else int(mask[channel].sum()),
                "threshold": self.threshold[channel],
            }
            for channel, name in enumerate(self.class_names)
        ]

    def _table(self) -> pd.DataFrame:
        """Collect the scores from all processes in a table with one row per case and class."""
        gathered = _gather(self._rows)
        rows = pd.DataFrame(gathered).sort_values("_order", kind="stable")
        # A distributed sampler repeats cases to even out its ranks.
        rows = rows.drop_duplicates(["_item", "class"])
        items = rows.drop_duplicates("_item")
        names = dict(zip(items["_item"], _name_cases(items["_image"].tolist(), items["_mask"].tolist(), self.images)))
        rows.insert(0, "case", rows["_item"].map(names))
        rows["patient"] = rows["patient"].where(rows["patient"].notna(), rows["case"])
        return rows.sort_values(["case", "class"], kind="stable")

    def _finish(self, engine: Engine) -> None:
        cases = self._table()
        items = dict(zip(cases["case"], cases["_item"]))
        cases = cases.drop(columns=["_item", "_image", "_mask", "_order"])
        per_class = cases.groupby("class", sort=False)[list(_SCORES)]
        summary = per_class.agg(["mean", "std", "median", "min", "count"]).stack(level=0, future_stack=True)
        summary.index.names = ["class", "score"]
        for score in _SCORES:
            if cases[score].notna().any():
                engine.state.metrics[f"mean_{score}"] = float(cases[score].mean())
        order = cases.groupby("case")[["dice" if cases["dice"].notna().any() else "box_iou"]].mean().iloc[:, 0]
        order = order.sort_values(ascending=False, na_position="last")
        places = np.linspace(0, len(order) - 1, min(self.num_pictures, len(order))).round().astype(int)
        wanted = order.index if self.keep_pictures else order.index[places]
        kept = [(n, load_pictures(self._pictures[items[n]])[items[n]]) for n in wanted if items[n] in self._pictures]
        pictures: dict[str, CasePicture] = dict(_gather(kept))
        self._scratch.cleanup()
        if idist.get_rank() > 0:
            return
        self.output_dir.mkdir(parents=True, exist_ok=True)
        write_table(self.output_dir / "cases.csv", cases, float_format="%.5g")
        write_table(self.output_dir / "summary.csv", summary.reset_index(), float_format="%.5g")
        shown = [pictures[n]._replace(title=title) for n, title in _titles(order, places).items()]
        save_picture_grid(self.output_dir / "cases.png", shown, self.class_names)
        if self.keep_pictures:
            save_pictures(self.output_dir / "pictures.npz", {n: pictures[n]._replace(title=n) for n in order.index})
        logger = logging.getLogger(self._name) if self._name else engine.logger
        for text in (
            f"Scores of each case:\n{cases.to_string(index=False, float_format='%.3f')}",
            f"Summary:\n{summary.to_string(float_format='%.3f')}\nwritten to {self.output_dir}",
        ):
            logger.info(printable(text))


def _path(image: Any) -> str:
    """Return the path that an image was read from, or ``"image"`` if it is unknown."""
    return str(getattr(image, "meta", {}).get("filename_or_obj", "image"))


def _identity(case: Mapping[str, Any]) -> str:
    """Compute a hash that is the same when an item is repeated, and differs between items of the same image."""
    found = hashlib.blake2b(repr((_path(case["original"]), case.get("patient"))).encode(errors="surrogatepass"))
    for key in ("original", "label", "mask"):
        if case.get(key) is not None:
            voxels = torch.as_tensor(case[key]).as_subclass(Tensor).cpu().contiguous()
            found.update(f"{key} {tuple(voxels.shape)}".encode())
            found.update(voxels.numpy().data)
    return found.hexdigest()


def _name_cases(images: Sequence[str], masks: Sequence[str], others: Sequence[str]) -> list[str]:
    """Give each item a unique name made from the paths of its image and its mask."""
    names, shown = shortest_names([*others, *images]), shortest_names(masks)
    shared = Counter(names[image] for image in images)
    named = [names[i] if shared[names[i]] == 1 else f"{names[i]} ({shown[m]})" for i, m in zip(images, masks)]
    total, taken, result = Counter(named), {*names.values(), *named}, []
    for image, name in zip(images, named):
        if total[name] > 1:
            name = next(f"{names[image]} ({n})" for n in count(1) if f"{names[image]} ({n})" not in taken)
            taken.add(name)
        result.append(name)
    return result


def _hausdorff_95(pred: Tensor, mask: Tensor, spacing_mm: list[float]) -> Tensor:
    """Compute the ``(C,)`` 95 % Hausdorff distance in mm; NaN where it is undefined."""
    if pred.shape[-1] == 1:  # the surface of a single slice is its outline
        pred, mask, spacing_mm = pred[..., 0], mask[..., 0], spacing_mm[:-1]
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*all 0.*")
        distance = compute_hausdorff_distance(
            pred[None].float(), mask[None].float(), include_background=True, percentile=95, spacing=spacing_mm
        )[0]
    return torch.where(torch.isfinite(distance), distance, torch.nan)


def _titles(order: pd.Series, places: np.ndarray) -> dict[str, str]:
    """Make the titles of the pictures, keyed by case name: the name, the score, and whether it is best or worst."""
    score = {"dice": "Dice", "box_iou": "IoU with boxes"}[str(order.name)]
    ranks = {0: "best", len(order) - 1: "worst"} if len(order) > 1 else {}
    return {
        order.index[i]: f"{order.index[i]}\n{score} {order.iloc[i]:.3f}{f' ({ranks[i]})' if i in ranks else ''}"
        for i in places.tolist()
    }


def _picture(case: Mapping[str, Any]) -> CasePicture:
    """Make a picture of the slice with the largest area of the mask, or of the boxes if there is no mask."""
    image, boxes = case["original"], torch.as_tensor(case["label"]).as_subclass(Tensor).cpu()
    pred = case["pred"].as_subclass(Tensor).cpu().numpy()
    mask = None if case.get("mask") is None else case["mask"].as_subclass(Tensor).cpu().numpy()
    if mask is not None:
        area = mask.sum((0, 1, 2))
    else:
        per_slice = [slice_box_tensor(boxes, z) for z in range(pred.shape[-1])]
        area = np.array([((b[:, 2] - b[:, 0]) * (b[:, 3] - b[:, 1])).sum().item() for b in per_slice])
    z = int(area.argmax())
    spacing_mm = affine_to_spacing(image.affine).tolist()
    # Show the patient's front at the top: in the affine's world coordinates y increases toward the front. The rows of a
    # 2D picture already start at the top.
    flat = len(np.atleast_1d(image.meta.get("spatial_shape", (0, 0, 0)))) == 2
    return CasePicture(
        title="",
        image=image.as_subclass(Tensor)[0, ..., z].cpu().numpy().astype(np.float32),
        boxes=slice_box_tensor(boxes, z).numpy(),
        mask=None if mask is None else mask[..., z].astype(np.uint8),
        pred=pred[..., z].astype(np.uint8),
        aspect=spacing_mm[1] / spacing_mm[0],
        upright=flat or float(image.affine[1, 1]) < 0,
    )


def _gather(values: list[_Value]) -> list[_Value]:
    """Gather the values of all ranks in one list."""
    gathered: Any = idist.all_gather(values)
    return [value for part in gathered for value in part]
