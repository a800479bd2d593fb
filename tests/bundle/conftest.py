# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from pathlib import Path

import pytest
from monai.bundle import run

from monai_bbox_mil.data import make_phantom

CONFIGS = Path(__file__).parents[2] / "bundle" / "configs"
# A network and images small enough for seconds, and nothing else changed.
TINY = {"image_size": [32, 32], "network_def#features": [4, 4, 8, 8, 16, 4], "progress": False, "batch_size": 8}


def run_bundle(*names, **overrides):
    """Run configurations of the bundle in this process, by MONAI's own entry point."""
    run(config_file=[str(CONFIGS / f"{name}.yaml") for name in names], **overrides)


@pytest.fixture(scope="session")
def phantom(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("phantom")
    make_phantom(folder, num_patients=8, seed=1, image_size=(48, 56), num_slices=(6, 7), progress=False)
    return folder


@pytest.fixture(scope="session")
def trained(phantom, tmp_path_factory) -> Path:
    """Folder of a run of two epochs from boxes: ``models`` and ``eval``."""
    folder = tmp_path_factory.mktemp("trained")
    run_bundle("train", max_epochs=2, **places(folder, phantom), **TINY)
    return folder


def places(folder, dataset_dir):
    return {
        "dataset_dir": str(dataset_dir),
        "ckpt_dir": str(folder / "models"),
        "output_dir": str(folder / "eval"),
    }
