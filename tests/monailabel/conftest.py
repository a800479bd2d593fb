# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
"""A real MONAI Label server with our app, on images that are made here."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

import nibabel
import numpy as np
import pytest

SHAPE = (40, 48, 6)
AFFINE = np.array([[-1.5, 0, 0, 30], [0, 1.5, 0, -20], [0, 0, 4, 5], [0, 0, 0, 1.0]])  # x runs to the right: LPS
NAMES = ("a", "b", "c", "d", "e")


def make_case(number):
    """An image with one bright ellipsoid, and its mask, ``(40, 48, 6)``."""
    random = np.random.default_rng(number)
    centre, radius = random.uniform([14, 16, 2], [26, 32, 3]), random.uniform([6, 6, 2], [10, 11, 3])
    mask = (((np.indices(SHAPE).T - centre) / radius) ** 2).sum(-1).T < 1
    return (100 + 80 * mask + random.normal(0, 15, SHAPE)).astype(np.float32), mask.astype(np.uint8)


def slice_boxes(mask):
    """Tight box of each slice, half-open voxel indices."""
    boxes = []
    for z in np.flatnonzero(mask.any((0, 1))):
        x, y = (np.flatnonzero(mask[..., z].any(axis)) for axis in (1, 0))
        boxes.append([int(x[0]), int(y[0]), int(z), int(x[-1]) + 1, int(y[-1]) + 1, int(z) + 1])
    return boxes


def slicer_markups(boxes):
    """The boxes as 3D Slicer writes regions of interest: centre and size, LPS mm."""
    ras_to_lps = np.diag([-1, -1, 1])
    markups = []
    for box in np.asarray(boxes, dtype=float):
        corners = np.stack([box[:3], box[3:]]) - 0.5  # edges, where voxel centres are whole numbers
        world = (corners @ AFFINE[:3, :3].T + AFFINE[:3, 3]) @ ras_to_lps
        markups.append(
            {
                "type": "ROI",
                "coordinateSystem": "LPS",
                "roiType": "Box",
                "center": world.mean(0).tolist(),
                "orientation": [1, 0, 0, 0, 1, 0, 0, 0, 1],
                "size": np.abs(world[1] - world[0]).tolist(),
            }
        )
    return {"markups": markups}


class Server:
    """A running server and what one asks of it; every answer that is no success raises, with its text."""

    def __init__(self, url, app, log):
        self.url, self.app, self.log = url, app, log

    def call(self, method, path, **options):
        import requests

        answer = requests.request(method, self.url + path, timeout=300, **options)
        if answer.status_code != 200:
            raise RuntimeError(f"{answer.status_code}: {answer.text}")
        return answer

    def get(self, path):
        return self.call("GET", path).json()

    def save_label(self, image, tag, name, content):
        self.call("PUT", f"/datastore/label?image={image}&tag={tag}", files={"label": (name, content)})

    def train(self, **params):
        """Train to the end; the status that the task ends with, and the last lines of its log."""
        self.call("POST", "/train/segmentation", json={"max_epochs": 12, "device": "cpu", **params})
        deadline = time.monotonic() + 600
        while time.monotonic() < deadline:
            task = self.get("/train/")
            if task["status"] not in ("SUBMITTED", "RUNNING"):
                return task["status"], "\n".join(task["details"])
            time.sleep(1)
        raise TimeoutError("The training has not ended after ten minutes.")

    def infer(self, model, image, folder, **params):
        """The predicted mask, as NiBabel loads it."""
        form = {"params": json.dumps({"device": "cpu", **params})}
        answer = self.call("POST", f"/infer/{model}?image={image}&output=image", data=form)
        path = Path(folder) / f"{model}_{image}.nii.gz"
        path.write_bytes(answer.content)
        return nibabel.load(path)

    @property
    def model_hash(self):
        model = self.app / "bundle" / "models" / "model.pt"
        return hashlib.sha256(model.read_bytes()).hexdigest() if model.is_file() else None


def monailabel(*arguments):
    """The command line of ``monailabel``, which as a script takes the first Python that it finds."""
    return [sys.executable, "-m", "monailabel.main", *map(str, arguments)]


@pytest.fixture(scope="session")
def server(tmp_path_factory):
    pytest.importorskip("monailabel", reason="needs an environment with MONAI Label: tests/monailabel/run")
    folder = tmp_path_factory.mktemp("monailabel")
    subprocess.run(monailabel("apps", "--download", "--name", "boxes", "--output", folder), check=True)
    app, studies = folder / "boxes", folder / "studies"
    for config in ("train.yaml", "inference.yaml"):  # as a user fits the app to the images
        path = app / "bundle" / "configs" / config
        text = re.sub(r"(?m)^image_size: \[96, 96\]", "image_size: [48, 48]", path.read_text())
        path.write_text(text.replace("[16, 16, 32, 64, 128, 16]", "[8, 8, 8, 8, 8, 8]"))
    studies.mkdir()
    for number, name in enumerate(NAMES):
        nibabel.save(nibabel.Nifti1Image(make_case(number)[0], AFFINE), studies / f"{name}.nii.gz")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    log = folder / "server.log"
    command = monailabel("start_server", "--host", "127.0.0.1", "--port", port, "--app", app, "--studies", studies)
    environment = {**os.environ, "PYTHONPATH": "", "CUDA_VISIBLE_DEVICES": "", "MONAI_LABEL_AUTO_UPDATE_SCORING": "false"}
    with log.open("w") as stream:
        process = subprocess.Popen(command, stdout=stream, stderr=subprocess.STDOUT, cwd=folder, env=environment)
    running = Server(f"http://127.0.0.1:{port}", app, log)
    try:
        _wait(running, process)
        yield running
    finally:
        process.terminate()
        process.wait(30)
        shutil.rmtree(app / "bundle", ignore_errors=True)


def _wait(server, process):
    import requests

    for _ in range(120):
        if process.poll() is not None:
            break
        try:
            server.get("/info/")
            return
        except requests.ConnectionError:
            time.sleep(1)
    raise RuntimeError(f"The server did not start:\n{server.log.read_text()[-4000:]}")
