# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
"""Turn the matrix into jobs: what each run executes, in which folder, under which hash, and what is already done."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.accuracy.data_files import DataHashes
from benchmarks.accuracy.identity import merged_config, source_hash, stable_hash, versions
from benchmarks.accuracy.matrix import ExperimentMatrix, RunKey
from monai_bbox_mil.runs.files import replacing

__all__ = ["EvaluationJob", "RunJob", "plan_runs", "read_json", "stale_folders", "write_json"]

TRAINED, EVALUATED = "trained.json", "done.json"
"""Files that mark a finished training and a finished evaluation; they are written last."""

_QUIET = {"progress": False}
_PICTURES = {"keep_pictures": True}


@dataclass(frozen=True)
class EvaluationJob:
    """One evaluation of a trained run."""

    name: str
    files: list[str]
    overrides: dict[str, Any]
    folder: Path
    hash: str

    @property
    def done(self) -> bool:
        """Return whether its scores are complete."""
        return (self.folder / EVALUATED).is_file()


@dataclass(frozen=True)
class RunJob:
    """One training and its evaluations."""

    key: RunKey
    files: list[str]
    overrides: dict[str, Any]
    folder: Path
    hash: str
    evaluations: list[EvaluationJob]

    @property
    def score_hashes(self) -> list[str]:
        """Return the hash in the rows of ``results.csv``, for each evaluation."""
        return [f"{self.hash}-{evaluation.hash}" for evaluation in self.evaluations]

    @property
    def mark(self) -> Path:
        """Return the file that exists when everything is complete; other evaluations have another one."""
        return self.folder / f"complete_{stable_hash([evaluation.hash for evaluation in self.evaluations], 8)}.json"

    @property
    def log(self) -> Path:
        """Return the file with the output of the run."""
        return self.folder / "log.txt"

    @property
    def trained(self) -> bool:
        """Return whether the training is complete."""
        return (self.folder / TRAINED).is_file()

    @property
    def done(self) -> bool:
        """Return whether the training and all evaluations are complete."""
        return self.trained and all(evaluation.done for evaluation in self.evaluations)


def plan_runs(
    matrix: ExperimentMatrix, keys: Sequence[RunKey], out: str | os.PathLike[str], data: str | os.PathLike[str] | None
) -> list[RunJob]:
    """Plan a job for each run, with its hash.

    Args:
        matrix: what is to be run.
        keys: runs of the matrix.
        out: folder of all runs, and of the cache of data hashes.
        data: folder of the data sets; the working folder when ``None``.

    Raises:
        ExperimentError: when a data set is missing, or configurations do not fit together.
    """
    code, libraries = source_hash(), versions()
    hashes, fingerprints = DataHashes(Path(out) / "data_hashes.json"), {}
    jobs = []
    for key in keys:
        files, overrides = matrix.train_files(key), matrix.train_overrides(key)
        folder_name, fingerprint = matrix.datasets[key.dataset].folder, "made by the configuration"
        if folder_name is not None:
            folder = Path(os.path.abspath(Path(data or ".") / folder_name))
            extra = tuple(str(overrides[k]) for k in ("datalist",) if os.path.isfile(str(overrides.get(k))))
            if (folder, extra) not in fingerprints:
                fingerprints[folder, extra] = hashes.of_folder(folder, extra)
                hashes.save()
            fingerprint = fingerprints[folder, extra]
        # Folders are not part of the hash: the same experiment on another machine is the same experiment.
        config = merged_config(files, overrides)
        run_hash = stable_hash([code, libraries, fingerprint, config])
        place = Path(os.path.abspath(out)) / "runs" / key.folder / run_hash
        if folder_name is not None:
            overrides["dataset_dir"] = str(folder)
        # It changes no score, so it is not in the hash.
        overrides |= {name: value for name, value in _QUIET.items() if name in config}
        overrides |= {"ckpt_dir": str(place / "models"), "output_dir": str(place / "eval")}
        evaluations = [_plan_evaluation(matrix, key, name, overrides, place, run_hash) for name in
                       matrix.systems[key.system].evaluations]  # fmt: skip
        jobs.append(RunJob(key, files, overrides, place, run_hash, evaluations))
    return jobs


def _plan_evaluation(
    matrix: ExperimentMatrix, key: RunKey, name: str, overrides: dict[str, Any], place: Path, run_hash: str
) -> EvaluationJob:
    files = [*matrix.train_files(key), *matrix.evaluate]
    # The evaluation's own files set these values on purpose: a training's override must not undo them.
    evaluate = merged_config(matrix.evaluate, {})
    set_there = {k.lstrip("+").split("#")[0].split("::")[0] for k in evaluate}
    kept = {k: v for k, v in overrides.items() if k.split("#")[0].split("::")[0] not in set_there}
    own = matrix.evaluations[name]
    evaluation_hash = stable_hash([run_hash, evaluate, own], length=8)
    folder = place / "evaluations" / f"{name}-{evaluation_hash}"
    drawn = {k: v for k, v in _PICTURES.items() if k in evaluate}
    return EvaluationJob(name, files, {**kept, **own, **drawn, "output_dir": str(folder)}, folder, evaluation_hash)


def stale_folders(jobs: Iterable[RunJob]) -> list[Path]:
    """Return folders beside those of the jobs, left by other code, configurations, data or library versions."""
    return sorted(
        folder
        for job in jobs
        if job.folder.parent.is_dir()
        for folder in job.folder.parent.iterdir()
        if folder.is_dir() and folder != job.folder
    )


def write_json(path: str | os.PathLike[str], content: Any) -> None:
    """Write JSON completely or not at all."""
    with replacing(path) as unfinished:
        unfinished.write_text(json.dumps(content, indent=2, default=str) + "\n", encoding="utf-8")


def read_json(path: str | os.PathLike[str]) -> Any:
    """Read a file that :func:`write_json` wrote."""
    return json.loads(Path(path).read_text(encoding="utf-8"))
