"""Chubbiness: cheeks and jaw grow outward, fullness under the chin, light that follows it."""

from __future__ import annotations

import numpy as np

from fstriplets.edits.warp.geometry import apply_flow, curve, dense_flow, smoothstep
from fstriplets.edits.warp.parse import skin_mask
from fstriplets.edits.warp.portrait import Canvas, Portrait
from fstriplets.edits.warp.wrinkles import crease

__all__ = ["chubbiness"]

Array = np.ndarray

#: Outward move of jaw points 0..8 (ear to chin) at strength 1, face units; mirrored for 9..16.
_JAW = np.array([0.05, 0.115, 0.175, 0.215, 0.23, 0.22, 0.195, 0.16, 0.14])
#: Width of the band outside the face that gives way, face units.
_BAND = 0.62


def chubbiness(portrait: Portrait, canvas: Canvas, strength: float, rng: np.random.Generator) -> None:
    """Widen cheeks and jaw and fill the chin."""
    points, moves = _moves(portrait, strength * rng.uniform(0.92, 1.08))
    flow = dense_flow(points, moves, 1.0 * portrait.unit, portrait.height, portrait.width)
    warped, mask = apply_flow(portrait.image, flow * _window(portrait)[..., None])
    canvas.paint(warped, mask)
    _fullness(Portrait(canvas.image, portrait.points + _moved(portrait, points, moves)), canvas, strength)


def _moved(portrait: Portrait, points: Array, moves: Array) -> Array:
    """How far each landmark went: only those of the jaw did."""
    shift = np.zeros_like(portrait.points)
    shift[:17] = moves[:17]
    return shift


def _fullness(full: Portrait, canvas: Canvas, strength: float) -> None:
    """Light on the rounder cheeks, the crease of a second chin, a deeper fold beside the mouth."""
    face = full.frame.to_face(full.points)
    lip, chin = face[57], face[8]
    up = 0.30 * (lip - chin)  # the crease lies between the lip and the new chin
    arc = np.array([face[6] + 1.3 * up, face[7] + up, chin + 0.8 * up, face[9] + up, face[10] + 1.3 * up])
    shading = crease(full, full.frame.to_picture(curve(arc, 30)), 0.055, 0.13)
    for nostril, corner, side in ((31, 48, -1), (35, 54, 1)):
        start, end = face[nostril] + [side * 0.07, -0.04], face[corner] + [side * 0.15, 0.0]
        bend = (start + end) / 2 + [side * 0.07, -0.01]
        fold = full.frame.to_picture(curve(np.array([start, bend, end]), 20))
        shading += crease(full, fold, 0.05, 0.09)
    x, y = full.grid
    for corner, jaw, side in ((48, 3, -1), (54, 13, 1)):
        apple = 0.5 * face[corner] + 0.5 * face[jaw] + [side * 0.02, -0.22]
        shading += 0.05 * np.exp(-(((x - apple[0]) / 0.26) ** 2 + ((y - apple[1]) / 0.24) ** 2))
    canvas.shade(1 + strength * skin_mask(full) * shading)


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
    index, small = _features(strength)
    others = [i for i in range(17, 68) if i not in index and (i < 48 or i % 2 == 0)]
    pinned = np.vstack([face[others], jaw + _BAND * outward, [[-1.2, -0.6], [1.2, -0.6]]])
    points = np.vstack([jaw, inner[0], face[index], pinned])
    moves = np.vstack([jaw_moves, inner[1] @ jaw_moves, small, np.zeros_like(pinned)])
    rotation = np.vstack([portrait.frame.right, portrait.frame.down]) * portrait.unit
    return portrait.frame.to_picture(points), moves @ rotation


def _features(strength: float) -> tuple[list[int], Array]:
    """Full cheeks press on what lies between them: wider nostrils, narrower eyes and mouth."""
    table = {31: (-0.035, 0.0), 35: (0.035, 0.0), 48: (0.025, 0.0), 54: (-0.025, 0.0)}
    table |= dict.fromkeys((40, 41, 46, 47), (0.0, -0.022)) | dict.fromkeys((37, 38, 43, 44), (0.0, 0.01))
    return list(table), strength * np.array(list(table.values()))


def _window(portrait: Portrait) -> Array:
    """1 on the face, 0 beyond the band [H, W]: whatever the interpolation does, the background stays."""
    face = portrait.frame.to_face(portrait.points)
    middle = face[27:31].mean(0)
    rim = face[:17]
    away = rim - middle
    away /= np.linalg.norm(away, axis=1, keepdims=True)
    top = np.array([[1.25, -0.9], [0.0, -1.2], [-1.25, -0.9]])
    outline = portrait.frame.to_picture(np.vstack([rim + 0.85 * _BAND * away, top]))
    return smoothstep(portrait.polygon(outline, 0.12), 0.02, 0.9)


def _cheeks(face: Array) -> tuple[Array, Array]:
    """Points inside the cheeks, and how much of which jaw move each follows: [K, 2], [K, 17]."""
    points, share = [], []
    for side, corner, nostril in ((range(2, 7), 48, 31), (range(10, 15), 54, 35)):
        for index in side:
            inside = face[corner] if index in (4, 5, 6, 10, 11, 12) else face[nostril]
            points.append(0.55 * face[index] + 0.45 * inside)
            share.append(np.eye(17)[index] * 0.62)
    return np.array(points), np.array(share)
