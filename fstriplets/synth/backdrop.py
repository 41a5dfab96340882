"""Backgrounds: walls, studios, rooms, streets and the open air, out of focus behind the person."""

from __future__ import annotations

import cv2
import numpy as np

__all__ = ["backdrop"]

_GRID = 96
_KINDS = ("studio", "wall", "room", "open", "street", "lights")
_ODDS = (0.20, 0.22, 0.24, 0.18, 0.10, 0.06)


def backdrop(seed: int, light: np.ndarray, height: int, width: int) -> np.ndarray:
    """[H, W, 3] float32 linear RGB.

    Args:
        seed: of the background; light: [3] colour of the first light, which tints it.
    """
    rng = np.random.default_rng([seed, 4])
    kind = str(rng.choice(_KINDS, p=_ODDS))
    picture = _PAINTERS[kind](rng)
    tint = 0.5 + 0.5 * light / max(float(light.max()), 1e-3)
    blur = {"studio": 6.0, "wall": 2.5, "room": 2.6, "open": 2.0, "street": 2.6, "lights": 1.6}[kind]
    picture = cv2.GaussianBlur(picture.astype(np.float32), (0, 0), blur * float(rng.uniform(0.7, 2.2)))
    picture = cv2.resize(
        np.clip(picture * tint, 0.003, 1.3).astype(np.float32), (width, height), interpolation=cv2.INTER_CUBIC
    )
    return np.asarray(np.clip(picture, 0.002, None))


def _axes() -> tuple[np.ndarray, np.ndarray]:
    y, x = np.mgrid[0:_GRID, 0:_GRID].astype(np.float32) / _GRID
    return x, y


def _colour(rng: np.random.Generator, low: float, high: float, chroma: float) -> np.ndarray:
    """A colour of a brightness between two bounds (log scale) and little chroma, warm more often than not."""
    warm = rng.normal(0.05, chroma)
    tint = np.array([warm, rng.normal(0, chroma * 0.3), -1.2 * warm])
    return np.asarray(np.exp(rng.uniform(np.log(low), np.log(high)) + tint))


def _blobs(rng: np.random.Generator, cells: int) -> np.ndarray:
    grid = rng.standard_normal((cells, cells)).astype(np.float32)
    return np.asarray(cv2.resize(grid, (_GRID, _GRID), interpolation=cv2.INTER_CUBIC))


def _studio(rng: np.random.Generator) -> np.ndarray:
    x, y = _axes()
    centre = rng.uniform(0.2, 0.8, 2)
    spot = np.exp(-(((x - centre[0]) ** 2 + (y - centre[1]) ** 2) / rng.uniform(0.1, 0.6)))
    shade = 0.65 + rng.uniform(0.1, 0.9) * spot + 0.04 * _blobs(rng, 7)
    return np.asarray(_colour(rng, 0.03, 0.6, 0.10) * shade[..., None])


def _wall(rng: np.random.Generator) -> np.ndarray:
    x, y = _axes()
    slope = rng.normal(0, 0.4, 2)
    picture = _colour(rng, 0.06, 0.65, 0.14) * np.exp(slope[0] * (x - 0.5) + slope[1] * (0.5 - y))[..., None]
    if rng.random() < 0.5:  # a corner or the edge of a door
        edge = x > rng.uniform(0.05, 0.95)
        picture = np.where(edge[..., None], picture * rng.uniform(0.55, 0.9), picture)
    return np.asarray(picture * (1 + 0.03 * _blobs(rng, 12))[..., None])


def _boxes(
    rng: np.random.Generator,
    picture: np.ndarray,
    count: int,
    low: float,
    high: float,
    chroma: float,
    tall: float,
) -> None:
    x, y = _axes()
    for _ in range(count):
        w, h = rng.uniform(0.04, 0.35), rng.uniform(0.1, 0.5) * tall
        x0, y0 = rng.uniform(-0.2, 1.0), rng.uniform(-0.2, 0.9)
        inside = (x > x0) & (x < x0 + w) & (y > y0) & (y < y0 + h)
        colour = _colour(rng, low, high, chroma)
        picture[inside] = colour * (0.85 + 0.3 * (y[inside] - y0) / h)[:, None]


def _room(rng: np.random.Generator) -> np.ndarray:
    picture = _wall(rng) * 0.7
    _boxes(rng, picture, int(rng.integers(3, 8)), 0.02, 0.35, 0.16, 1.0)
    if rng.random() < 0.45:  # a window
        x, y = _axes()
        x0, y0 = rng.uniform(-0.1, 0.85), rng.uniform(-0.2, 0.3)
        window = (x > x0) & (x < x0 + rng.uniform(0.15, 0.4)) & (y > y0) & (y < y0 + rng.uniform(0.3, 0.7))
        picture[window] = np.array([0.85, 0.93, 1.0]) * rng.uniform(0.6, 1.2)
    return picture


def _open(rng: np.random.Generator) -> np.ndarray:
    _, y = _axes()
    green = np.array([0.11, 0.15, 0.05]) * rng.uniform(0.4, 1.5) * np.exp(rng.normal(0, 0.12, 3))
    sky = np.array([0.58, 0.70, 0.86]) * rng.uniform(0.55, 1.25)
    horizon = rng.uniform(-0.1, 0.6)
    edge = np.clip((y - horizon) * 7 + 0.9 * _blobs(rng, 7), 0, 1)[..., None]
    leaves = (1 + 0.35 * _blobs(rng, 10) + 0.35 * _blobs(rng, 26)).clip(0.15, None)[..., None]
    return np.asarray(sky * (1 - edge) + green * leaves * edge)


def _street(rng: np.random.Generator) -> np.ndarray:
    picture = np.broadcast_to(np.array([0.60, 0.68, 0.78]) * rng.uniform(0.4, 1.0), (_GRID, _GRID, 3)).copy()
    _boxes(rng, picture, int(rng.integers(6, 14)), 0.04, 0.45, 0.12, 2.4)
    return picture


def _lights(rng: np.random.Generator) -> np.ndarray:
    """A dark place with round lights far out of focus."""
    picture = _colour(rng, 0.01, 0.06, 0.2) * (1 + 0.5 * _blobs(rng, 5)).clip(0.2, None)[..., None]
    picture = np.ascontiguousarray(picture, np.float32)
    for _ in range(int(rng.integers(4, 14))):
        colour = _colour(rng, 0.1, 0.9, 0.45)
        spot = np.zeros((_GRID, _GRID), np.float32)
        cv2.circle(
            spot,
            tuple(int(v) for v in rng.integers(0, _GRID, 2)),
            int(rng.integers(3, 9)),
            1.0,
            -1,
            cv2.LINE_AA,
        )
        picture += 0.7 * spot[..., None] * colour.astype(np.float32)
    return picture


_PAINTERS = {
    "studio": _studio,
    "wall": _wall,
    "room": _room,
    "open": _open,
    "street": _street,
    "lights": _lights,
}
