"""Noise and sharpness: what makes painted things belong to the photo they are painted on."""

from __future__ import annotations

import cv2
import numpy as np

__all__ = ["cloud", "draw_strands", "sharpness_sigma"]

Array = np.ndarray


def cloud(rng: np.random.Generator, height: int, width: int, size: float, octaves: int = 2) -> Array:
    """Smooth noise [H, W] float32 of zero mean and about unit variance.

    Args:
        size: of the blobs, pixels; each octave halves it.
    """
    total = np.zeros((height, width), np.float32)
    weight = 0.0
    for octave in range(octaves):
        cell = max(1.0, size / 2**octave)
        rows, columns = int(height / cell) + 4, int(width / cell) + 4
        coarse = rng.standard_normal((rows, columns), np.float32)
        matrix = np.array([[cell, 0, -1.5 * cell], [0, cell, -1.5 * cell]], np.float64)
        total += 0.5**octave * cv2.warpAffine(coarse, matrix, (width, height), flags=cv2.INTER_CUBIC)
        weight += 0.25**octave
    return np.asarray(total / np.sqrt(weight) / 0.7, np.float32)


def sharpness_sigma(image: Array) -> float:
    """How blurred a photo is, as the sigma (px) that makes a crisp drawing look at home in it.

    Compares detail at one pixel with detail at two: enlarged photos have little of the first.
    """
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    fine = cv2.GaussianBlur(grey, (0, 0), 1.0)
    coarse = cv2.GaussianBlur(grey, (0, 0), 2.0)
    ratio = float(np.abs(grey - fine).mean()) / max(float(np.abs(fine - coarse).mean()), 1e-6)
    return float(np.interp(ratio, [0.25, 0.5, 0.9], [2.2, 1.2, 0.0]))


def draw_strands(
    lines: Array, widths: Array, shades: Array, height: int, width: int, sigma: float
) -> tuple[Array, Array]:
    """Draw hairs, each over the ones before it.

    Args:
        lines: [N, K, 2] points of each hair from root to tip, pixels.
        widths: [N] px at the root; hairs taper towards their tips.
        shades: [N, K] brightness along each hair, 0..1.
        height, width: of the picture.
        sigma: blur of the photo (`sharpness_sigma`).

    Returns:
        (coverage [H, W] 0..1, shade [H, W] 0..1 where covered).
    """
    factor = 3 if width <= 384 else 2
    layer = np.zeros((height * factor, width * factor, 3), np.uint8)
    fixed = np.round(((lines + 0.5) * factor - 0.5) * 16).astype(np.int32)
    pieces = lines.shape[1] - 1
    for n in range(len(lines)):
        for k in range(pieces):
            taper = widths[n] * factor * (1 - 0.75 * k / pieces)
            solid = 255.0 if k < pieces - 1 else 150.0  # tips are fine
            colour = (float(shades[n, k] * solid), solid, 0.0)
            cv2.line(
                layer, fixed[n, k].tolist(), fixed[n, k + 1].tolist(), colour,
                max(1, round(float(taper))), cv2.LINE_AA, 4,
            )  # fmt: skip
    small = cv2.resize(layer, (width, height), interpolation=cv2.INTER_AREA).astype(np.float32) / 255
    if sigma > 0.3:
        small = cv2.GaussianBlur(small, (0, 0), sigma)
    cover = small[..., 1]
    return cover, small[..., 0] / np.maximum(cover, 1e-3)
