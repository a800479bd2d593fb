# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json

import pytest

from monai_bbox_mil.data import phantom_or_datalist


@pytest.fixture(autouse=True)
def made(monkeypatch):
    """Record the folders in which a phantom is to be made, without making any."""
    folders = []
    module = "monai_bbox_mil.data.default_images.make_phantom"
    monkeypatch.setattr(
        module, lambda folder, progress: folders.append((folder, progress)) or {"training": ["phantom"]}
    )
    return folders


def write_list(folder, name):
    (folder / "image.nii").write_bytes(b"")
    (folder / name).write_text(json.dumps({"training": [{"image": "image.nii"}], "validation": []}))
    return {"training": [{"image": str(folder / "image.nii")}], "validation": []}


def images(parts):
    return {part: [{"image": item["image"]} for item in items] for part, items in parts.items()}


def test_the_phantom_is_made_only_in_its_own_folder(tmp_path, made):
    assert phantom_or_datalist(str(tmp_path), None, tmp_path, progress=False) == {"training": ["phantom"]}
    assert made == [(tmp_path, False)]


def test_the_users_own_images_are_listed(tmp_path, made):
    expected = write_list(tmp_path, "datalist.json")
    assert images(phantom_or_datalist(tmp_path, None, tmp_path / "phantom")) == expected
    assert images(phantom_or_datalist(tmp_path)) == expected
    assert made == []


def test_with_a_data_list_no_phantom_is_made(tmp_path, made):
    expected = write_list(tmp_path, "mine.json")
    assert images(phantom_or_datalist(tmp_path, "mine.json", tmp_path)) == expected
    assert made == []


def test_a_folder_without_images_raises(tmp_path, made):
    with pytest.raises(ValueError, match=r"dataset_dir .*: expected "):
        phantom_or_datalist(tmp_path / "nowhere", None, tmp_path)
    assert made == []
