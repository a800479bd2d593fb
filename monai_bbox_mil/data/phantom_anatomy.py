# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
"""The anatomy and the imaging of the phantom; :mod:`monai_bbox_mil.data.phantom` writes it to files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

__all__ = ["PhantomPatient", "simulate_patient"]

_SUBSLICES = 3

Float = NDArray[np.float32]


class PhantomPatient(NamedTuple):
    """One simulated patient; axes ``(x, y, z)``, as MONAI loads the written files.

    Attributes:
        image: ``(W, H, Z)`` int16, at least 0.
        mask: ``(W, H, Z)`` uint8, 1 where at least half of a voxel is organ.
        lookalike: ``(W, H, Z)`` uint8, 1 where at least half of a voxel is the lookalike; never written to a file.
    """

    image: NDArray[np.int16]
    mask: NDArray[np.uint8]
    lookalike: NDArray[np.uint8]


@dataclass(frozen=True)
class _Blob:
    """A star-shaped solid: a harmonic outline around a straight axis, tapering along z. Lengths in mm."""

    centre: tuple[float, float]
    radius: float
    ratio: float
    rotation: float
    z_mid: float
    z_half: float
    taper: float = 2.0
    drift: tuple[float, float] = (0.0, 0.0)
    # Of the orders 2, 3, ..: amplitude as a part of the radius, phase, turn of the phase from the middle to an end.
    harmonics: tuple[tuple[float, float, float], ...] = ()

    def depth(self, x: Float, y: Float, z: Float) -> Float:
        """Compute the distance (mm) to the outline along the ray from the axis; positive inside. Inputs broadcast."""
        t = (z - self.z_mid) / self.z_half
        u, v = x - self.centre[0] - self.drift[0] * t, y - self.centre[1] - self.drift[1] * t
        cos, sin, stretch = np.cos(self.rotation), np.sin(self.rotation), np.sqrt(self.ratio)
        point = (cos * u + sin * v) * stretch + 1j * (cos * v - sin * u) / stretch
        rho = np.abs(point)
        outline = np.ones_like(rho)
        if self.harmonics:
            direction = point / np.maximum(rho, 1e-6)
            power = direction
            for amplitude, phase, turn in self.harmonics:
                power = power * direction
                outline += np.float32(amplitude) * (power * np.exp(1j * (phase + turn * t))).real
        profile = np.sqrt(np.clip(1 - np.abs(t) ** self.taper, 0, None))
        # The stretched frame shortens one axis; its geometric mean is 1, so depths stay right on average.
        inside: Float = (self.radius * profile * outline - rho).astype(np.float32)
        return np.where(np.abs(t) < 1, inside, np.float32(-1e3))


class _Space:
    """Voxel centres in mm, the origin in the middle of the field of view, and the fields that live on them."""

    def __init__(self, rng: np.random.Generator, shape: tuple[int, int, int], spacing_mm: Sequence[float]) -> None:
        self.rng, self.shape, self.spacing = rng, shape, tuple(spacing_mm)
        grids = [
            (np.arange(n, dtype=np.float32) - (n - 1) / 2) * np.float32(s)
            for n, s in zip(shape, spacing_mm, strict=True)
        ]
        self.x, self.y = grids[0][:, None, None], grids[1][None, :, None]
        offsets = ((np.arange(_SUBSLICES) + 0.5) / _SUBSLICES - 0.5) * spacing_mm[2]
        self.z = (grids[2][:, None] + offsets.astype(np.float32)).reshape(1, 1, -1)
        self.z_slices = grids[2][None, None, :]

    def coverage(self, depth: Float) -> Float:
        """Compute the share of each voxel that is inside, from depths on the sub-slices or on a single one."""
        ramp: Float = np.clip(0.5 + depth / np.float32(min(self.spacing[:2])), 0, 1)
        if ramp.shape[-1] > 1:
            ramp = ramp.reshape(*self.shape, _SUBSLICES).mean(axis=-1)
        return ramp

    def smooth(self, volume: Float, sigma_mm: Sequence[float]) -> Float:
        """Blur with a Gaussian, periodic at the borders, where only air or texture lies."""
        spectrum = np.fft.rfftn(volume)
        for axis, (size, spacing, sigma) in enumerate(zip(self.shape, self.spacing, sigma_mm, strict=True)):
            frequency = (np.fft.rfftfreq if axis == 2 else np.fft.fftfreq)(size, d=spacing)
            transfer = np.exp(-2 * (np.pi * sigma * frequency) ** 2)
            spectrum *= transfer.reshape([-1 if a == axis else 1 for a in range(3)])
        return np.fft.irfftn(spectrum, s=self.shape, axes=(0, 1, 2)).astype(np.float32)

    def texture(self, sigma_mm: Sequence[float]) -> Float:
        """Draw smooth noise of mean 0 and standard deviation 1."""
        field = self.smooth(self.rng.standard_normal(self.shape, dtype=np.float32), sigma_mm)
        field -= field.mean()
        field /= field.std()
        return field

    def bias(self) -> Float:
        """Draw a smooth multiplicative receive field between about 0.7 and 1.4."""
        field = np.zeros((1, 1, 1), dtype=np.float32)
        for grid in (self.x, self.y, self.z_slices):
            unit = grid / max(float(np.abs(grid).max()), 1e-6)
            linear, bend = self.rng.uniform(-1, 1, 2)
            field = field + np.float32(0.14 * linear) * unit + np.float32(0.14 * bend) * (unit**2 - 0.5)
        return np.exp(field).astype(np.float32)


def _outline(rng: np.random.Generator, strength: float) -> tuple[tuple[float, float, float], ...]:
    """Draw random lobes. Higher orders are weaker, and each turns a little along z."""
    return tuple(
        (strength * rng.uniform(0.5, 1) / order, rng.uniform(0, 2 * np.pi), rng.uniform(-0.5, 0.5))
        for order in (2, 3, 4, 5)
    )


def _place_lookalike(space: _Space, organ: Float, side: int, radius: float, unit: float) -> Float:
    """Return the depths of a solid like the organ that lies outside the organ's box in every slice."""
    rng = space.rng
    rows = np.flatnonzero((organ > -1).any(axis=(1, 2)))
    edge = float(side * space.x[rows[-1] if side > 0 else rows[0], 0, 0])
    length = float(-2 * space.z.min())
    offset_y, gap = rng.uniform(-12, 14) * unit, rng.uniform(4, 8) * unit
    blob = _Blob(
        centre=(0.0, offset_y),
        radius=radius,
        ratio=rng.uniform(0.65, 1.5),
        rotation=rng.uniform(0, np.pi),
        z_mid=rng.uniform(-0.08, 0.08) * length,
        z_half=rng.uniform(0.38, 0.6) * length,
        harmonics=_outline(rng, 0.35),
    )
    while True:
        depth = blob.depth(space.x, space.y, space.z)
        reach = float(np.abs(space.x[(depth > -1).any(axis=(1, 2))]).max())
        distance = edge + gap + reach
        if distance + reach < 59 * unit:
            return replace(blob, centre=(side * distance, offset_y)).depth(space.x, space.y, space.z)
        # It would reach into the fat, so try a smaller one.
        blob = replace(blob, radius=0.94 * blob.radius)


