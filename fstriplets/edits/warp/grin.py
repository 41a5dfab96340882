"""Grin: corners of the mouth up and out, raised cheeks, narrowed eyes, folds beside the nose.

A mouth that was open stays open and gets wider; a closed one stays closed: nothing is invented
behind the lips.
"""

from __future__ import annotations

import numpy as np

from fstriplets.edits.warp.geometry import apply_flow, curve, dense_flow, smoothstep
from fstriplets.edits.warp.parse import skin_mask
from fstriplets.edits.warp.portrait import Canvas, Portrait
from fstriplets.edits.warp.wrinkles import crease

__all__ = ["grin"]

Array = np.ndarray

#: Moves at strength 1, face units, of the viewer's left half: landmark -> (outward, up).
_MOVES: dict[int, tuple[float, float]] = {
    48: (0.17, 0.14), 60: (0.15, 0.13), 49: (0.11, 0.05), 59: (0.11, 0.045), 50: (0.05, 0.00),
    58: (0.05, 0.00), 61: (0.08, 0.03), 67: (0.08, 0.02), 51: (0, -0.015), 62: (0, -0.01),
    57: (0, 0.0), 66: (0, 0.0),
    40: (0, 0.03), 41: (0, 0.03), 37: (0, -0.005), 38: (0, -0.005), 31: (0.025, 0.015),
    4: (0.04, 0.02), 3: (0.03, 0.01), 5: (0.035, 0.01),
}  # fmt: skip
_MIRROR = {
    48: 54, 60: 64, 49: 53, 59: 55, 50: 52, 58: 56, 61: 63, 67: 65, 40: 47, 41: 46, 37: 44, 38: 43,
    31: 35, 4: 12, 3: 13, 5: 11,
}  # fmt: skip


def grin(portrait: Portrait, canvas: Canvas, strength: float, rng: np.random.Generator) -> None:
    """Smile with the whole face; the seed makes it a little lopsided."""
    tilt = float(rng.uniform(-0.12, 0.12))
    points, moves = _flow_points(portrait, strength, tilt)
    flow = dense_flow(points, moves, 0.85 * portrait.unit, portrait.height, portrait.width)
    warped, mask = apply_flow(portrait.image, flow)
    canvas.paint(warped, mask)
    moved = Portrait(canvas.image, _moved(portrait, strength, tilt))
    _folds(moved, canvas, strength)


def _table(portrait: Portrait, strength: float, tilt: float) -> dict[int, Array]:
    """Landmark -> move in face units (x right, y down)."""
    face = portrait.frame.to_face(portrait.points)
    middle = face[51, 0]
    moves = {}
    for left, (out, up) in _MOVES.items():
        for index, side in ((left, -1), (_MIRROR.get(left, left), 1)):
            # the side turned away is seen at an angle: sideways moves shrink with it
            width = abs(face[54 if side > 0 else 48, 0] - middle)
            near = float(np.clip(width / 0.42, 0.3, 1.1))
            power = strength * (1 + tilt * side)
            moves[index] = power * np.array([side * out * near, -up])
    return moves


def _flow_points(portrait: Portrait, strength: float, tilt: float) -> tuple[Array, Array]:
    face = portrait.frame.to_face(portrait.points)
    moves = _table(portrait, strength, tilt)
    points = [face[i] for i in moves]
    vectors = list(moves.values())
    for corner, eye, side in ((48, (40, 41), -1), (54, (46, 47), 1)):  # apples of the cheeks rise
        low = face[list(eye)].mean(0)
        for t, out, up in ((0.42, 0.02, 0.07), (0.66, 0.05, 0.10)):
            apple = low + t * (face[corner] - low) + [side * 0.16, 0]
            points.append(apple)
            vectors.append(strength * np.array([side * out, -up]))
    fixed = [face[i] for i in (27, 28, 29, 30, 33, 36, 39, 42, 45, 8, 7, 9, 0, 1, 15, 16, 19, 24)]
    for base in (0, 2, 4, 6, 8, 10, 12, 14, 16):
        outward = face[base] - face[30]
        fixed.append(face[base] + 0.35 * outward / np.linalg.norm(outward))
    points += fixed
    vectors += [np.zeros(2)] * len(fixed)
    turn = np.vstack([portrait.frame.right, portrait.frame.down]) * portrait.unit
    return portrait.frame.to_picture(np.array(points)), np.array(vectors) @ turn


def _moved(portrait: Portrait, strength: float, tilt: float) -> Array:
    turn = np.vstack([portrait.frame.right, portrait.frame.down]) * portrait.unit
    points = portrait.points.copy()
    for index, move in _table(portrait, strength, tilt).items():
        points[index] += move @ turn
    return points


def _folds(moved: Portrait, canvas: Canvas, strength: float) -> None:
    """Creases from the nostrils around the corners, dimples there, and light on the cheeks."""
    face = moved.frame.to_face(moved.points)
    lines = []
    for nostril, corner, side in ((31, 48, -1), (35, 54, 1)):
        start = face[nostril] + [side * 0.06, -0.08]
        end = face[corner] + [side * 0.13, 0.04]
        bend = (start + end) / 2 + [side * 0.07, -0.02]
        lines.append(moved.frame.to_picture(curve(np.array([start, bend, end]), 24)))
        dimple = face[corner] + np.array([[side * 0.06, -0.06], [side * 0.09, 0.0], [side * 0.06, 0.06]])
        lines.append(moved.frame.to_picture(curve(dimple, 12)))
    skin = skin_mask(moved)
    shading = sum(
        crease(moved, line, width, depth)
        for line, width, depth in zip(lines, (0.045, 0.03) * 2, (0.17, 0.16) * 2, strict=True)
    )
    x, y = moved.grid
    glow = np.zeros_like(x)
    for corner, eye, side in ((48, 41, -1), (54, 46, 1)):
        apple = 0.52 * face[corner] + 0.48 * face[eye] + [side * 0.14, 0]
        glow += np.exp(-(((x - apple[0]) / 0.2) ** 2 + ((y - apple[1]) / 0.16) ** 2))
    power = float(smoothstep(strength, -0.1, 1.0))
    canvas.shade(1 + power * skin * (0.045 * glow + shading))
