"""Brows, beard and moustache: short strands on the face."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from scipy.spatial import cKDTree

from fstriplets.synth.browshape import BrowShape, brow_line, draw_brow_shape
from fstriplets.synth.mesh import FACE, Mesh
from fstriplets.synth.person import Person
from fstriplets.synth.regions import Regions

__all__ = ["FaceHair", "grow_beard", "grow_brows", "place"]


class FaceHair:
    """Strands rooted on the face, kept as root triangle and shape so that they move with it.

    Attributes:
        face: [S] triangle; weights: [S, 3]; shape: [S, K, 3] offsets in a frame of x, y and the normal.
    """

    def __init__(self, face: np.ndarray, weights: np.ndarray, shape: np.ndarray, shade: np.ndarray) -> None:
        self.face, self.weights, self.shape, self.shade = face, weights, shape, shade


def place(strands: FaceHair, faces: np.ndarray, vertices: np.ndarray, normals: np.ndarray) -> np.ndarray:
    """[S, K, 3] strand points on a posed face (model axes)."""
    corner = faces[strands.face]
    root = (vertices[corner] * strands.weights[..., None]).sum(1)
    n = (normals[corner] * strands.weights[..., None]).sum(1)
    n /= np.linalg.norm(n, axis=1, keepdims=True) + 1e-6
    x = np.array([1.0, 0, 0], np.float32) - n * n[:, :1]
    x /= np.linalg.norm(x, axis=1, keepdims=True) + 1e-6
    y = np.cross(n, x)
    frame = np.stack([x, y, n], 1)
    return np.asarray(root[:, None] + strands.shape @ frame, np.float32)


class _Locator:
    """Triangle and weights of places on the face.

    Args:
        front: look places up by canonical (x, y) among the triangles that face forward; otherwise by
            (x, y, z), for places that lie on the surface already.
    """

    def __init__(self, mesh: Mesh, front: bool) -> None:
        ids = np.flatnonzero(mesh.material == FACE)
        self.dimensions = 2 if front else 3
        if front:
            a, b, c = (mesh.neutral[mesh.faces[ids, k]] for k in range(3))
            normal = np.cross(b - a, c - a)
            # the sockets of the eyes have a back side; brows belong on the outer one
            outer = (normal[:, 2] > 0.1 * np.linalg.norm(normal, axis=1)) & (a[:, 2] > 5) & (a[:, 1] > 3.8)
            ids = ids[outer]
        self.ids, self.mesh = ids, mesh
        self.tree = cKDTree(mesh.neutral[mesh.faces[ids]].mean(1)[:, : self.dimensions])

    def __call__(self, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        d = self.dimensions
        _, near = self.tree.query(points[:, :d])
        face = self.ids[near]
        a, b, c = (self.mesh.neutral[self.mesh.faces[face, k]][:, :d] for k in range(3))
        u, v, w = b - a, c - a, points[:, :d] - a
        uu, uv, vv = (u * u).sum(1), (u * v).sum(1), (v * v).sum(1)
        wu, wv = (w * u).sum(1), (w * v).sum(1)
        det = uu * vv - uv * uv + 1e-12
        s, t = (vv * wu - uv * wv) / det, (uu * wv - uv * wu) / det
        weights = np.clip(np.stack([1 - s - t, s, t], 1), -0.5, 1.5)
        return face, (weights / weights.sum(1, keepdims=True)).astype(np.float32)


@lru_cache(maxsize=4)
def _locator(mesh: Mesh, front: bool) -> _Locator:
    return _Locator(mesh, front)


def _curved(
    direction: np.ndarray, length: np.ndarray, lift: float, bend: float, knots: int = 4
) -> np.ndarray:
    s = np.linspace(0, 1, knots, dtype=np.float32)[None, :, None]
    flat = direction[:, None] * length[:, None, None] * s
    rise = np.zeros_like(flat)
    rise[..., 2] = 0.02 + length[:, None] * lift * np.sin(s[..., 0] * bend)
    return np.asarray(flat + rise, np.float32)


def grow_brows(mesh: Mesh, person: Person) -> FaceHair:
    """Brow hairs along the person's own line: upright at the nose, lying towards the temple."""
    rng = np.random.default_rng([person.seed, 8])
    shape = draw_brow_shape(person.seed)
    roots, directions, lengths = [], [], []
    for sign in (-1.0, 1.0):
        n = int((180 + person.brow * 330) * (0.6 + 0.4 * shape.thickness))
        span = _along(shape, person.brow, (np.arange(n) + rng.random(n)) / n)
        t = shape.inner + (shape.outer - shape.inner) * 0.97 * span
        width = shape.half_width(t, person.brow)
        o = np.clip(rng.normal(size=n) * 0.5, -1, 1) * width
        q = brow_line(mesh, t, sign) + np.stack([0 * o, o + shape.centre(t), 0 * o], 1)
        lie = np.clip(span * 1.6, 0, 1)
        up = np.interp(span, [0, 0.15, 0.5, 1], [1.2, 0.75, 0.28, -0.25]) - 0.55 * (o / width) * lie
        up = up + shape.slant + 0.25 * shape.tilt
        d = np.stack([sign * (0.25 + 0.75 * lie), up, 0 * t], 1) + rng.normal(size=(n, 3)) * [0.2, 0.2, 0]
        d /= np.linalg.norm(d, axis=1, keepdims=True)
        roots.append(q)
        directions.append(d)
        reach = np.interp(span, [0, 0.2, 1], [0.8, 1.0, 0.7])
        lengths.append((0.42 + 0.20 * rng.random(n)) * shape.length * reach)
    face, weights = _locator(mesh, True)(np.concatenate(roots).astype(np.float32))
    curves = _curved(
        np.concatenate(directions).astype(np.float32), np.concatenate(lengths).astype(np.float32), 0.14, 2.2
    )
    return FaceHair(face, weights, curves, (0.75 + 0.5 * rng.random(len(face))).astype(np.float32))


