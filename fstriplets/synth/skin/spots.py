"""Freckles, moles and age spots: a random few dark blobs, placed and sized like people's.

Pooled statistics cannot keep them (each is one person's), and noise of octaves gives no sparse spots,
so they are drawn: rates and sizes are set by hand from what the photos show.
"""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

__all__ = ["add_spots"]

FloatArray = npt.NDArray[np.floating[Any]]

#: Log colour change of a full-strength spot; blue is absorbed most.
_TINT = np.array([0.35, 0.75, 1.0], np.float32)


def add_spots(ratio: FloatArray, rng: np.random.Generator, *, age: float, freckles: float) -> FloatArray:
    """Darken `ratio` [T, T, 3] by freckles (over nose and cheeks), moles and age spots (anywhere)."""
    size = ratio.shape[0]
    layers = []
    for place, rate, most, strengths, sigma in (
        (_bridge, 900 * freckles**1.5, 900, (0.04, 0.22), 1.1),
        (_anywhere, 4 + 3 * age, 24, (0.2, 0.9), 1.3),
        (_anywhere, 45 * max(0.0, age - 0.35), 60, (0.05, 0.22), 3.5),
    ):
        # All spots a skin can have are drawn first: with age, more of the same appear and none moves.
        spots, strength, luck = place(rng, most), rng.uniform(*strengths, most), rng.normal()
        count = round(float(np.clip(rate + luck * np.sqrt(rate) * 0.8, 0, most)))
        layers.append((spots[:count], strength[:count], sigma))
    dark = np.zeros((size, size), np.float32)
    for spots, strength, sigma in layers:
        dark += _stamp(spots * size, strength, sigma * size / 512, size)
    return np.asarray(ratio * np.exp(-dark[..., None] * _TINT))


def _stamp(place: FloatArray, strength: FloatArray, sigma: float, size: int) -> FloatArray:
    """Gaussian blobs of peak `strength` at texels `place` [N, 2] (x, y)."""
    image = np.zeros((size, size), np.float32)
    if not len(place):
        return image
    x, y = np.clip(place.astype(int), 0, size - 1).T
    np.add.at(image, (y, x), strength.astype(np.float32))
    return np.asarray(cv2.GaussianBlur(image, (0, 0), sigma) * np.float32(2 * np.pi * sigma**2))


def _bridge(rng: np.random.Generator, count: int) -> FloatArray:
    """Places over the nose's bridge and both cheeks, as fractions of the layout."""
    side = rng.choice([-1.0, 0.0, 1.0], count, p=[0.38, 0.24, 0.38])
    x = 0.5 + side * 0.13 + rng.normal(0, 0.055, count)
    y = 0.39 + 0.03 * np.abs(side) + rng.normal(0, 0.055, count)
    return np.stack([x, y], 1)


def _anywhere(rng: np.random.Generator, count: int) -> FloatArray:
    return np.stack([rng.uniform(0.2, 0.8, count), rng.uniform(0.06, 0.78, count)], 1)
