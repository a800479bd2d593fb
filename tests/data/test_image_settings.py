# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest

from monai_bbox_mil.data import ReadImageSettings, load_image_settings, save_image_settings


@pytest.mark.parametrize(("spacing_mm", "image_size"), [(None, [96, 64]), ((0.5, 1, 2), (32, 48, 16))])
def test_saved_settings_are_read_back(tmp_path, spacing_mm, image_size):
    path = tmp_path / "new" / "image_settings.json"
    save_image_settings(path, spacing_mm, image_size)
    expected = None if spacing_mm is None else list(spacing_mm)
    assert load_image_settings(path) == {"spacing_mm": expected, "image_size": list(image_size)}
    assert [file.name for file in path.parent.iterdir()] == [path.name]


@pytest.mark.parametrize(
    ("spacing_mm", "image_size", "named"), [([0.0, 1], [8, 8], "spacing_mm"), (None, [], "image_size")]
)
def test_saving_settings_that_are_not_positive_raises(tmp_path, spacing_mm, image_size, named):
    with pytest.raises(ValueError, match=f"{named} must be a list of positive numbers"):
        save_image_settings(tmp_path / "image_settings.json", spacing_mm, image_size)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("text", ["{", "[]", '{"spacing_mm": null}', '{"spacing_mm": null, "image_size": [96, "96"]}'])
def test_the_error_for_other_content_names_the_file(tmp_path, text):
    path = tmp_path / "image_settings.json"
    path.write_text(text)
    with pytest.raises(ValueError, match="image_settings.json"):
        load_image_settings(path)


def test_the_error_for_a_missing_file_says_what_to_do(tmp_path):
    with pytest.raises(FileNotFoundError, match="--spacing_mm None --image_size"):
        load_image_settings(tmp_path / "image_settings.json")


def test_settings_that_a_training_has_changed_raise(tmp_path):
    path = tmp_path / "image_settings.json"
    save_image_settings(path, None, [96, 96])
    settings = ReadImageSettings(path)
    assert settings["image_size"] == [96, 96]
    save_image_settings(path, None, [96, 96])
    assert settings.check("image") == "image"
    save_image_settings(path, [1.0, 1.0], [96, 96])
    with pytest.raises(ValueError, match=r"has changed the image settings .* Start it again"):
        settings.check("image")