def _along(shape: BrowShape, density: float, share: np.ndarray) -> np.ndarray:
    """Places along a brow, 0 at its inner end and 1 at its outer, with as many hairs as it is wide."""
    span = np.linspace(0, 1, 33)
    width = shape.half_width(shape.inner + (shape.outer - shape.inner) * span, density)
    grown = np.concatenate([[0.0], np.cumsum(width[1:] + width[:-1])])
    return np.asarray(np.interp(share, grown / grown[-1], span))


def grow_beard(mesh: Mesh, regions: Regions, person: Person, count: int) -> FaceHair | None:
    """Beard and moustache hairs, or None for a shaved face; stubble under 0.2 units is only painted."""
    if max(person.beard, person.moustache) < 0.05 or person.beard_length < 0.18:
        return None
    rng = np.random.default_rng([person.seed, 9])
    odds = np.maximum(regions.beard * person.beard, regions.moustache * person.moustache).ravel()
    odds = np.where(mesh.inside.ravel(), odds, 0)
    texel = rng.choice(len(odds), int(count * min(1.0, odds.sum() / 30000 + 0.2)), p=odds / odds.sum())
    p = mesh.position.reshape(-1, 3)[texel] + rng.normal(size=(len(texel), 3)).astype(np.float32) * 0.03
    face, weights = _locator(mesh, False)(p)
    lip = regions.moustache.ravel()[texel] > 0.4
    side = np.sign(p[:, 0]) * np.clip(np.abs(p[:, 0]) / 1.5, 0.1, 1)
    d = np.stack([np.where(lip, 0.8 * side, 0.15 * side), np.where(lip, -0.55, -1.0), 0 * side], 1)
    d = d + rng.normal(size=d.shape) * [0.3, 0.25, 0]
    d /= np.linalg.norm(d, axis=1, keepdims=True)
    length = (
        person.beard_length
        * (0.55 + 0.6 * rng.random(len(texel)))
        * np.where(lip, np.minimum(1, 0.5 / person.beard_length), 1)
    )
    shape = _curved(d.astype(np.float32), length.astype(np.float32), 0.35, 2.6, 5)
    shape[:, 1:, :2] += (
        np.cumsum(rng.normal(size=(len(texel), 4, 2)), 1) * 0.05 * np.sqrt(person.beard_length)
    )
    return FaceHair(face, weights, shape, (0.7 + 0.5 * rng.random(len(texel))).astype(np.float32))
