# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
"""The bundle as an NVFlare job, two sites and three rounds, in NVFlare's own simulator."""

from __future__ import annotations

import os
import re
import subprocess
import sys

import pandas as pd
import pytest
import torch

from monai_bbox_mil.data import get_datalist, make_phantom
from tests.bundle.conftest import TINY, places, run_bundle
from tests.examples.federated import write_site_datalists

pytest.importorskip("nvflare", reason="nvflare is not installed: python -m pip install nvflare")


def test_three_rounds_of_two_sites(repository, tmp_path):
    phantom = tmp_path / "phantom"
    make_phantom(phantom, num_patients=8, seed=1, image_size=(48, 56), num_slices=(6, 7), progress=False)
    lists = write_site_datalists(get_datalist(phantom), 2, tmp_path / "datalists")
    run = [sys.executable, "-m", "tests.examples.nvflare_job", f"--out={tmp_path}", "--rounds=3", "--local_epochs=8"]
    run += [f"--datalist={path}" for path in lists]
    run += [f"{name}={value}" for name, value in {**TINY, "learning_rate": 0.01}.items()]
    environment = {**os.environ, "PYTHONPATH": str(repository), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(run, cwd=repository, env=environment, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stdout + done.stderr
    rounds = re.findall(r"Round (\d+) started", done.stdout + done.stderr)
    assert len(set(rounds)) == 3
    assert list((tmp_path / "job").rglob("nvflare_client.py"))
    first, last = (torch.load(tmp_path / "server" / name, weights_only=True) for name in ("first.pt", "model.pt"))
    assert first.keys() == last.keys()
    (tmp_path / "models").mkdir()
    torch.save(last, tmp_path / "models" / "model.pt")
    run_bundle("train", "evaluate", threshold=0.5, **places(tmp_path, phantom), **TINY)
    assert pd.read_csv(tmp_path / "eval" / "cases.csv")["dice"].min() > 0.5
