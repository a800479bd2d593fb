# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
"""Checkpoints that are absent, damaged, of another network, or that would run code."""

from __future__ import annotations

import io
import pickle

import pytest
import torch
from ignite.engine import Engine

from monai_bbox_mil.metrics import load_threshold
from monai_bbox_mil.runs import CheckedCheckpointLoader
from tests.bundle.conftest import CONFIGS
from tests.robustness.cases import content


class Intruder:
    """Pickled as a call that leaves a file behind."""

    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return open, (self.path, "w")


def network(channels=3):
    return torch.nn.Sequential(torch.nn.Conv2d(1, channels, 3), torch.nn.Conv2d(channels, 1, 1))


def saved(value) -> bytes:
    stream = io.BytesIO()
    torch.save(value, stream)
    return stream.getvalue()


def altered(state) -> bytes:
    """A checkpoint in which a bit of the first weight is another one."""
    data = saved(state)
    place = data.index(next(iter(state.values())).numpy().tobytes())
    return data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :]


WHOLE = saved(network().state_dict())
REFUSED = {
    "empty": (b"", "expected a checkpoint as torch.save writes it, got 0 bytes"),
    "cut short": (WHOLE[: len(WHOLE) // 2], "that are not one, or were cut short"),
    "text": (b"weights", "got 7 bytes that are not one"),
    "an image": (b"\x89PNG\r\n", "that are not one"),
    "an archive of something else": (b"PK\x05\x06" + b"\0" * 18, "bytes that are not one"),
    "wider": (
        saved(network(5).state_dict()),
        r"expected the state of 'model' \(Sequential\).*size mismatch.*network_def",
    ),
    "deeper": (saved(torch.nn.Sequential(*network(), torch.nn.Conv2d(1, 1, 1)).state_dict()), "Unexpected key"),
    "shallower": (saved(torch.nn.Sequential(network()[0]).state_dict()), "Missing key"),
    "a list": (saved([1, 2]), "expected the state of 'model'"),
    "a whole module": (saved(network()), "expected weights and nothing else.*might run code"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refused_by_name(tmp_path, case):
    data, message = REFUSED[case]
    path = content("model.pt", data)(tmp_path)
    with pytest.raises(ValueError, match=r"model\.pt: .*" + message):
        load(path)


def load(path, model=None):
    model = network() if model is None else model
    engine = Engine(lambda *_: None)
    CheckedCheckpointLoader(str(path), {"model": model}).attach(engine)
    engine.run([0])
    return model


@pytest.mark.parametrize("wrap", [lambda i: i, lambda i: {"model": i}, lambda i: {"model": {"0.weight": i}}])
@pytest.mark.parametrize("archive", [True, False])
def test_code_is_not_run(tmp_path, archive, wrap):
    mark = tmp_path / "intruded"
    intruder = wrap(Intruder(mark))
    path = content("model.pt", saved(intruder) if archive else pickle.dumps(intruder))(tmp_path)
    assert not mark.exists()
    with pytest.raises(ValueError, match=r"model\.pt: expected (weights and nothing else|a checkpoint as torch.save)"):
        load(path)
    assert not mark.exists()


def test_absent(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"model\.pt: expected a checkpoint, got no such file; train first"):
        load(tmp_path / "model.pt")


def test_what_fits_is_loaded(tmp_path):
    path = content("model.pt", WHOLE)(tmp_path)
    expected = torch.load(path, weights_only=True)
    assert all(torch.equal(expected[key], value) for key, value in load(path).state_dict().items())


def test_altered_weights_are_noticed(tmp_path):
    with pytest.raises(ValueError, match=r"model\.pt: expected a checkpoint as torch.save .* altered"):
        load(content("model.pt", altered(network().state_dict()))(tmp_path))


@pytest.mark.parametrize("path", sorted(CONFIGS.rglob("*.yaml")), ids=lambda path: path.stem)
def test_every_configuration_loads_by_it(path):
    assert "monai.handlers.CheckpointLoader" not in path.read_text()


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "3", "{}", '{"threshold": []}', '{"threshold": [2]}', '{"threshold": 0.5}']
)
def test_thresholds_beside_it(tmp_path, text):
    path = content("threshold.json", text)(tmp_path)
    with pytest.raises(ValueError, match=r"threshold\.json: "):
        load_threshold(path)
