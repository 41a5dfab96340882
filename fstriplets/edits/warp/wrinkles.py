"""Creases of the skin: a dark valley with a lit ridge beside it, faded at both ends."""

from __future__ import annotations

import cv2
import numpy as np

from fstriplets.edits.warp.geometry import curve
from fstriplets.edits.warp.portrait import Portrait

__all__ = ["crease", "face_lines", "wobble"]

Array = np.ndarray


def crease(portrait: Portrait, line: Array, width: float, depth: float) -> Array:
    """Shading of one crease.

    Args:
        portrait: gives size and scale.
        line: [N, 2] pixels, along the crease.
        width: of the valley, face units.
        depth: darkening at its bottom, 0..1.

    Returns:
        [H, W] float32 to add to a shading factor: negative in the valley, a little positive on the
        ridge below it, where light from above falls.
    """
    shading = np.zeros((portrait.height, portrait.width), np.float32)
    reach = int(np.ceil(4 * width * portrait.unit)) + 3
    low = np.maximum(np.floor(line.min(0)).astype(int) - reach, 0)
    high = np.minimum(np.ceil(line.max(0)).astype(int) + reach, [portrait.width, portrait.height])
    if (high <= low).any():
        return shading
    valley = _valley(line - low, high - low, max(width * portrait.unit, 0.6))
    lit = portrait.frame.down * max(1.3 * width * portrait.unit, 1.0)
    shift = np.array([[1, 0, lit[0]], [0, 1, lit[1]]], np.float64)
    ridge = cv2.GaussianBlur(cv2.warpAffine(valley, shift, (valley.shape[1], valley.shape[0])), (0, 0), 1.0)
    shading[low[1] : high[1], low[0] : high[0]] = depth * (0.38 * ridge - valley)
    return shading


def _valley(line: Array, size: Array, sigma: float) -> Array:
    """Soft line [h, w] of height 1, tapered to nothing at its ends."""
    factor = 2
    layer = np.zeros((int(size[1]) * factor, int(size[0]) * factor), np.uint8)
    fixed = np.round(((line + 0.5) * factor - 0.5) * 16).astype(np.int32)
    count = len(line) - 1
    for k in range(count):
        taper = np.sin(np.pi * (k + 0.5) / count) ** 0.7
        thickness = max(1, round(sigma * factor * (0.5 + 0.7 * taper)))
        cv2.line(
            layer, fixed[k].tolist(), fixed[k + 1].tolist(), float(255 * taper), thickness, cv2.LINE_AA, 4
        )
    small = cv2.resize(layer, (int(size[0]), int(size[1])), interpolation=cv2.INTER_AREA)
    soft = cv2.GaussianBlur(small.astype(np.float32) / 255, (0, 0), max(0.5, 0.6 * sigma))
    return np.asarray(soft / max(float(soft.max()), 1e-3), np.float32)


def wobble(line: Array, rng: np.random.Generator, amount: float, samples: int = 28) -> Array:
    """A smooth line through [N, 2] points with a slow tremor of `amount` across it, face units."""
    smooth = curve(line, samples)
    waves = curve(np.stack([np.arange(6.0), rng.normal(0, amount, 6)], -1), samples)[:, 1]
    tangent = np.gradient(smooth, axis=0)
    normal = np.stack([-tangent[:, 1], tangent[:, 0]], -1)
    normal /= np.maximum(np.linalg.norm(normal, axis=1, keepdims=True), 1e-6)
    return np.asarray(smooth + waves[:, None] * normal)


def face_lines(face: Array, rng: np.random.Generator) -> list[tuple[Array, float, float]]:
    """Where ageing faces crease, for 68 points in face units: (line, width, depth) each."""
    lines = [*_forehead(face, rng), *_frown(face, rng)]
    for side in (-1, 1):
        lines += _crow(face, rng, side)
        lines += _under_eye(face, rng, side)
        lines += _mouth(face, rng, side)
    return lines


