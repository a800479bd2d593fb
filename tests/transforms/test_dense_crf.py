# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import sys

import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from monai.utils import OptionalImportError
from scipy.ndimage import gaussian_filter

from monai_bbox_mil.transforms import DenseCRF


@pytest.fixture
def crf():
    pytest.importorskip("pydensecrf", reason="the extra deepcut (pydensecrf2) is not installed")
    return DenseCRF


def disc_in_box(noise=0.25, radius=28, size=96):
    """Image of a noisy disc, the disc, and a confident but blurred prediction of its filled box, each ``(1, H, W)``."""
    rows, columns = torch.meshgrid(torch.arange(size), torch.arange(size), indexing="ij")
    center = size // 2
    disc = ((rows - center) ** 2 + (columns - center) ** 2 <= radius**2)[None]
    box = ((rows - center).abs() <= radius) & ((columns - center).abs() <= radius)
    prob = torch.from_numpy(gaussian_filter(box.float().numpy(), 2))[None] * 0.9 + 0.05
    return disc + noise * torch.randn(1, size, size), disc, box[None], prob


def dice(one, other):
    return (2 * (one & other).sum() / (one.sum() + other.sum())).item()


def test_a_disc_is_found_in_its_filled_box(crf):
    image, disc, box, prob = disc_in_box()
    assert dice(prob >= 0.5, disc) < 0.88
    refined = crf()(prob, image)
    assert refined.shape == prob.shape
    assert refined.dtype == torch.float32
    assert dice((refined >= 0.5) & box, disc) > 0.95


def test_the_scale_of_the_image_does_not_matter(crf):
    image, _, _, prob = disc_in_box()
    expected = crf()(prob, image)
    for other in (image * 1000 - 50, MetaTensor(image), image.numpy()):
        torch.testing.assert_close(crf()(prob, other), expected, atol=1e-3, rtol=0)
    spoiled = image.clone()
    spoiled[0, 0, 0] = 1e6  # one pixel does not squeeze the grey values of all others
    assert ((crf()(prob, spoiled) - expected).abs() > 1e-3).float().mean() < 0.01


def test_classes_are_refined_on_their_own(crf):
    image, _, _, prob = disc_in_box()
    both = crf()(torch.cat([prob, 1 - prob]), image)
    torch.testing.assert_close(both[:1], crf()(prob, image))
    torch.testing.assert_close(both[1:], crf()(1 - prob, image))
    assert (both.sum(0) - 1).abs().max() < 1e-4  # object and background are treated alike


@pytest.mark.parametrize(("appearance", "smoothness"), [(2, 1), (3, 0), (0, 3)])
def test_a_slice_with_unequal_sides_against_plain_sums(crf, appearance, smoothness):
    """One mean-field step by hand on a few pixels: every pair, both kernels, symmetric normalisation."""
    image, prob = torch.rand(1, 5, 8), torch.rand(1, 5, 8) * 0.8 + 0.1
    low, high = np.percentile(image.numpy(), (1, 99))
    grey = ((image.numpy() - low) / (high - low) * 255).clip(0, 255).ravel()
    places = np.indices((5, 8)).reshape(2, -1).astype(float)
    labels = np.stack([1 - prob.numpy().ravel(), prob.numpy().ravel()])
    energy = np.log(labels)
    for features, weight in ((np.concatenate([places / 4, grey[None] / 90]), appearance), (places / 1.5, smoothness)):
        kernel = np.exp(-((features[:, :, None] - features[:, None]) ** 2).sum(0) / 2)
        norm = 1 / np.sqrt(kernel.sum(0))
        energy = energy + weight * (labels * norm) @ kernel * norm
    expected = 1 / (1 + np.exp(energy[0] - energy[1]))
    options = {"appearance_px": 4, "appearance_grey": 90, "appearance_weight": appearance, "smoothness_px": 1.5}
    found = crf(**options, smoothness_weight=smoothness, iterations=1)(prob, image).numpy().ravel()
    assert np.corrcoef(found, expected)[0, 1] > 0.99  # the kernels are approximated on a lattice
    assert np.abs(found - expected).max() < 0.06


@pytest.mark.parametrize("constant", [0.0, 7.0])
def test_a_constant_image_and_sure_probabilities_stay_finite(crf, constant):
    prob = torch.zeros(1, 12, 12)
    prob[0, 3:9, 3:9] = 1
    refined = crf()(prob, torch.full((1, 12, 12), constant))
    assert torch.isfinite(refined).all()
    assert ((refined >= 0) & (refined <= 1)).all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"appearance_px": 0}, "appearance_px must be above 0, got 0"),
        ({"appearance_grey": -1}, "appearance_grey must be above 0, got -1"),
        ({"smoothness_px": 0}, "smoothness_px must be above 0, got 0"),
        ({"smoothness_weight": -1}, "smoothness_weight must be at least 0, got -1"),
        ({"iterations": 0}, "iterations must be at least 1, got 0"),
    ],
)
def test_bad_arguments_are_told(options, message):
    with pytest.raises(ValueError, match=message):
        DenseCRF(**options)


@pytest.mark.parametrize(
    ("prob", "image", "message"),
    [
        (torch.zeros(1, 4, 5), torch.zeros(1, 5, 4), r"one size, got \(1, 4, 5\) and \(1, 5, 4\)"),
        (torch.zeros(4, 5), torch.zeros(1, 4, 5), r"\(C, H, W\).*got \(4, 5\)"),
        (torch.full((1, 4, 5), 1.5), torch.zeros(1, 4, 5), "prob must hold numbers from 0 to 1, got 1.5 to 1.5"),
        (torch.full((1, 4, 5), torch.nan), torch.zeros(1, 4, 5), "prob must hold numbers from 0 to 1"),
        (torch.zeros(1, 4, 5), torch.full((1, 4, 5), torch.inf), "image must hold finite numbers"),
    ],
)
def test_bad_slices_are_told(crf, prob, image, message):
    with pytest.raises(ValueError, match=message):
        crf()(prob, image)


def test_without_the_library_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "pydensecrf", None)
    monkeypatch.setitem(sys.modules, "pydensecrf.densecrf", None)
    with pytest.raises(OptionalImportError, match=r'pip install "monai_bbox_mil\[deepcut\]"'):
        DenseCRF()
