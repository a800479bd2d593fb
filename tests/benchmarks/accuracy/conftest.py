# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from monai_bbox_mil.data import make_phantom

REPOSITORY = Path(__file__).parents[3]
CONFIGS = REPOSITORY / "bundle" / "configs"
# A network and images small enough for seconds; everything else is what real experiments use.
TINY = {"image_size": [32, 32], "network_def#features": [4, 4, 8, 8, 16, 4], "batch_size": 16, "max_epochs": 1,
        "val_interval": 1}  # fmt: skip


def matrix_content() -> dict:
    """Full supervision and boxes with the paper's weights on the phantom, with everything that a report can show."""
    return {
        "base": [str(CONFIGS / "train.yaml"), str(CONFIGS / "experiments" / "protocol.yaml")],
        "evaluate": [str(CONFIGS / "evaluate.yaml")],
        "overrides": dict(TINY),
        "datasets": {"phantom": {"title": "the phantom", "folder": "phantom"}},
        "systems": {
            "full": {"label": "full supervision", "overrides": {"supervision": "full"}, "evaluations": ["0.5"]},
            "paper": {"label": "the paper's weights", "configs": [str(CONFIGS / "paper.yaml")]},
        },
        "variants": {"margin_2": {"overrides": {"margin": 2}, "x": 2}},
        "evaluations": {"calibrated": {}, "0.5": {"threshold": 0.5}},
        "runs": [{"datasets": ["phantom"], "systems": ["full", "paper"], "seeds": [0]}],
        "report": [
            {
                "title": "Boxes against masks",
                "text": "What a person wrote.",
                "table": {"reference": "full", "evaluation": "calibrated", "columns": ["hd95_mm", "box_iou"]},
                "patients": {"evaluation": "calibrated"},
                "learning": {"x": "iteration"},
                "curve": {"rows": ["paper"], "base_x": 0, "xlabel": "margin", "reference": "full"},
                "pictures": {"reference": "full", "evaluation": "calibrated"},
            }
        ],
    }


def write_matrix(folder: Path, content: dict | None = None) -> Path:
    path = folder / "matrix.yaml"
    path.write_text(yaml.safe_dump(content or matrix_content(), sort_keys=False))
    return path


def command(cores: int = 1, **config: object) -> list[str]:
    """The command as a person types it, in the repository."""
    settings = [f"{key}={value}" for key, value in config.items()]
    snakemake = [sys.executable, "-m", "snakemake", "--snakefile", "benchmarks/accuracy/Snakefile"]
    # Snakemake's own records stay out of the repository.
    return [*snakemake, "--directory", str(config["out"]), "--cores", str(cores), "--config", *settings]


def environment() -> dict[str, str]:
    return {**os.environ, "OMP_NUM_THREADS": "1"}


def drive(*arguments: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        arguments, cwd=REPOSITORY, env=environment(), capture_output=True, text=True, timeout=300
    )  # fmt: skip


@pytest.fixture(scope="session")
def data_root(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("data")
    make_phantom(root / "phantom", num_patients=8, seed=1, image_size=(48, 56), num_slices=(6, 6), progress=False)
    return root


@pytest.fixture(scope="session")
def driven(data_root, tmp_path_factory) -> Path:
    """Folder of a finished matrix: ``matrix.yaml``, ``out`` and ``report``."""
    pytest.importorskip("snakemake", reason="Snakemake needs Python 3.11")
    folder = tmp_path_factory.mktemp("driven")
    content = matrix_content()
    content["runs"].append({"datasets": ["phantom"], "systems": ["paper"], "seeds": [0], "variants": ["margin_2"]})
    matrix = write_matrix(folder, content)
    done = drive(
        *command(2, matrix=matrix, data=data_root, out=folder / "out", report=folder / "report")
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    (folder / "messages.txt").write_text(done.stderr)
    return folder
