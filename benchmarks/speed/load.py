# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
"""Run many volumes through ``inference.yaml``, with a kill, and ``evaluate.yaml``; and run one large volume.

Each phase is a process of its own, which records its memory after every volume.
"""

from __future__ import annotations

import json
import logging
import math
import multiprocessing
import os
import signal
import time
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import nibabel
import numpy as np
import pandas as pd
import torch
from ignite.engine import Events
from tqdm import tqdm

from benchmarks.speed.bundle_parts import bundle_parser
from benchmarks.speed.measure import peak_resident_mib, resident_mib
from monai_bbox_mil.data import save_image_settings

SHAPE = (64, 64, 4)
_PROCESSES = multiprocessing.get_context("spawn")


def load(volumes: int, overrides: dict[str, Any], folder: Path, out: Path) -> pd.DataFrame:
    """Segment and score ``volumes`` small volumes; write ``out/load.csv``, ``load_memory.csv`` and ``load.png``.

    The first prediction is killed (``SIGKILL``) after half of the masks and resumed with ``resume``.

    Returns:
        a row per phase: volumes, speed, memory after a tenth of them, after the last, the maximum, and its growth.

    Raises:
        RuntimeError: when a mask is missing, a finished one is written again, or a case has no score.
    """
    images, models, masks = folder / "images", folder / "models", folder / "masks"
    names = make_volumes(images, volumes)
    _save_network(models, SHAPE[:2], overrides)
    places = {"dataset_dir": str(images / "imagesTr"), "ckpt_dir": str(models), "output_dir": str(masks)}
    prediction = {**overrides, **places, "progress": False, "threshold": 0.5}
    scoring = {**prediction, "dataset_dir": str(images), "output_dir": str(folder / "scores"), "image_size": SHAPE[:2]}
    phases: dict[str, tuple[tuple[str, ...], dict[str, Any], int]] = {
        "inference, killed": (("inference",), prediction, volumes // 2),
        "inference, resumed": (("inference",), {**prediction, "resume": True}, 0),
        "evaluation": (("train", "evaluate"), scoring, 0),
    }
    curves: dict[str, pd.DataFrame] = {}
    finished: dict[str, int] = {}
    for phase, (configs, options, stop_after) in tqdm(phases.items(), desc="load", leave=False):
        log = folder / f"{len(curves)}.csv"
        _in_a_process(_run, configs, options, log, stop_after, killed=bool(stop_after))
        curves[phase] = pd.read_csv(log)
        written = {path.name: path.stat().st_mtime_ns for path in masks.glob("*.nii.gz")}
        touched = [name for name, when in finished.items() if written.get(name) != when]
        if touched:
            raise RuntimeError(f"{phase}: {len(touched)} finished masks were written again, such as {touched[0]}.")
        finished = written
    missing = {f"{name}_segmentation.nii.gz" for name in names} ^ set(finished)
    if missing:
        raise RuntimeError(f"{len(missing)} masks are missing or of no image, such as {min(missing)}.")
    scored = pd.read_csv(folder / "scores" / "cases.csv").case
    if set(scored) != set(names):
        raise RuntimeError(f"{volumes} volumes, {scored.nunique()} of them scored.")
    table = pd.DataFrame([_summary(phase, curve) for phase, curve in curves.items()])
    table.to_csv(out / "load.csv", index=False, float_format="%.5g")
    pd.concat(curves, names=["phase"]).reset_index(0).to_csv(out / "load_memory.csv", index=False, float_format="%.5g")
    _draw(curves, out / "load.png")
    return table


def large_volume(shape: Sequence[int], overrides: dict[str, Any], folder: Path, out: Path) -> pd.DataFrame:
    """Segment one volume of ``shape`` (int16, NIfTI, 1x1x4 mm); write ``out/large_volume.csv``.

    It is cropped by ``image_size`` and resampled by ``spacing_mm``, if ``overrides`` has them.

    Returns:
        one row: voxels, the settings, seconds, memory before the volume and the maximum.
    """
    images = folder / "images"
    images.mkdir()
    _save_volume(images / "large.nii.gz", shape, seed=0)
    spacing = overrides.get("spacing_mm")
    whole = [math.ceil(n / mm) for n, mm in zip(shape, spacing or (1, 1))][:2]
    image_size = overrides.get("image_size", whole)
    _save_network(folder / "models", image_size, overrides)
    options = {
        **overrides, "dataset_dir": str(images), "ckpt_dir": str(folder / "models"),
        "output_dir": str(folder / "masks"), "progress": False, "threshold": 0.5,
    }  # fmt: skip
    began = time.perf_counter()
    _in_a_process(_run, ("inference",), options, folder / "large.csv", 0)
    found = pd.read_csv(folder / "large.csv")
    mask = nibabel.nifti1.load(folder / "masks" / "large_segmentation.nii.gz")
    if mask.shape != tuple(shape):
        raise RuntimeError(f"a volume of {tuple(shape)} got a mask of {mask.shape}.")
    table = pd.DataFrame(
        [
            {
                "shape": "x".join(map(str, shape)),
                "spacing_mm": spacing,
                "image_size": image_size,
                "seconds": time.perf_counter() - began,
                "MiB_before": found.MiB[0],
                "peak_MiB": found.peak_MiB.max(),
                "bytes_per_voxel": (found.peak_MiB.max() - found.MiB[0]) * 2**20 / np.prod(shape),
            }
        ]
    )
    table.to_csv(out / "large_volume.csv", index=False, float_format="%.5g")
    return table


def make_volumes(folder: Path, number: int) -> list[str]:
    """Write blobs in noise in Decathlon's layout; all but one are validation cases."""
    (folder / "imagesTr").mkdir(parents=True)
    (folder / "labelsTr").mkdir()
    names = [f"case{index:05d}" for index in range(number)]
    for seed, name in enumerate(names):
        _save_volume(folder / "imagesTr" / f"{name}.nii.gz", SHAPE, seed, folder / "labelsTr" / f"{name}.nii.gz")
    items = [{"image": f"./imagesTr/{name}.nii.gz", "label": f"./labelsTr/{name}.nii.gz"} for name in names]
    (folder / "dataset.json").write_text(json.dumps({"training": [], "validation": items}))
    return names


def _save_volume(path: Path, shape: Sequence[int], seed: int, mask_path: Path | None = None) -> None:
    rng = np.random.default_rng(seed)
    center, radius = rng.uniform(0.3, 0.7, 3) * shape, rng.uniform(0.1, 0.25, 3) * shape
    places = [((np.arange(n) - c) / r) ** 2 for n, c, r in zip(shape, center, radius)]
    image = np.empty(shape, np.int16)
    mask = np.empty(shape, np.uint8)
    for z in range(shape[2]):
        mask[..., z] = places[0][:, None] + places[1][None] + places[2][z] < 1
        image[..., z] = rng.normal(100 + 100 * mask[..., z], 20)
    nibabel.save(nibabel.Nifti1Image(image, np.diag([1, 1, 4, 1])), path)
    if mask_path is not None:
        nibabel.save(nibabel.Nifti1Image(mask, np.diag([1, 1, 4, 1])), mask_path)


def _save_network(models: Path, image_size: Sequence[int], overrides: dict[str, Any]) -> None:
    """Save an untrained network and the files that a training saves beside it."""
    torch.manual_seed(0)
    save_image_settings(models / "image_settings.json", overrides.get("spacing_mm"), image_size)
    parser = bundle_parser("inference", **overrides)
    torch.save(parser.get_parsed_content("network").state_dict(), models / "model.pt")


def _in_a_process(function: Callable[..., None], *arguments: object, killed: bool = False) -> None:
    process = _PROCESSES.Process(target=function, args=arguments)
    process.start()
    process.join()
    if process.exitcode != (-signal.SIGKILL if killed else 0):
        raise RuntimeError(f"{function.__name__} ended with {process.exitcode}; see its error above.")


def _run(configs: Sequence[str], overrides: dict[str, Any], log: Path, stop_after: int) -> None:
    """Run like ``monai.bundle run``, with a line of memory per volume; the one after ``stop_after`` kills it."""
    logging.disable(logging.INFO)
    warnings.filterwarnings("ignore", module="monai")
    parser = bundle_parser(*configs, **overrides)
    parser.get_parsed_content("initialize")
    evaluator = parser.get_parsed_content("evaluator")
    began = time.perf_counter()
    with open(log, "w", buffering=1) as file:
        file.write("volume,seconds,MiB,peak_MiB\n")

        def write() -> None:
            seconds = time.perf_counter() - began
            file.write(f"{evaluator.state.iteration},{seconds:.3f},{resident_mib():.2f},{peak_resident_mib():.2f}\n")

        def kill() -> None:
            if evaluator.state.iteration == stop_after + 1:
                os.kill(os.getpid(), signal.SIGKILL)

        evaluator.add_event_handler(Events.STARTED, write)
        evaluator.add_event_handler(Events.ITERATION_COMPLETED, write)
        if stop_after:
            evaluator.add_event_handler(Events.ITERATION_STARTED, kill)
        parser.get_parsed_content("run")
        write()
    if "finalize" in parser:
        parser.get_parsed_content("finalize")


def _summary(phase: str, curve: pd.DataFrame) -> dict[str, Any]:
    done, half = curve.volume.max(), curve[curve.volume >= curve.volume.max() / 2]
    return {
        "phase": phase,
        "volumes": done,
        "volumes_per_s": done / curve.seconds.max(),
        "MiB_after_a_tenth": curve.MiB[curve.volume >= done / 10].iloc[0],
        "MiB_at_the_end": curve.MiB.iloc[-1],
        "peak_MiB": curve.peak_MiB.max(),
        "MiB_per_1000_volumes": 1000 * np.polyfit(half.volume, half.MiB, 1)[0],
    }


def _draw(curves: dict[str, pd.DataFrame], path: Path) -> None:
    figure, axis = plt.subplots(figsize=(6, 3.4), constrained_layout=True)
    for phase, curve in curves.items():
        axis.plot(curve.volume, curve.MiB, label=phase)
    axis.set(xlabel="volumes", ylabel="memory of the process, MiB", xlim=(0, None), ylim=(0, None))
    axis.legend(loc="lower right")
    figure.savefig(path, dpi=110)
    plt.close(figure)
