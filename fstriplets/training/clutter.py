"""What stands behind people in mosaics, and blobs that look a little like faces; all drawn from nothing.

Pure functions on uint8 RGB pictures; all chance comes from the generator that is handed in.
"""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

from fstriplets.training import augment

__all__ = ["clutter", "dots", "skin", "surface", "window"]

Pixels = npt.NDArray[np.uint8]
Rng = np.random.Generator


def surface(size: int, rng: Rng) -> Pixels:
    """A texture, half of them coarse: less work, and most walls are out of focus."""
    if rng.random() < 0.5:
        return augment.texture(size, size, rng)
    half = augment.texture(size // 2, size // 2, rng)
    return np.asarray(cv2.resize(half, (size, size), interpolation=cv2.INTER_LINEAR), np.uint8)


def window(rng: Rng, size: int, least: float, most: float) -> tuple[int, int, int, int]:
    """x, y, width and height of a rectangle in a square picture; sides are shares of its own."""
    w, h = (max(4, int(v * size)) for v in rng.uniform(least, most, 2))
    return int(rng.integers(0, size - w + 1)), int(rng.integers(0, size - h + 1)), w, h


def clutter(canvas: Pixels, rng: Rng) -> Pixels:
    """Shapes, lines and words, as behind people in the street."""
    size = canvas.shape[0]
    for _ in range(int(rng.integers(1, 26))):
        tone = (rng.random(3) * 255).tolist() if rng.random() < 0.5 else [rng.random() * 255] * 3
        x, y, w, h = window(rng, size, 0.02, rng.uniform(0.06, 0.6))
        thick = -1 if rng.random() < 0.5 else int(rng.integers(1, 6))
        kind = rng.integers(4)
        if kind == 0:
            cv2.rectangle(canvas, (x, y), (x + w, y + h), tone, thick)
        elif kind == 1:
            turn = float(rng.uniform(0, 180))
            cv2.ellipse(
                canvas, (x + w // 2, y + h // 2), (w // 2, h // 2), turn, 0, 360, tone, thick, cv2.LINE_AA
            )
        elif kind == 2:
            end = (int(rng.integers(size)), int(rng.integers(size)))
            cv2.line(canvas, (x, y), end, tone, int(rng.integers(1, 8)), cv2.LINE_AA)
        else:
            word = "".join(chr(c) for c in rng.integers(65, 91, int(rng.integers(1, 7))))
            cv2.putText(
                canvas, word, (x, y + h), int(rng.integers(0, 5)), float(rng.uniform(0.3, 2.5)), tone,
                int(rng.integers(1, 5)), cv2.LINE_AA,
            )  # fmt: skip
    return canvas


def _skin_tone(rng: Rng) -> npt.NDArray[np.float64]:
    tone = np.array([0.92, 0.70, 0.58]) * rng.uniform(0.25, 1.05)
    return np.clip(tone + rng.normal(0, 0.04, 3), 0, 1) * 255


def skin(index: int, rng: Rng) -> Pixels:
    """Bare skin: a shoulder, a hand, a knee; shaded, without features. No photo's `index` is looked at."""
    piece = np.empty((48, 48, 3), np.uint8)
    piece[:] = _skin_tone(rng)
    return augment.shade(augment.shade(piece, rng), rng)


def dots(index: int, rng: Rng) -> Pixels:
    """A blob with two dark dots: a socket, headlamps, buttons. No photo's `index` is looked at."""
    piece = np.empty((64, 64, 3), np.uint8)
    piece[:] = _skin_tone(rng) if rng.random() < 0.5 else rng.random(3) * 255
    dark = (piece[0, 0] * rng.uniform(0, 0.5)).tolist()
    y, gap, radius = int(rng.integers(12, 52)), int(rng.integers(8, 20)), int(rng.integers(2, 8))
    for x in (32 - gap, 32 + gap):
        cv2.circle(piece, (x, y), radius, dark, -1 if rng.random() < 0.7 else 2, cv2.LINE_AA)
    if rng.random() < 0.3:
        cv2.rectangle(piece, (4, 4), (60, 60), dark, 2)
    return piece
