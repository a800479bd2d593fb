# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import math

import pytest
import torch

from monai_bbox_mil.inferers import RandAffineInferer


def grid(*shape):
    """Compute the offset of each pixel from the middle, one tensor per axis."""
    return torch.meshgrid(*(torch.arange(float(s)) - (s - 1) / 2 for s in shape), indexing="ij")


def smooth_images(batch, *shape):
    """Make images of a bright, soft ellipse in the middle, longer along axis 0."""
    first, second, *_ = grid(*shape)
    image = torch.exp(-(first**2) / 50 - second**2 / 18)
    return image.expand(batch, 1, *shape).clone()


def shown_by(inferer, images):
    """Return the images that the network sees, and the inferer's output for a network that returns its input."""
    shown = []
    torch.manual_seed(0)
    answered = inferer(images, lambda image: shown.append(image) or image)
    return shown[0], answered


def tilt_deg(image):
    """Measure the angle between a bright, elongated shape and axis 0."""
    first, second = grid(*image.shape)
    a, b, c = ((image * m).sum() for m in (first**2, first * second, second**2))
    return math.degrees(0.5 * math.atan2(2 * b, a - c))


def test_without_rotation_and_zoom_the_network_sees_the_original_images():
    images = smooth_images(2, 9, 9)
    shown, answered = shown_by(RandAffineInferer(), images)
    assert shown is images
    assert answered is images


@pytest.mark.parametrize("shape", [(48, 48), (40, 64), (64, 40), (40, 48, 5)])
def test_the_output_is_aligned_with_the_image(shape):
    images = smooth_images(8, *shape)
    shown, answered = shown_by(RandAffineInferer(rotate_deg=45, zoom=0.2), images)
    assert (shown - images).abs().amax() > 0.2
    assert (answered - images).abs().amax() < 0.05


@pytest.mark.parametrize("shape", [(48, 48), (40, 56), (56, 40)])
def test_images_are_rotated_up_to_the_angle_in_both_directions_without_shear(shape):
    images = smooth_images(64, *shape)
    shown, _ = shown_by(RandAffineInferer(rotate_deg=30), images)
    tilts = torch.tensor([tilt_deg(image[0]) for image in shown])
    assert tilts.abs().max() <= 31
    assert tilts.min() < -20
    assert tilts.max() > 20
    long, short = (torch.linalg.eigvalsh(_moments(image[0]))[i] for i in (1, 0) for image in shown[:1])
    assert (long / short).item() == pytest.approx(50 / 18, rel=0.05)


def _moments(image):
    first, second = grid(*image.shape)
    return torch.stack([(image * a * b).sum() for a in (first, second) for b in (first, second)]).view(2, 2)


def test_images_are_zoomed_in_and_out_up_to_the_factor():
    images = smooth_images(64, 48, 48)
    shown, _ = shown_by(RandAffineInferer(zoom=0.25), images)
    factor = (shown.sum((1, 2, 3)) / images.sum((1, 2, 3))).sqrt()
    assert 1 / 1.26 < factor.min() < 0.85
    assert 1.18 < factor.max() < 1.26


def test_volumes_are_rotated_about_their_last_axis():
    images = torch.zeros(4, 1, 24, 24, 3)
    images[..., 1] = smooth_images(4, 24, 24)
    shown, _ = shown_by(RandAffineInferer(rotate_deg=45), images)
    assert shown[..., 0].abs().max() < 1e-4
    assert shown[..., 2].abs().max() < 1e-4
    assert (shown - images)[..., 1].abs().max() > 0.1


def test_each_image_has_its_own_draw_and_a_seed_repeats_it():
    images = smooth_images(2, 32, 32)
    shown, _ = shown_by(RandAffineInferer(rotate_deg=45), images)
    again, _ = shown_by(RandAffineInferer(rotate_deg=45), images)
    assert not torch.allclose(shown[0], shown[1])
    assert torch.equal(shown, again)


def test_the_gradient_reaches_the_matching_pixels_of_the_network():
    network = torch.nn.Conv2d(1, 3, 3, padding=1)
    output = RandAffineInferer(rotate_deg=45)(smooth_images(2, 32, 32), network)
    assert output.shape == (2, 3, 32, 32)
    output[..., 16, 16].sum().backward()
    assert network.weight.grad.abs().sum() > 0


def test_under_autocast_the_images_are_resampled_in_float32():
    network = torch.nn.Conv2d(1, 1, 3, padding=1)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        output = RandAffineInferer(rotate_deg=45)(smooth_images(2, 32, 32), network)
    assert output.dtype == torch.float32
    assert torch.isfinite(output).all()


@pytest.mark.parametrize("name", ["rotate_deg", "zoom"])
def test_negative_arguments_raise(name):
    with pytest.raises(ValueError, match=f"{name} must be a finite number of at least 0, got -1"):
        RandAffineInferer(**{name: -1})
