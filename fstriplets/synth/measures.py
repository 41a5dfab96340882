"""Measures of a head that a landmark network hardly sees: slant and opening of the eyes, depth in profile.

A network pulls odd eyes to the average, puts the outline where it expects it, and sees no depth at all in a
frontal photo. So what it does not see is held to the face model's own scans: each measure is a linear
function of the identity weights, in deviations of the scans (their modes are normal, of unit variance).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from fstriplets.synth.mesh import FACE, Mesh

__all__ = ["MEASURES", "measure_rows"]

FloatArray = npt.NDArray[np.floating[Any]]

_CORNERS = [36, 39, 42, 45]
#: Heights at which the outline of the face is measured: 0 at the eyes, 1 at the mouth.
_OUTLINE = (0.0, 0.35, 0.7, 1.0, 1.2)


def _width(left: int, right: int) -> Callable[[FloatArray], float]:
    return lambda p: p[right, 0] - p[left, 0]


def _height(upper: int, lower: int) -> Callable[[FloatArray], float]:
    return lambda p: p[upper, 1] - p[lower, 1]


def _before(front: int, back: int) -> Callable[[FloatArray], float]:
    return lambda p: p[front, 2] - p[back, 2]


def _before_eyes(front: int) -> Callable[[FloatArray], float]:
    return lambda p: p[front, 2] - p[_CORNERS, 2].mean()


def _eye_width(p: FloatArray) -> float:
    return float(p[39, 0] - p[36, 0] + p[45, 0] - p[42, 0]) / 2


def _opening(p: FloatArray) -> float:
    return float(p[[37, 38, 43, 44], 1].mean() - p[[40, 41, 46, 47], 1].mean())


#: Name -> measure of landmarks [68, 3] with the ends of the outline behind them, in the face model's units or
#: their ratios.
MEASURES: Mapping[str, Callable[[FloatArray], float]] = {
    "eye width": _eye_width,
    "eye slant": lambda p: (p[36, 1] - p[39, 1] + p[45, 1] - p[42, 1]) / 2 / _eye_width(p),
    "eye opening": lambda p: _opening(p) / _eye_width(p),
    "eye height": _opening,
    "upper lid": lambda p: p[[37, 38, 43, 44], 1].mean() - p[_CORNERS, 1].mean(),
    "lid peak": lambda p: (p[37, 1] - p[38, 1] + p[44, 1] - p[43, 1]) / 2,
    "between eyes": _width(39, 42),
    "nose width": _width(31, 35),
    "nose length": _height(27, 33),
    "nose tip height": _height(30, 33),
    "nose tip": _before(30, 33),
    "bridge": lambda p: p[28, 2] - (p[27, 2] + p[30, 2]) / 2,
    "nose root": _before_eyes(27),
    "subnasale": _before_eyes(33),
    "brows": lambda p: p[[19, 24], 2].mean() - p[_CORNERS, 2].mean(),
    "philtrum": _height(33, 51),
    "mouth width": _width(48, 54),
    "upper lip": _height(51, 62),
    "lower lip": _height(66, 57),
    "mouth corners": lambda p: p[[48, 54], 1].mean() - p[62, 1],
    "upper lip depth": _before(51, 33),
    "lower lip depth": _before(57, 33),
    "corner depth": lambda p: p[[48, 54], 2].mean() - p[33, 2],
    "chin": _before(8, 33),
    "chin height": _height(57, 8),
    "chin width": _width(6, 10),
    "jaw width": _width(4, 12),
    "jaw": lambda p: p[[4, 12], 2].mean() - p[33, 2],
    "face width": _width(1, 15),
    **{f"outline {k}": _width(68 + 2 * k, 69 + 2 * k) for k in range(len(_OUTLINE))},
}


def measure_rows(mesh: Mesh, modes: int) -> FloatArray:
    """[M, I] change of each measure by each identity weight, in deviations of the scans.

    Args:
        modes: how many weights, the first ones, are the scans' own.
    """
    points = np.concatenate([mesh.landmarks, _outline(mesh)])
    neutral = mesh.neutral[points].astype(np.float64)
    moved = mesh.identity.reshape(len(mesh.identity), -1, 3)[:, points].astype(np.float64)
    step = 0.1
    rows = np.array(
        [
            [(f(neutral + step * m) - f(neutral - step * m)) / (2 * step) for m in moved]
            for f in MEASURES.values()
        ]
    )
    return np.asarray(rows / np.linalg.norm(rows[:, :modes], axis=1, keepdims=True))


def _outline(mesh: Mesh) -> np.ndarray:
    """Vertices at the left and right end of the average face at each height of `_OUTLINE`, ears left out."""
    p = mesh.neutral
    x, y, z = p.T
    on_face = np.zeros(len(p), bool)
    on_face[mesh.faces[mesh.material == FACE]] = True
    ear = (np.abs(x) > 6.6) & (y > -3.2) & (y < 5.2) & (z < 3.2)
    eyes, mouth = (p[mesh.landmarks[pair], 1].mean() for pair in ([36, 45], [48, 54]))
    ends = []
    for share in _OUTLINE:
        near = np.flatnonzero(
            on_face & ~ear & (z > -2.5) & (np.abs(y - eyes - share * (mouth - eyes)) < 0.35)
        )
        ends += [near[x[near].argmin()], near[x[near].argmax()]]
    return np.array(ends)
