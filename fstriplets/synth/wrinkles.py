"""Folds and lines that come with age, drawn as curves over the face's texture."""

from __future__ import annotations

from functools import lru_cache

import cv2
import numpy as np
from scipy.spatial import cKDTree

from fstriplets.synth.mesh import UV_SIZE, Mesh

__all__ = ["Wrinkles", "age_shape", "draw_wrinkles"]

#: Group -> age of onset, years until full, width (texels), depth, curves as canonical (|x|, y) knots.
#: Curves are mirrored; those that start at x = 0 run across the middle.
_FOLDS: dict[str, tuple[float, float, float, float, tuple[tuple[tuple[float, float], ...], ...]]] = {
    "nasolabial": (22, 40, 3.0, 1.0, (((1.75, -0.2), (2.45, -1.3), (3.05, -2.6), (3.25, -3.7)),)),
    "eye_bag": (30, 40, 2.6, 0.55, (((1.6, 2.55), (2.6, 1.9), (3.8, 1.9), (4.7, 2.5)),)),
    "tear_trough": (34, 40, 3.2, 0.5, (((1.5, 2.3), (2.2, 1.3), (3.4, 0.9)),)),
    "marionette": (42, 32, 2.8, 0.75, (((2.85, -4.0), (3.15, -5.0), (3.05, -6.2)),)),
    "forehead": (
        36,
        38,
        1.5,
        0.60,
        (
            ((0.0, 7.2), (2.0, 7.45), (4.0, 7.3)),
            ((0.0, 8.0), (2.2, 8.25), (4.3, 8.0)),
            ((0.0, 8.8), (2.0, 9.0), (3.8, 8.8)),
        ),
    ),
    "glabella": (36, 32, 1.5, 0.7, (((0.55, 4.9), (0.62, 5.5), (0.5, 6.3)),)),
    "crow": (
        36,
        32,
        1.2,
        0.55,
        (
            ((5.0, 3.75), (5.8, 4.3), (6.5, 4.7)),
            ((5.1, 3.4), (6.0, 3.5), (6.8, 3.7)),
            ((5.0, 3.1), (5.9, 2.75), (6.6, 2.6)),
            ((4.8, 2.8), (5.5, 2.1), (6.1, 1.6)),
        ),
    ),
    "lid": (40, 30, 1.2, 0.5, (((1.9, 2.85), (3.0, 2.45), (4.2, 2.7)),)),
    "lip": (
        50,
        30,
        1.0,
        0.4,
        (
            ((0.45, -1.6), (0.5, -2.2)),
            ((0.95, -1.6), (1.0, -2.3)),
            ((1.5, -1.8), (1.55, -2.5)),
            ((2.05, -2.2), (2.0, -2.8)),
        ),
    ),
    "chin": (38, 36, 2.2, 0.5, (((0.0, -5.15), (0.8, -5.25), (1.5, -5.6)),)),
    "cheek": (
        52,
        28,
        1.3,
        0.35,
        (
            ((4.2, -0.8), (4.6, -2.2), (4.6, -3.6)),
            ((5.2, -0.6), (5.6, -2.0), (5.5, -3.2)),
            ((4.0, 0.4), (4.9, 0.2), (5.7, 0.6)),
        ),
    ),
    "neck": (
        40,
        36,
        2.4,
        0.6,
        (((0.0, -9.2), (2.2, -9.0), (4.2, -8.4)), ((0.0, -10.4), (2.4, -10.2), (4.4, -9.6))),
    ),
}


class Wrinkles:
    """What age does to the face's texture.

    Attributes:
        height: [512, 512] units, negative in the folds; dark: [512, 512] log darkening, <= 0.
    """

    def __init__(self, height: np.ndarray, dark: np.ndarray) -> None:
        self.height, self.dark = height, dark


def draw_wrinkles(mesh: Mesh, seed: int, age: float) -> Wrinkles:
    """The lines of a person at an age; the same lines deepen as the age grows.

    Args:
        seed: of the person; age: years.
    """
    rng = np.random.default_rng([seed, 21])
    layers: dict[float, np.ndarray] = {}
    for onset, span, width, depth, curves in _FOLDS.values():
        personal = rng.uniform(0.2, 1.4)
        amount = float(np.clip((age - onset) / span, 0, 1.15)) ** 0.9 * depth * personal
        for knots in curves:
            for sign in (1.0, -1.0):
                wobble, fade = rng.normal(0, 0.13, (len(knots), 2)), rng.uniform(0.6, 1.15)
                if amount < 0.02:
                    continue
                layer = layers.setdefault(width, np.zeros((UV_SIZE, UV_SIZE), np.float32))
                _stroke(mesh, layer, (np.array(knots) + wobble) * [sign, 1], amount * fade)
    height = np.zeros((UV_SIZE, UV_SIZE), np.float32)
    dark = np.zeros_like(height)
    for width, layer in layers.items():
        groove = cv2.GaussianBlur(layer, (0, 0), width * 0.8) * width * 2.0
        broad = cv2.GaussianBlur(layer, (0, 0), width * 2.6) * width * 6.0
        height += 0.115 * width * (0.35 * broad - groove)
        dark -= 0.34 * groove + 0.065 * broad
    return Wrinkles(height, dark)


