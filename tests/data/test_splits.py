# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
"""Splits in which no patient is in two parts."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from monai_bbox_mil.data.splits import split_by_patient
from tests.data.layouts import patients


class TestSplitByPatient:
    @given(
        st.lists(st.sampled_from("abcdefghij"), max_size=30),
        st.floats(0, 1, exclude_max=True),
        st.integers(0, 5),
    )
    def test_no_patient_in_both_parts_and_none_lost(self, names, fraction, seed):
        items = [{"patient": name, "image": number} for number, name in enumerate(names)]
        parts = split_by_patient(items, fraction, seed)
        assert not set(patients(parts["training"])) & set(patients(parts["validation"]))
        both = parts["training"] + parts["validation"]
        assert sorted(item["image"] for item in both) == list(range(len(names)))
        number = len(set(names))
        if number > 1 and fraction > 0:
            expected = min(max(round(fraction * number), 1), number - 1)
            assert len(set(patients(parts["validation"]))) == expected
        else:
            assert parts["validation"] == []

    def test_order_does_not_matter_and_the_seed_does(self):
        items = [{"patient": f"{number:02d}"} for number in range(30)]
        shuffled = random.Random(1).sample(items, len(items))
        drawn = [set(patients(split_by_patient(i, seed=s)["validation"])) for i, s in ((items, 0), (shuffled, 0))]
        assert drawn[0] == drawn[1] and len(drawn[0]) == 6
        assert drawn[0] != set(patients(split_by_patient(items, seed=1)["validation"]))

    @pytest.mark.parametrize("fraction", [-0.1, 1, 20])
    def test_error(self, fraction):
        with pytest.raises(ValueError, match=rf"validation_fraction must be from 0 to below 1, got {fraction}"):
            split_by_patient([{"patient": "a"}], fraction)
