"""Chubbiness: cheeks and jaw grow outward, fullness under the chin, light that follows it."""

from __future__ import annotations

import numpy as np

from fstriplets.edits.warp.geometry import apply_flow, dense_flow
from fstriplets.edits.warp.portrait import Canvas, Portrait

__all__ = ["chubbiness"]

Array = np.ndarray

#: Outward move of jaw points 0..8 (ear to chin) at strength 1, face units; mirrored for 9..16.
_JAW = np.array([0.02, 0.06, 0.12, 0.18, 0.22, 0.23, 0.21, 0.17, 0.14])
#: Width of the band outside the face that gives way, face units.
_BAND = 0.62


def chubbiness(portrait: Portrait, canvas: Canvas, strength: float, rng: np.random.Generator) -> None:
    """Widen cheeks and jaw and fill the chin."""
    points, moves = _moves(portrait, strength * rng.uniform(0.92, 1.08))
    flow = dense_flow(points, moves, 1.0 * portrait.unit, portrait.height, portrait.width)
    warped, mask = apply_flow(portrait.image, flow)
    canvas.paint(warped, mask)


def _moves(portrait: Portrait, strength: float) -> tuple[Array, Array]:
    """Control points and their moves, pixels."""
    face = portrait.frame.to_face(portrait.points)
    jaw = face[:17]
    middle = face[27:31].mean(0)
    outward = jaw - middle
    outward[:, 1] *= 0.75  # fullness goes sideways before it goes down
    outward /= np.linalg.norm(outward, axis=1, keepdims=True)
    # the far side of a turned head is foreshortened, and so is what it gains
    half = np.clip(np.abs(jaw[:, :1] - middle[0]) / 1.0, 0.25, 1.1)
    half[6:11] = np.clip(half[6:11], 0.8, 1.1)
    amount = strength * np.concatenate([_JAW, _JAW[-2::-1]])[:, None] * np.minimum(1, half)
    jaw_moves = amount * outward
    inner = _cheeks(face)
    pinned = np.vstack([face[17:48], face[48:68:2], jaw + _BAND * outward, [[-1.2, -0.6], [1.2, -0.6]]])
    points = np.vstack([jaw, inner[0], pinned])
    moves = np.vstack([jaw_moves, inner[1] @ jaw_moves, np.zeros_like(pinned)])
    rotation = np.vstack([portrait.frame.right, portrait.frame.down]) * portrait.unit
    return portrait.frame.to_picture(points), moves @ rotation


def _cheeks(face: Array) -> tuple[Array, Array]:
    """Points inside the cheeks, and how much of which jaw move each follows: [K, 2], [K, 17]."""
    points, share = [], []
    for side, corner, nostril in ((range(2, 7), 48, 31), (range(10, 15), 54, 35)):
        for index in side:
            inside = face[corner] if index in (4, 5, 6, 10, 11, 12) else face[nostril]
            points.append(0.55 * face[index] + 0.45 * inside)
            share.append(np.eye(17)[index] * 0.62)
    return np.array(points), np.array(share)
