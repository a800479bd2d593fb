# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
"""A real MONAI Label server and what one asks of it over HTTP."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import socket
import subprocess
import sys
import time
from pathlib import Path

import nibabel
import requests


class Server:
    """A running server and what one asks of it; every answer that is no success raises, with its text."""

    def __init__(self, url, bundle, log):
        self.url, self.bundle, self.log = url, bundle, log

    def call(self, method, path, **options):
        answer = requests.request(method, self.url + path, timeout=300, **options)
        if answer.status_code != 200:
            raise RuntimeError(f"{answer.status_code}: {answer.text}")
        return answer

    def get(self, path):
        return self.call("GET", path).json()

    def save_label(self, image, tag, name, content, **params):
        form = {"data": {"params": json.dumps(params)}, "files": {"label": (name, content)}}
        self.call("PUT", f"/datastore/label?image={image}&tag={tag}", **form)

    def start_training(self, model="segmentation", **params):
        """Start a training and wait until it runs: till its process is there, the server takes a second one."""
        self.call("POST", f"/train/{model}", json={"max_epochs": 12, "device": "cpu", **params})
        self.training_after("SUBMITTED")

    def train(self, model="segmentation", **params):
        """Train to the end; the status that the task ends with, and the last lines of its log."""
        self.start_training(model, **params)
        task = self.training_after("RUNNING")
        return task["status"], "\n".join(task["details"])

    def training_after(self, status):
        """The newest training, as soon as it has left a status."""
        deadline = time.monotonic() + 600
        while (task := self.get("/train/"))["status"] == status:
            if time.monotonic() > deadline:
                raise TimeoutError(f"The training is still {status} after ten minutes:\n{task}")
            time.sleep(0.2)
        return task

    def infer(self, model, image, folder, **params):
        """The predicted mask, as NiBabel loads it."""
        form = {"params": json.dumps({"device": "cpu", **params})}
        answer = self.call("POST", f"/infer/{model}?image={image}&output=image", data=form)
        path = Path(folder) / f"{model}_{image}.nii.gz"
        path.write_bytes(answer.content)
        return nibabel.load(path)

    def told(self, text):
        """Return whether the server's log has a text, which the server writes a little after its answer."""
        deadline = time.monotonic() + 20
        while text not in self.log.read_text() and time.monotonic() < deadline:
            time.sleep(0.2)
        return text in self.log.read_text()

    @property
    def model_hash(self):
        model = self.bundle / "models" / "model.pt"
        return hashlib.sha256(model.read_bytes()).hexdigest() if model.is_file() else None


def monailabel(*arguments):
    """The command line of ``monailabel``, which as a script takes the first Python that it finds."""
    return [sys.executable, "-m", "monailabel.main", *map(str, arguments)]


def sample_app(name):
    """Where an installed app lies for ``monailabel apps`` to find it."""
    return Path(sys.prefix) / "monailabel" / "sample-apps" / name


def shrink(bundle):
    """Fit a bundle to small images and a small network, as a user fits it to theirs."""
    for config in ("train.yaml", "inference.yaml"):  # prediction reads the size from what training leaves
        path = bundle / "configs" / config
        text = re.sub(r"(?m)^image_size: \[96, 96\]", "image_size: [48, 48]", path.read_text())
        path.write_text(text.replace("[16, 16, 32, 64, 128, 16]", "[8, 8, 8, 8, 8, 8]"))


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@contextlib.contextmanager
def running_server(app, studies, *arguments, bundle=None, **environment):
    """Run a server of ``app``, the folder of one, until the context ends; ``environment`` sets its variables."""
    port, log = free_port(), app.with_name(f"{app.name}.log")
    command = monailabel("start_server", "--host", "127.0.0.1", "--port", port, "--app", app, "--studies", studies)
    settings = {
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "PYTHONPATH": "",
        "CUDA_VISIBLE_DEVICES": "",
        "MONAI_LABEL_AUTO_UPDATE_SCORING": "false",
        **environment,
    }
    with log.open("w") as stream:
        process = subprocess.Popen(
            [*command, *arguments], stdout=stream, stderr=subprocess.STDOUT, cwd=app.parent, env=os.environ | settings
        )
    server = Server(f"http://127.0.0.1:{port}", bundle or app / "bundle", log)
    try:
        wait_for(process, server.url + "/info/", log)
        yield server
    finally:
        process.terminate()
        process.wait(30)


def wait_for(process, url, log):
    """Until a process answers under an address."""
    for _ in range(600):
        if process.poll() is not None:
            break
        try:
            requests.get(url, timeout=30).raise_for_status()
            return
        except requests.ConnectionError:
            time.sleep(0.5)
    raise RuntimeError(f"The server did not start:\n{log.read_text()[-4000:]}")