def _stroke(mesh: Mesh, layer: np.ndarray, knots: np.ndarray, amount: float) -> None:
    """A curve through canonical (x, y) knots, thin at its ends, added to a layer."""
    t = np.linspace(0, len(knots) - 1, 15)
    k = np.arange(len(knots))
    if len(knots) > 2:
        curve = np.stack(
            [np.polyval(np.polyfit(k, knots[:, d], min(3, len(knots) - 1)), t) for d in (0, 1)], 1
        )
    else:
        curve = np.stack([np.interp(t, k, knots[:, d]) for d in (0, 1)], 1)
    texel = _to_texture(mesh, curve)
    ends = (
        np.sin(np.linspace(0.25, np.pi - 0.12, 15))
        if abs(knots[0, 0]) > 0.3
        else np.cos(np.linspace(0, 1.35, 15))
    )
    for a, b, strength in zip(texel[:-1], texel[1:], ends[1:], strict=True):
        low = np.clip(np.floor(np.minimum(a, b)).astype(int) - 2, 0, UV_SIZE)
        high = np.clip(np.ceil(np.maximum(a, b)).astype(int) + 3, 0, UV_SIZE)
        line = np.round((np.stack([a, b]) - low) * 16).astype(int)
        mask = np.zeros((high[1] - low[1], high[0] - low[0]), np.uint8)
        cv2.line(mask, tuple(line[0].tolist()), tuple(line[1].tolist()), 255, 1, cv2.LINE_AA, 4)
        part = (slice(low[1], high[1]), slice(low[0], high[0]))
        np.maximum(layer[part], mask * np.float32(amount * strength / 255), out=layer[part])


@lru_cache(maxsize=2)
def _front(mesh: Mesh) -> tuple[cKDTree, np.ndarray]:
    """Canonical (x, y) of the texels in front, for looking up where a curve lies on the texture."""
    p = mesh.position[::2, ::2]
    keep = mesh.inside[::2, ::2] & (p[..., 2] > 1.0)
    rows, columns = np.nonzero(keep)
    return cKDTree(p[keep][:, :2]), np.stack([columns * 2, rows * 2], 1).astype(np.float32)


def _to_texture(mesh: Mesh, points: np.ndarray) -> np.ndarray:
    """Texels [N, 2] of canonical (x, y) points [N, 2] on the front of the face."""
    tree, texels = _front(mesh)
    distance, near = tree.query(points, k=4)
    w = 1 / (distance + 0.01)
    return np.asarray((texels[near] * (w / w.sum(1, keepdims=True))[..., None]).sum(1))


def age_shape(
    mesh: Mesh, age: float, sagging: float, chubby: float, vertices: np.ndarray, normals: np.ndarray
) -> np.ndarray:
    """What age and weight add to a neutral face: sagging cheeks, thinner lips, a heavier jaw.

    Args:
        age: years; sagging: beyond that of the years, 1 as much as 80 years bring; chubby: -1..3.

    Returns:
        [V, 3] offsets, units.
    """
    p = mesh.neutral
    x, y, z = np.abs(p[:, 0]), p[:, 1], p[:, 2]
    fat = np.exp(-(((x - 5.5) / 3.0) ** 2) - ((y + 4.0) / 4.0) ** 2) * (z > -3)
    fat = fat + 0.6 * np.exp(-((x / 4) ** 2) - ((y + 8.5) / 2.5) ** 2) * (z > -3)
    fat = fat + 0.35 * np.exp(-(((y + 9.5) / 2.2) ** 2)) * (z <= 5)
    offset = (1.35 * chubby * fat)[:, None] * (normals * np.array([1, 0.5, 0.7], np.float32))
    old = float(np.clip((age - 35) / 45, 0, 1.2)) + sagging
    if old > 0:
        jowl = np.exp(-(((x - 4.2) / 1.5) ** 2) - ((y + 6.0) / 1.4) ** 2) * (z > 3)
        under = np.exp(-(((x - 3.2) / 1.4) ** 2) - ((y - 2.2) / 0.6) ** 2) * (z > 5)
        brow = np.exp(-(((x - 4.3) / 1.8) ** 2) - ((y - 4.9) / 0.9) ** 2) * (z > 5)
        temple = np.exp(-(((x - 6.3) / 1.5) ** 2) - ((y - 6.0) / 2.2) ** 2) * (z > 0)
        hollow = np.exp(-(((x - 4.9) / 1.3) ** 2) - ((y + 1.8) / 1.5) ** 2) * (z > 3)
        nose = np.exp(-((x / 1.5) ** 2) - ((y - 0.3) / 1.0) ** 2) * (z > 9)
        down = np.array([0, -1, 0], np.float32)
        bulge = 0.48 * jowl + 0.20 * under - 0.38 * temple - 0.36 * hollow
        offset = offset + old * bulge[:, None] * normals
        offset = offset + old * (0.55 * jowl + 0.24 * brow + 0.30 * nose)[:, None] * down
        weights = np.zeros(len(mesh.names), np.float32)
        for name, value in (
            ("mouthRollUpper", 0.42),
            ("mouthRollLower", 0.36),
            ("mouthFrown_L", 0.12),
            ("mouthFrown_R", 0.12),
        ):
            weights[mesh.index(name)] = value * old
        offset = offset + mesh.pose_expression(weights)
    return np.asarray(offset, np.float32)
