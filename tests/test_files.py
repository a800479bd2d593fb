# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
"""Files that a process left half-written."""

from __future__ import annotations

from monai_bbox_mil.runs.files import UNFINISHED, clear_unfinished


def test_what_is_unfinished_is_cleared_and_nothing_else(tmp_path):
    """Folders below may belong to others."""
    kept = [tmp_path / "a.nii.gz", tmp_path / "below" / f"{UNFINISHED}b.nii.gz"]
    left = [tmp_path / f"{UNFINISHED}c.csv", tmp_path / f"{UNFINISHED}x" / f"{UNFINISHED}d.nii.gz"]
    for path in kept + left:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    clear_unfinished(tmp_path)
    assert sorted(path for path in tmp_path.rglob("*") if path.is_file()) == sorted(kept)
    clear_unfinished(tmp_path / "not there")
