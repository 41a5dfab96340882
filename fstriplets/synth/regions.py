"""Masks over the face's texture: where lips, nose, ears, neck, beard and hair are.

All are functions of the canonical position of a texel (the neutral model, units of about 0.9 cm), so
that they fit every person without annotation. Also the part labels of the truth (see LABELS).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np

from fstriplets.synth.mesh import Mesh

__all__ = ["LABELS", "Regions", "build_regions", "polyline_distance"]

#: Part labels of the truth: value in the label picture -> name.
LABELS: tuple[str, ...] = (
    "background",
    "skin",
    "brows",
    "eyes",
    "nose",
    "mouth",
    "lips",
    "hair",
    "glasses",
    "beard",
    "neck",
    "ears",
    "cloth",
)


@dataclass(frozen=True, eq=False)
class Regions:
    """Soft masks in [0, 1] and one label picture over the face's texture, all [512, 512].

    Attributes:
        lips, nose, ears, neck, cheeks, eyelids, forehead: float32 masks.
        brow: how far along the brow (0 at the nose, 1 at the temple), NaN away from it, and
            brow_off: distance above its centre line, units.
        beard, moustache: where facial hair grows.
        label: uint8 LABELS value of bare skin (skin, nose, lips, neck or ears).
    """

    lips: np.ndarray
    nose: np.ndarray
    ears: np.ndarray
    neck: np.ndarray
    cheeks: np.ndarray
    eyelids: np.ndarray
    forehead: np.ndarray
    beard: np.ndarray
    moustache: np.ndarray
    label: np.ndarray


@lru_cache(maxsize=2)
def build_regions(mesh: Mesh) -> Regions:
    """The masks of a mesh, built once a process."""
    p = mesh.position
    x, y, z = np.abs(p[..., 0]), p[..., 1], p[..., 2]
    points = mesh.neutral[mesh.landmarks]
    size = mesh.position.shape[0]
    lips = _polygon(mesh, list(range(48, 60)), size) * (1 - _polygon(mesh, list(range(60, 68)), size))
    lips = cv2.GaussianBlur(lips, (0, 0), 1.8)
    nose = _blob(x / (0.75 + 0.30 * np.clip(3.5 - y, 0, 5)), (y - 1.2) / 2.7, 6) * (z > 8.5)
    ears = _ramp(x - 7.25, 0.25) * _ramp(4.9 - y, 0.4) * _ramp(y + 2.6, 0.4)
    jaw = np.interp(x, *_jaw(points))
    neck = _ramp(jaw - 0.25 - y, 0.5) * (1 - ears)
    cheeks = np.exp(-(((x - 4.4) / 2.2) ** 2) - ((y + 0.4) / 1.8) ** 2) * (z > 3)
    eyelids = np.exp(-((((x - 3.1) / 2.1) ** 2 + ((y - 3.6) / 1.25) ** 2) ** 2)) * (z > 5)
    forehead = _ramp(y - 6.4, 1.0) * _ramp(11.5 - y, 1.5) * (z > 3)
    beard, moustache = _facial_hair(x, y, z, lips)
    label = np.full(p.shape[:2], LABELS.index("skin"), np.uint8)
    for name, mask in (("neck", neck), ("ears", ears), ("nose", nose), ("lips", lips)):
        label[mask > 0.5] = LABELS.index(name)
    masks = (lips, nose, ears, neck, cheeks, eyelids, forehead, beard, moustache)
    return Regions(*(np.ascontiguousarray(m, np.float32) for m in masks), label)  # type: ignore[call-arg]


def polyline_distance(points: np.ndarray, line: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Distance to a polyline and the place along it, both shaped as points[..., 0].

    Args:
        points: [..., D] positions; line: [K, D] its knots.

    Returns:
        distance in units, and the place in [0, 1] by knot number.
    """
    best = np.full(points.shape[:-1], np.inf, np.float32)
    place = np.zeros(points.shape[:-1], np.float32)
    for k in range(len(line) - 1):
        a, d = line[k], line[k + 1] - line[k]
        t = np.clip(((points - a) @ d) / (d @ d), 0, 1)
        distance = np.linalg.norm(points - a - t[..., None] * d, axis=-1)
        nearer = distance < best
        best = np.where(nearer, distance, best)
        place = np.where(nearer, (k + t) / (len(line) - 1), place)
    return best.astype(np.float32), place.astype(np.float32)


def _ramp(value: np.ndarray, width: float) -> np.ndarray:
    t = np.clip(value / width * 0.5 + 0.5, 0, 1)
    return np.asarray(t * t * (3 - 2 * t), np.float32)


def _blob(a: np.ndarray, b: np.ndarray, power: int) -> np.ndarray:
    return np.asarray(np.exp(-((a * a + b * b) ** (power // 2))))


def _polygon(mesh: Mesh, indices: list[int], size: int) -> np.ndarray:
    """Smooth closed curve through landmarks, filled, in texture space."""
    uv = mesh.uv[mesh.landmarks[indices]] * (size - 1)
    closed = np.concatenate([uv[-2:], uv, uv[:3]])
    t = np.linspace(0, 1, 12, endpoint=False)[:, None]
    curve = []
    for i in range(1, len(closed) - 2):
        a, b, c, d = closed[i - 1 : i + 3]
        curve.append(
            0.5 * (2 * b + (c - a) * t + (2 * a - 5 * b + 4 * c - d) * t**2 + (3 * b - a - 3 * c + d) * t**3)
        )
    mask = np.zeros((size, size), np.float32)
    cv2.fillPoly(mask, [np.round(np.concatenate(curve) * 16).astype(np.int32)], 1.0, cv2.LINE_8, 4)
    return mask


def _jaw(points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Height of the jaw line over |x|: chin to the lobe of the ear, then behind the ear."""
    half = points[8:16]
    order = np.argsort(half[:, 0])
    return np.append(half[order, 0], [7.6, 12]), np.append(half[order, 1], [-2.0, -2.0])


def _facial_hair(
    x: np.ndarray, y: np.ndarray, z: np.ndarray, lips: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Beard (cheek line, jaw, chin, under the chin) and moustache."""
    free = np.clip(1 - cv2.dilate(lips, np.ones((5, 5))), 0, 1)
    cheek_line = np.interp(x, [0, 1.6, 2.6, 4.5, 6.2, 7.4], [-4.6, -4.9, -4.4, -3.4, -1.6, 2.0])
    beard = _ramp(cheek_line - y, 0.9) * _ramp(y + 8.9 - 0.05 * x * x, 1.6) * _ramp(7.3 - x, 0.4)
    beard = beard * _ramp(z - 0.8, 0.8)
    soul = np.exp(-((x / 0.9) ** 2)) * _ramp(-4.4 - y, 0.3) * (z > 5)
    upper = -1.55 - 0.10 * x * x
    moustache = _ramp(upper - y, 0.35) * _ramp(y + 4.0, 0.5) * _ramp(3.15 - x, 0.4) * (z > 7)
    return np.maximum(beard, 0.8 * soul) * free, moustache * free
