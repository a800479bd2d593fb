# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
"""What stopped a run, out of the errors that were wrapped around it."""

from __future__ import annotations

import pytest
from monai.data import DataLoader, Dataset
from monai.transforms import Compose, Lambda

from monai_bbox_mil.runs.last_words import stopped_by


def refuse(value):
    try:
        raise KeyError("of the reader")
    except KeyError as error:
        raise ValueError(f"{value}.png: expected an image,\ngot {error}") from error


@pytest.mark.parametrize("num_workers", [0, 1])
def test_an_error_of_a_transform_here_and_in_a_process_of_the_loader(num_workers):
    dataset = Dataset(["a"], Compose([str.upper, Lambda(refuse)]))
    with pytest.raises(RuntimeError, match="applying transform") as caught:
        list(DataLoader(dataset, num_workers=num_workers))
    assert stopped_by(caught.value) == "ValueError: A.png: expected an image,\ngot 'of the reader'"


def test_a_wrapper_without_anything_in_it_is_told_itself():
    assert stopped_by(RuntimeError("Failed to evaluate x")) == "RuntimeError: Failed to evaluate x"
