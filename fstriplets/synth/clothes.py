"""Clothes: a loft of rings from the neckline over the shoulders, outside everybody's bust.

The rings are super-ellipses fitted round the model's bust; the neckline is a height a direction, so one
mesh serves crew and V necks, wide necks and roll necks. A hem a few millimetres thick hides the cut.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

__all__ = ["NECKLINES", "Garment", "garment_mesh"]

#: Knots of the loft: height, half width, front z, back z, exponent of the super-ellipse.
_PROFILE = np.array(
    [
        [-7.0, 6.15, 6.4, -6.1, 2.0],
        [-9.5, 6.05, 6.5, -6.5, 2.0],
        [-11.0, 7.1, 5.9, -7.1, 2.0],
        [-12.2, 8.6, 5.1, -7.8, 2.0],
        [-13.2, 11.3, 4.7, -8.5, 2.05],
        [-14.2, 14.2, 4.5, -9.2, 2.1],
        [-15.6, 17.6, 4.7, -9.8, 2.2],
        [-17.4, 20.2, 5.3, -10.2, 2.3],
        [-20.0, 21.9, 6.2, -10.4, 2.5],
        [-26.0, 22.8, 7.8, -10.4, 2.6],
        [-46.0, 22.0, 8.5, -10.4, 2.6],
    ],
    np.float32,
)
#: Neckline -> height in front, at the sides and at the back, and how pointed it is in front.
NECKLINES: dict[str, tuple[float, float, float, float]] = {
    "crew": (-12.5, -10.9, -10.0, 0.0),
    "wide": (-14.6, -12.4, -10.8, 0.0),
    "v": (-16.4, -11.2, -10.2, 1.0),
    "roll": (-9.3, -8.0, -7.6, 0.0),
}
_AROUND, _DOWN, _HEM = 96, 34, 4


@dataclass(frozen=True, eq=False)
class Garment:
    """A piece of clothing for one photo.

    Attributes:
        vertices: [N, 3] canonical positions; they turn with the body.
        faces: [M, 3].
        uv: [N, 2] across (0..1 round the body) and down from the edge (units).
    """

    vertices: np.ndarray
    faces: np.ndarray
    uv: np.ndarray


def garment_mesh(neckline: str, looseness: float) -> Garment:
    """The mesh of a garment.

    Args:
        neckline: a key of NECKLINES.
        looseness: 0 lies close, 1 is about a centimetre away.
    """
    front, side, back, point = NECKLINES[neckline]
    angle = np.linspace(0, 2 * np.pi, _AROUND, endpoint=False, dtype=np.float32)
    ahead = np.cos(angle)
    f = np.clip(ahead, 0, 1)
    shape = np.where(ahead > 0, f ** (1.6 if point == 0 else 1.1), np.abs(ahead) ** 1.5)
    top = side + np.where(ahead > 0, front - side, back - side) * shape
    if point:
        off = np.abs(np.sin(angle))
        top = np.where(ahead > 0, side + (front - side) * np.clip(1 - off, 0, 1) ** 1.15, top)
    # the hem's inner side rises to the edge, then the cloth falls
    rows = [(top - 0.55 + 0.55 * t, -0.25 + 0.35 * t) for t in np.linspace(0, 1, _HEM).tolist()]
    for k in range(1, _DOWN + 1):
        t = k / _DOWN
        rows.append((top + (-45.0 - top) * t**2.2, 0.22 + (0.1 + 0.45 * looseness) * min(1.0, 6 * t)))
    vertices = np.stack([_ring(angle, np.asarray(h, np.float32), o) for h, o in rows])
    down = np.stack([np.maximum(top - h, 0) for h, _ in rows])
    down[:_HEM] = 0
    across = np.broadcast_to(angle / (2 * np.pi), down.shape)
    return Garment(
        vertices.reshape(-1, 3).astype(np.float32),
        _grid(len(rows)),
        np.stack([across, down], -1).reshape(-1, 2).astype(np.float32),
    )


def _ring(angle: np.ndarray, height: np.ndarray, off: float) -> np.ndarray:
    """One ring [A, 3] of the loft, `off` units outside the bust."""
    width, front, back, power = (np.interp(-height, -_PROFILE[:, 0], _PROFILE[:, k]) for k in range(1, 5))
    centre, depth = (front + back) / 2, (front - back) / 2
    s, c = np.sin(angle), np.cos(angle)
    radius = (np.abs(s) ** power + np.abs(c) ** power) ** (-1 / power)
    return np.stack([(width + off) * s * radius, height, centre + (depth + off) * c * radius], -1)


def _grid(rows: int) -> np.ndarray:
    a = (np.arange(rows - 1)[:, None] * _AROUND + np.arange(_AROUND)[None]).ravel()
    right = (np.arange(rows - 1)[:, None] * _AROUND + (np.arange(_AROUND)[None] + 1) % _AROUND).ravel()
    quads = [np.stack([a, a + _AROUND, right], 1), np.stack([right, a + _AROUND, right + _AROUND], 1)]
    return np.concatenate(quads).astype(np.int32)
