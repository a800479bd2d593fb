# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
"""A killed prediction resumes where it stopped."""

from __future__ import annotations

from monai.transforms import LoadImage

from monai_bbox_mil.data import find_images
from tests.faults import runs


def contents(folder):
    return {p.name: (p.stat().st_mtime_ns, p.read_bytes()) for p in sorted(folder.iterdir()) if p.is_file()}


def test_a_killed_prediction_resumes_and_overwrites_nothing_that_is_finished(phantom, reference, tmp_path):
    models, masks = reference.folder / "models", tmp_path / "masks"
    process = runs.start(runs.predict_until_the_mask, tmp_path, phantom, models, 3)
    runs.wait_for(tmp_path / "halted", process)
    runs.kill(process)
    finished = contents(masks)
    names = [path["image"].rsplit("/", 1)[1].removesuffix(".mhd") for path in find_images(phantom)]
    assert {name for name in finished if name.endswith(".mhd")} == {f"{name}_segmentation.mhd" for name in names[:2]}
    assert runs.unfinished(tmp_path) != []
    process = runs.start(runs.predict, tmp_path, phantom, models, resume=True)
    assert runs.finish(process) == 0, (tmp_path / "log.txt").read_text()[-3000:]
    assert runs.unfinished(tmp_path) == []
    after = contents(masks)
    assert {name: after[name] for name in finished if not name.endswith(".lock")} == {
        name: content for name, content in finished.items() if not name.endswith(".lock")
    }
    assert {name.removesuffix("_segmentation.mhd") for name in after if name.endswith(".mhd")} == set(names)
    process = runs.start(runs.predict, tmp_path / "whole", phantom, models)
    assert runs.finish(process) == 0
    whole = contents(tmp_path / "whole" / "masks")
    assert {name: content for name, (_, content) in whole.items()} == {n: content for n, (_, content) in after.items()}
    for name in names:
        assert LoadImage()(masks / f"{name}_segmentation.mhd").shape[:2] == (48, 56)
    process = runs.start(runs.predict, tmp_path, phantom, models, resume=True)  # nothing is left to do
    assert runs.finish(process) == 0, (tmp_path / "log.txt").read_text()[-3000:]
    assert contents(masks) == after