def simulate_patient(
    seed: int,
    index: int,
    image_size: Sequence[int] = (96, 96),
    num_slices: Sequence[int] = (10, 16),
    spacing_mm: Sequence[float] = (1.5, 1.5, 4.0),
) -> PhantomPatient:
    """Simulate one patient of the phantom.

    The anatomy scales with the field of view. The organ is oblique, lobed and nodular, darker in the middle, with a
    thin dark capsule, and it tapers off before the first and the last slice. The lookalike is as bright, large and
    lobed as the organ, but lateral, streaky and without a capsule. Around them are muscle and fat, dark bones, a bright
    bladder and a rectum with gas. The scan adds blur, a receive field, Rician noise and an arbitrary scale.

    Args:
        seed: seed of the phantom.
        index: number of the patient. Patients are independent: the first ones do not depend on how many there are.
        image_size: number of voxels along x and y, each at least 48.
        num_slices: smallest and largest number of slices, each at least 6.
        spacing_mm: spacing along x, y and z.

    Returns:
        arrays ``(W, H, Z)``.

    Example:
        >>> patient = simulate_patient(seed=0, index=3, image_size=(48, 48))
        >>> patient.image.shape[:2], patient.image.dtype, bool(patient.mask[..., 0].any())
        ((48, 48), dtype('int16'), False)
    """
    rng = np.random.default_rng([seed, index])
    shape = (int(image_size[0]), int(image_size[1]), int(rng.integers(num_slices[0], num_slices[1] + 1)))
    space = _Space(rng, shape, spacing_mm)
    unit = min(shape[0] * spacing_mm[0], shape[1] * spacing_mm[1]) / 144
    length = shape[2] * spacing_mm[2]

    def blob(x: float, y: float, radius: float, ratio: float, rotation: float = 0.0, **more: Any) -> Float:
        # A blob that does not taper is the same in all slices.
        z = space.z if "z_half" in more else np.zeros((1, 1, 1), dtype=np.float32)
        more = {"z_mid": 0.0, "z_half": length, **more}
        return _Blob((x * unit, y * unit), radius * unit, ratio, rotation, **more).depth(space.x, space.y, z)

    uniform = rng.uniform
    radius = uniform(14, 20)
    # At least one whole slice stays empty at each end: an object there would touch the border of the volume.
    z_half = uniform(0.28, 0.37) * length
    z_room = length / 2 - z_half - 1.5 * spacing_mm[2]
    side = 1 if rng.random() < 0.5 else -1
    organ_x, organ_y = -side * uniform(-3, 9), uniform(-4, 8)
    organ = blob(
        organ_x,
        organ_y,
        radius,
        uniform(0.6, 0.85),
        uniform(-1, 1) if rng.random() < 0.7 else uniform(0, np.pi),
        z_mid=uniform(-1, 1) * max(z_room, 0.0),
        z_half=z_half,
        taper=uniform(2, 3.5),
        drift=(uniform(-4, 4) * unit, uniform(-4, 4) * unit),
        harmonics=_outline(rng, 0.3),
    )
    lookalike = _place_lookalike(space, organ, side, radius * uniform(0.8, 1.05) * unit, unit)

    body = blob(0, 0, 62 * uniform(0.97, 1.03), uniform(0.8, 0.87), harmonics=_outline(rng, 0.04))
    bladder = blob(
        organ_x + uniform(-6, 6),
        organ_y - uniform(20, 27),
        uniform(10, 17),
        uniform(0.55, 0.8),
        z_mid=uniform(0.1, 0.4) * length,
        z_half=uniform(0.3, 0.5) * length,
        harmonics=_outline(rng, 0.2),
    )
    rectum_x, rectum_y = organ_x + uniform(-7, 7), organ_y + uniform(23, 28)
    rectum = blob(rectum_x, rectum_y, uniform(7, 10), uniform(0.6, 1), harmonics=_outline(rng, 0.3))
    gas = blob(rectum_x, rectum_y - 2, uniform(2, 5), uniform(0.5, 1), z_half=uniform(0.2, 0.8) * length)

    organ_part, lookalike_part = space.coverage(organ), space.coverage(lookalike)
    coarse = space.texture((9 * unit, 9 * unit, 9))
    fine = space.texture((1.8 * unit, 1.8 * unit, 3))
    streaks = space.texture((1.2 * unit, 6 * unit, 5) if rng.random() < 0.5 else (6 * unit, 1.2 * unit, 5))

    # The surrounding tissue is a patchwork whose bright patches are as bright as the organ.
    level = uniform(0.62, 0.7)
    signal = uniform(0.37, 0.43) + np.float32(0.08) * np.tanh(2 * coarse) + np.float32(0.03) * fine

    def paint(part: Float, value: Float | float) -> None:
        nonlocal signal
        signal = signal + (value - signal) * part

    fat = 1 - space.coverage(body - np.float32(uniform(4, 9) * unit))
    paint(fat, np.float32(uniform(0.75, 0.95)) + np.float32(0.04) * coarse)
    for left in (-1, 1):
        tilt = left * uniform(0.2, 1.0)
        muscle = blob(left * uniform(34, 42), uniform(-34, -26), uniform(8, 12), uniform(0.4, 0.6), tilt)
        femur = blob(left * uniform(47, 54), uniform(4, 30), uniform(8, 12), uniform(0.5, 0.9), tilt)
        pubis = blob(left * uniform(12, 20), uniform(-44, -38), uniform(3, 6), uniform(0.6, 1))
        for part, grey in ((muscle, 0.3), (femur, 0.14), (pubis, 0.16)):
            paint(space.coverage(part), grey)
    coccyx = blob(uniform(-3, 3), uniform(44, 48), uniform(6, 9), uniform(1.2, 1.6))
    paint(space.coverage(coccyx), 0.16)
    paint(space.coverage(bladder), np.float32(uniform(0.9, 1.05)) + np.float32(0.02) * fine)
    paint(space.coverage(rectum), np.float32(uniform(0.26, 0.36)) + np.float32(0.04) * fine)
    paint(space.coverage(gas), 0.06)
    paint(lookalike_part, np.float32(level * uniform(0.93, 1.07)) + np.float32(0.08) * streaks)

    depth = organ.reshape(*shape, _SUBSLICES).mean(axis=-1)
    zone = np.clip(depth / np.float32(0.6 * radius * unit), 0, 1)
    paint(organ_part, level + np.float32(0.07) * (0.5 - zone) + np.float32(0.05) * fine + np.float32(0.03) * coarse)
    capsule = np.exp(-((depth / np.float32(1.3 * unit)) ** 2))
    paint(capsule * np.float32(uniform(0.5, 0.8)), 0.25)
    air = 0.02
    paint(1 - space.coverage(body), air)
    return PhantomPatient(
        _scan(space, np.asarray(signal, dtype=np.float32)),
        (organ_part >= 0.5).astype(np.uint8),
        (lookalike_part >= 0.5).astype(np.uint8),
    )


def _scan(space: _Space, signal: Float) -> NDArray[np.int16]:
    """Apply in-plane blur, receive field, Rician noise and the scanner's arbitrary scale, on ``(W, H, Z)``."""
    blur = 0.5 * float(np.mean(space.spacing[:2]))
    received = space.smooth(signal, (blur, blur, 0.0)) * space.bias()
    noise = space.rng.standard_normal((2, *space.shape), dtype=np.float32) * np.float32(space.rng.uniform(0.02, 0.035))
    scale = np.exp(space.rng.uniform(np.log(180), np.log(1500)))
    magnitude: NDArray[np.int16] = np.round(np.hypot(received + noise[0], noise[1]) * np.float32(scale)).astype(
        np.int16
    )
    return magnitude
