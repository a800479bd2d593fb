# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
"""Pictures of pseudo-labels."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from monai_bbox_mil.handlers import label_pictures
from monai_bbox_mil.handlers.label_pictures import save_label_pictures
from monai_bbox_mil.pseudo_labels import BoxHeights, PseudoLabelFitter


def volumes(dims):
    """Three volumes whose only box is in slice 2; the teacher is least sure of the first, surest of the second."""
    result = []
    for level in (-1.0, 2.0, 0.5):
        shape = (4, 1, 10, 10) if dims == 2 else (1, 1, 10, 10, 4)
        if dims == 2:
            target = torch.full((4, 1, 5), -1.0)
            target[2, 0] = torch.tensor([2.0, 3, 7, 8, 0])
        else:
            target = torch.tensor([[[2.0, 3, 2, 7, 8, 3, 0]]])
        result.append(BoxHeights.of(torch.full(shape, level), target))
    return result


@pytest.mark.parametrize("dims", [2, 3])
def test_rows_run_from_the_surest_volume_to_the_least_sure(dims, tmp_path, monkeypatch):
    rows = []
    monkeypatch.setattr(label_pictures, "save_comparison_grid", lambda path, cases, names: rows.extend(cases))
    seen, fitter = volumes(dims), PseudoLabelFitter(1, shape_weight=0, roundness=0)
    fitter.learn(seen)
    images = torch.arange(3.0 * 4 * 100).view(3, 4, 1, 10, 10)
    as_input = (lambda n: images[n]) if dims == 2 else (lambda n: images[n].movedim(0, -1)[None])
    save_label_pictures(tmp_path / "a.png", seen, fitter, as_input, "volume {}".format, ["organ"], 3)
    assert [title.split("\n")[0] for title, _ in rows] == ["volume 1", "volume 2", "volume 0"]
    assert [title.split("(")[-1] for title, _ in rows] == ["surest)", "median)", "least sure)"]
    inside = np.zeros((1, 10, 10), np.uint8)
    inside[0, 2:7, 3:8] = 1
    for (_, pictures), number in zip(rows, (1, 2, 0)):
        prediction, label = pictures.values()
        assert np.array_equal(prediction.image, images[number, 2, 0])
        assert prediction.boxes.tolist() == [[2, 3, 7, 8, 0]]
        assert np.array_equal(prediction.pred, inside if number else 0 * inside)
        assert np.array_equal(label.pred, inside)


def test_a_picture_is_written_and_none_without_boxes(tmp_path):
    seen, fitter = volumes(2), PseudoLabelFitter(1)
    fitter.learn(seen)
    arguments = (fitter, lambda n: torch.rand(4, 1, 10, 10), str, ["organ"], 2)
    save_label_pictures(tmp_path / "new" / "a.png", seen, *arguments)
    assert Image.open(tmp_path / "new" / "a.png").size[0] > 300
    empty = BoxHeights.of(torch.zeros(1, 1, 4, 4), torch.full((1, 1, 5), -1.0))
    save_label_pictures(tmp_path / "b.png", [empty], *arguments)
    assert not (tmp_path / "b.png").exists()