def _forehead(face: Array, rng: np.random.Generator) -> list[tuple[Array, float, float]]:
    brow = face[17:27]
    x0, x1 = brow[1, 0], brow[8, 0]
    lines = []
    for k in range(rng.integers(3, 5)):
        rise = 0.17 + 0.135 * k + rng.normal(0, 0.012)
        a, b = x0 + abs(rng.normal(0, 0.10)) + 0.05 * k, x1 - abs(rng.normal(0, 0.10)) - 0.05 * k
        xs = np.linspace(a, b, 7)
        base = np.interp(xs, brow[:, 0], brow[:, 1])
        ys = 0.5 * base + 0.5 * brow[:, 1].min() - rise
        line = wobble(np.stack([xs, ys], -1), rng, 0.010, 40)
        if rng.random() < 0.35:  # some break in the middle
            cut = int(rng.integers(15, 25))
            lines += [(line[: cut - 1], 0.022, 0.18), (_by(line[cut + 2 :], 0, 0.015), 0.022, 0.18)]
        else:
            lines.append((line, rng.uniform(0.020, 0.030), rng.uniform(0.16, 0.24)))
    return lines


def _frown(face: Array, rng: np.random.Generator) -> list[tuple[Array, float, float]]:
    lines = []
    for brow, side in ((21, -1), (22, 1)):
        top = face[brow] + [-side * 0.05, -0.10]
        low = face[brow] + [-side * 0.02, 0.10]
        middle = (top + low) / 2 + [side * 0.01, 0]
        line = wobble(np.array([top, middle, low]), rng, 0.006, 16)
        lines.append((line, 0.024, rng.uniform(0.14, 0.24)))
    return lines


def _crow(face: Array, rng: np.random.Generator, side: int) -> list[tuple[Array, float, float]]:
    corner = face[36 if side < 0 else 45] + [side * 0.06, 0.0]
    lines = []
    for angle in (-28, -8, 14, 34):
        turn = np.radians(angle + rng.normal(0, 4))
        length = rng.uniform(0.16, 0.28)
        direction = np.array([side * np.cos(turn), np.sin(turn)])
        bow = np.array([0, 0.03]) * (1 if angle > 0 else -0.3)
        points = np.array(
            [corner, corner + 0.5 * length * direction + bow, corner + length * direction + 2 * bow]
        )
        lines.append((wobble(points, rng, 0.006, 16), 0.017, rng.uniform(0.10, 0.18)))
    return lines


def _under_eye(face: Array, rng: np.random.Generator, side: int) -> list[tuple[Array, float, float]]:
    inner, outer = (face[39], face[36]) if side < 0 else (face[42], face[45])
    lines = []
    for drop, depth, width in ((0.15, 0.20, 0.030), (0.25, 0.22, 0.042)):
        middle = (inner + outer) / 2 + [0, drop + 0.07]
        ends = _by(inner, side * 0.02, drop * 0.55), _by(outer, -side * 0.03, drop * 0.7)
        line = wobble(np.array([ends[0], middle, ends[1]]), rng, 0.006, 20)
        lines.append((line, width, depth * rng.uniform(0.8, 1.2)))
    return lines


def _mouth(face: Array, rng: np.random.Generator, side: int) -> list[tuple[Array, float, float]]:
    nostril, corner = (face[31], face[48]) if side < 0 else (face[35], face[54])
    start = _by(nostril, side * 0.06, -0.06)
    end = _by(corner, side * 0.14, 0.02)
    bend = (start + end) / 2 + [side * 0.06, -0.01]
    fold = wobble(np.array([start, bend, end]), rng, 0.008, 24)
    jaw = face[6 if side < 0 else 10]
    droop = np.array(
        [_by(corner, side * 0.05, 0.04), _by(corner, side * 0.09, 0.17), 0.5 * (corner + jaw) + [0, 0.1]]
    )
    lines = [(fold, 0.045, rng.uniform(0.26, 0.34)), (wobble(droop, rng, 0.008, 20), 0.036, 0.22)]
    for t in (0.3, 0.55):  # bracket beside the corner
        point = corner + np.array([side * (0.16 + 0.12 * t), -0.15])
        bracket = np.array([point, _by(point, side * 0.06, 0.16), _by(point, side * 0.04, 0.34)])
        lines.append((wobble(bracket, rng, 0.01, 18), 0.02, rng.uniform(0.05, 0.14)))
    return lines


def _by(point: Array, right: float, down: float) -> Array:
    """A point [..., 2], moved; face units."""
    return np.asarray(point + np.array([right, down]))
