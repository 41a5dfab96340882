"""Glasses: frames swept round the rims of the lenses, fitted to a person's eyes, nose and ears."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fstriplets.synth.mesh import Mesh

__all__ = ["FRAMES", "Glasses", "fit_glasses"]

#: Style -> half width, half height, exponent of the outline, droop outwards, rim radius, top-heavy rim.
FRAMES: tuple[tuple[str, float, float, float, float, float, float], ...] = (
    ("round", 2.15, 2.05, 2.0, 0.0, 0.10, 1.0),
    ("square", 2.45, 1.75, 3.6, 0.1, 0.17, 1.0),
    ("aviator", 2.55, 2.15, 2.5, -0.25, 0.08, 1.0),
    ("browline", 2.45, 1.80, 2.9, 0.1, 0.09, 2.6),
)
_ROUND, _SIDES = 40, 8
#: How much frames wrap round the face: units back for each unit outwards, squared.
_WRAP = 0.022


@dataclass(frozen=True, eq=False)
class Glasses:
    """A pair of glasses on a person's neutral head; it turns with the head.

    Attributes:
        vertices: [N, 3]; faces: [M, 3] frame triangles; lenses: [L, 3] lens triangles.
        colour: [3] linear RGB of the frame; tint: how dark the lenses are, 0..1.
    """

    vertices: np.ndarray
    faces: np.ndarray
    lenses: np.ndarray
    colour: np.ndarray
    tint: float


def fit_glasses(mesh: Mesh, vertices: np.ndarray, style: int, seed: int, tint: float) -> Glasses:
    """Glasses for a person.

    Args:
        vertices: [V, 3] of the person's neutral head.
        style: row of FRAMES; seed: for colour and fit; tint: 0 clear, 1 sunglasses.
    """
    rng = np.random.default_rng([seed, 31])
    points = vertices[mesh.landmarks]
    _, wide, high, power, droop, radius, heavy = FRAMES[style % len(FRAMES)]
    size = rng.uniform(0.94, 1.06) * (1.08 if tint > 0.5 else 1.0)
    bridge = points[27] * 0.6 + points[28] * 0.4
    eyes = float(points[36:48, 1].mean()) - 0.18
    x, y = np.abs(vertices[:, 0]), vertices[:, 1]
    behind = (x > 0.9) & (x < 2 * wide * size + 0.4) & (np.abs(y - eyes) < high * size) & (vertices[:, 2] > 5)
    # the lenses clear brow and cheek, however far they stand out
    clear = vertices[behind, 2] + _WRAP * np.maximum(x[behind] - 1.0, 0) ** 2
    ahead = max(float(bridge[2]) - 0.15, float(np.percentile(clear, 99.5)) + 0.05)
    parts: list[tuple[np.ndarray, np.ndarray]] = []
    lenses: list[tuple[np.ndarray, np.ndarray]] = []
    ears = _ear_tops(mesh, vertices)
    for side, eye in ((1.0, points[42:48].mean(0)), (-1.0, points[36:42].mean(0))):
        outline = _outline(wide * size, high * size, power, droop, side)
        centre = np.array([side * max(abs(eye[0]) + 0.05, wide * size + 0.55), eyes, 0])
        rim = outline + centre
        rim[:, 2] = ahead - _WRAP * np.maximum(np.abs(rim[:, 0]) - 1.0, 0) ** 2
        thick = radius * np.where(
            np.sin(np.linspace(0, 2 * np.pi, _ROUND, endpoint=False)) > -0.1, heavy, 1.0
        )
        parts.append(_tube(rim, thick, closed=True))
        lenses.append(_fan(rim))
        outer = rim[np.argmax(side * rim[:, 0])] + np.array([side * 0.12, 0.25 * high, 0])
        ear = ears[0 if side > 0 else 1]
        hook = ear + np.array([side * -0.05, -1.3, -1.5])
        bend = outer + np.array([side * 0.35, 0, -0.5])
        temple = np.stack([outer, bend, bend * 0.55 + ear * 0.45, ear + np.array([side * 0.1, 0.1, 0]), hook])
        parts.append(_tube(_smooth(temple, 14), np.full(14, max(radius, 0.11)), closed=False))
    left = np.array([-0.72 * size, bridge[1] + 0.25, ahead])
    arch = np.stack([left, [0, bridge[1] + 0.62, ahead + 0.22], left * [-1, 1, 1]])
    parts.append(_tube(_smooth(arch, 9), np.full(9, max(radius, 0.10)), closed=False))
    frame_vertices, frame_faces = _join(parts)
    lens_vertices, lens_faces = _join(lenses)
    colours = [
        (0.012, 0.012, 0.013),
        (0.06, 0.03, 0.015),
        (0.20, 0.19, 0.18),
        (0.26, 0.17, 0.06),
        (0.05, 0.06, 0.12),
    ]
    colour = np.array(colours[rng.integers(len(colours))], np.float32)
    return Glasses(
        np.concatenate([frame_vertices, lens_vertices]).astype(np.float32),
        frame_faces.astype(np.int32),
        (lens_faces + len(frame_vertices)).astype(np.int32),
        colour,
        tint,
    )


def _ear_tops(mesh: Mesh, vertices: np.ndarray) -> list[np.ndarray]:
    """Where the temples rest: between the top of each ear and the head."""
    out = []
    for side in (1.0, -1.0):
        near = np.argsort(np.linalg.norm(mesh.neutral - [side * 7.75, 4.6, 0.6], axis=1))[:6]
        out.append(vertices[near].mean(0) + np.array([side * 0.15, 0.1, 0]))
    return out


def _outline(wide: float, high: float, power: float, droop: float, side: float) -> np.ndarray:
    """Super-ellipse [A, 3] round the origin; `droop` pulls the outer lower corner down."""
    a = np.linspace(0, 2 * np.pi, _ROUND, endpoint=False)
    radius = (np.abs(np.cos(a)) ** power + np.abs(np.sin(a)) ** power) ** (-1 / power)
    x, y = wide * np.cos(a) * radius, high * np.sin(a) * radius
    y = y + droop * x / wide * np.clip(-np.sin(a), 0, 1)
    return np.stack([side * x, y, 0 * x], 1)


def _smooth(knots: np.ndarray, count: int) -> np.ndarray:
    from scipy.interpolate import CubicSpline

    return np.asarray(CubicSpline(np.linspace(0, 1, len(knots)), knots)(np.linspace(0, 1, count)))


def _tube(path: np.ndarray, radius: np.ndarray, closed: bool) -> tuple[np.ndarray, np.ndarray]:
    """A tube round a path: vertices and faces."""
    n = len(path)
    step = np.roll(path, -1, 0) - np.roll(path, 1, 0) if closed else np.gradient(path, axis=0)
    step /= np.linalg.norm(step, axis=1, keepdims=True)
    side = np.cross(step, [0.0, 0.3, 1.0])
    side /= np.linalg.norm(side, axis=1, keepdims=True)
    up = np.cross(side, step)
    a = np.linspace(0, 2 * np.pi, _SIDES, endpoint=False)
    ring = path[:, None] + radius[:, None, None] * (
        np.cos(a)[None, :, None] * side[:, None] + np.sin(a)[None, :, None] * up[:, None]
    )
    rows = np.arange(n if closed else n - 1)
    faces = []
    for k in range(_SIDES):
        here, there = rows * _SIDES, (rows + 1) % n * _SIDES
        q = (k + 1) % _SIDES
        faces += [np.stack([here + k, there + k, here + q], 1), np.stack([here + q, there + k, there + q], 1)]
    return ring.reshape(-1, 3), np.concatenate(faces)


def _fan(rim: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    n = len(rim)
    k = np.arange(n)
    return np.concatenate([rim, rim.mean(0, keepdims=True)]), np.stack([k, (k + 1) % n, np.full(n, n)], 1)


def _join(parts: list[tuple[np.ndarray, np.ndarray]]) -> tuple[np.ndarray, np.ndarray]:
    vertices, faces, count = [], [], 0
    for v, f in parts:
        vertices.append(v)
        faces.append(f + count)
        count += len(v)
    return np.concatenate(vertices), np.concatenate(faces)
