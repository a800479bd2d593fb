# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
"""What makes a result another one, and what does not."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from benchmarks.accuracy import (
    DataHashes,
    ExperimentError,
    load_matrix,
    merged_config,
    plan_runs,
    source_hash,
)
from benchmarks.accuracy.identity import PACKAGE, versions
from tests.benchmarks.accuracy.conftest import CONFIGS, matrix_content, write_matrix


def hashes(folder, data_root, content=None):
    matrix = load_matrix(write_matrix(folder, content))
    return {job.key.system: job for job in plan_runs(matrix, matrix.runs, folder / "out", data_root)}


def test_code_counts_without_comments_and_drawing(tmp_path):
    package = tmp_path / "package"
    shutil.copytree(PACKAGE, package, ignore=shutil.ignore_patterns("__pycache__"))
    before = source_hash(package)
    assert before == source_hash()
    losses = package / "losses" / "focal.py"
    losses.write_text(losses.read_text() + "\n# a comment\n")
    (package / "apps" / "more.py").write_text("x = 1")
    (package / "visualize" / "picture_grid.py").write_text("x = 1")
    assert source_hash(package) == before
    losses.write_text(losses.read_text() + "\nsomething = 1\n")
    assert source_hash(package) != before
    losses.write_text(losses.read_text().replace("\nsomething = 1\n", ""))
    assert source_hash(package) == before
    (package / "losses" / "more.py").write_text("")
    assert source_hash(package) != before


def test_docstrings_do_not_count(tmp_path):
    (tmp_path / "a.py").write_text('def f():\n    """One."""\n    return 1\n')
    first = source_hash(tmp_path)
    (tmp_path / "a.py").write_text('"""Module."""\n\n\ndef f():\n    """Two."""\n    return 1\n')
    assert source_hash(tmp_path) == first
    (tmp_path / "a.py").write_text('def f():\n    """One."""\n    return 2\n')
    assert source_hash(tmp_path) != first


def test_configurations_overrides_seeds_and_data_count(tmp_path, data_root, monkeypatch):
    before = {name: job.hash for name, job in hashes(tmp_path, data_root).items()}
    assert before["full"] != before["paper"]
    assert before == {name: job.hash for name, job in hashes(tmp_path, data_root).items()}

    content = matrix_content()
    content["overrides"]["learning_rate"] = 0.002
    assert hashes(tmp_path, data_root, content)["full"].hash != before["full"]
    content = matrix_content()
    content["runs"][0]["seeds"] = [1]
    assert hashes(tmp_path, data_root, content)["full"].hash != before["full"]

    overlay = tmp_path / "overlay.yaml"
    text = (CONFIGS / "paper.yaml").read_text()
    overlay.write_text("# another comment\n" + text)
    content = matrix_content()
    content["systems"]["paper"]["configs"] = [str(overlay)]
    assert hashes(tmp_path, data_root, content)["paper"].hash == before["paper"]  # the same, in other words
    overlay.write_text(text.replace("0.25", "0.26"))
    changed = hashes(tmp_path, data_root, content)
    assert changed["paper"].hash != before["paper"]
    assert changed["full"].hash == before["full"]

    other = tmp_path / "data"
    shutil.copytree(data_root, other)
    assert hashes(tmp_path, other)["full"].hash == before["full"]  # wherever it lies
    image = other / "phantom" / "Case00.raw"
    content = bytearray(image.read_bytes())
    content[-1] ^= 1  # an image of the same size
    image.write_bytes(content)
    assert hashes(tmp_path, other)["full"].hash != before["full"]

    monkeypatch.setattr("benchmarks.accuracy.plan.versions", lambda: {**versions(), "torch": "0"})
    assert hashes(tmp_path, data_root)["full"].hash != before["full"]


def test_an_evaluation_has_a_hash_of_its_own(tmp_path, data_root):
    before = hashes(tmp_path, data_root)["paper"]
    content = matrix_content()
    content["evaluations"]["0.5"]["threshold"] = 0.4
    after = hashes(tmp_path, data_root, content)["paper"]
    assert after.hash == before.hash
    assert [a.hash == b.hash for a, b in zip(after.evaluations, before.evaluations)] == [True, False]


def test_an_evaluation_is_not_undone_by_the_trainings_overrides(tmp_path, data_root):
    full = hashes(tmp_path, data_root)["full"]
    assert full.overrides["supervision"] == "full"
    (evaluation,) = full.evaluations
    assert "supervision" not in evaluation.overrides  # evaluate.yaml sets it
    assert evaluation.overrides["threshold"] == 0.5
    assert evaluation.overrides["keep_pictures"] is True
    assert evaluation.overrides["ckpt_dir"] == full.overrides["ckpt_dir"]


def test_data_count_by_names_and_content(tmp_path):
    folder = tmp_path / "data"
    folder.mkdir()
    (folder / "cases.csv").write_text("a,training")
    before = DataHashes(None).of_folder(folder)
    (folder / "cases.csv").write_text("b,training")
    assert DataHashes(None).of_folder(folder) != before
    (folder / "cases.csv").write_text("a,training")
    (folder / ".hidden").write_text("of a file browser")
    assert DataHashes(None).of_folder(folder) == before
    (folder / "cases.csv").rename(folder / "other.csv")
    assert DataHashes(None).of_folder(folder) != before
    with pytest.raises(ExperimentError, match="expected a folder of images, got nothing; data=ROOT names the folder"):
        DataHashes(None).of_folder(tmp_path / "nowhere")


def test_a_file_is_read_again_when_its_size_or_time_changed(tmp_path, monkeypatch):
    folder, cache = tmp_path / "data", tmp_path / "out" / "hashes.json"
    folder.mkdir()
    for name in ("a", "b"):
        (folder / name).write_text(name)
    first = DataHashes(cache)
    before = first.of_folder(folder)
    first.save()
    read = []
    bytes_of = Path.read_bytes
    monkeypatch.setattr(Path, "read_bytes", lambda path: read.append(path.name) or bytes_of(path))
    assert DataHashes(cache).of_folder(folder) == before
    assert read == []
    os.utime(folder / "b", ns=(0, 0))
    assert DataHashes(cache).of_folder(folder) == before
    assert read == ["b"]
    assert [path.name for path in cache.parent.iterdir()] == ["hashes.json"]


def test_what_cannot_be_merged_is_reported(tmp_path):
    with pytest.raises(ExperimentError, match="override nothing#inside: does not fit the configuration"):
        merged_config([str(CONFIGS / "paper.yaml")], {"nothing#inside": 1})
    (tmp_path / "bad.yaml").write_text("a: [1")
    with pytest.raises(ExperimentError, match="bad.yaml: cannot be read: while parsing"):
        merged_config([str(tmp_path / "bad.yaml")], {})
