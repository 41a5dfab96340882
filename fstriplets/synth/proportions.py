"""Proportions of frontal faces as a landmark network sees them: real people's, and what weights do to them.

Real and drawn faces are measured by the same network (MediaPipe's 468 points, of which 79 are used), so that
its habits, which put a point elsewhere than the mesh or pull odd faces to the average, are on both sides
and cancel. A face is aligned by eyes, nose and mouth and made symmetric; then the leading components of real
people's are kept, each in units of its own deviation. Only aggregates of the photos are kept: the mean,
components and spreads are folded into a few numbers a weight.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from fstriplets.synth.skin.landmarks import MESH_TO_68

__all__ = ["COMPONENTS", "Proportions", "align_faces", "explain", "real_proportions"]

FloatArray = npt.NDArray[np.floating[Any]]

#: Components kept: 99.9 % of the variance of 70 people.
COMPONENTS = 16
_RIDGE = 15.0
_FOLDS = 6
#: Points of MediaPipe's along the top of the forehead, the middle first, then one side and the other.
_FOREHEAD = np.array([10, 338, 297, 332, 284, 251, 21, 54, 103, 67, 109])
_POINTS = np.concatenate([MESH_TO_68, _FOREHEAD])
_INNER = slice(27, 68)  # nose, eyes, mouth: what faces are aligned by
#: The same point on the other side of the face.
_MIRROR = np.array([
    *range(16, -1, -1), *range(26, 16, -1), 27, 28, 29, 30, 35, 34, 33, 32, 31,
    45, 44, 43, 42, 47, 46, 39, 38, 37, 36, 41, 40,
    54, 53, 52, 51, 50, 49, 48, 59, 58, 57, 56, 55, 64, 63, 62, 61, 60, 67, 66, 65,
    68, 78, 77, 76, 75, 74, 73, 72, 71, 70, 69,
])  # fmt: skip
#: The outline slides along cheek and hair: it counts half.
_TRUST = np.where((np.arange(79) < 17) | (np.arange(79) >= 68), 0.5, 1.0)[:, None]


class Proportions(NamedTuple):
    """How real people's frontal faces vary."""

    reference: FloatArray  #: [79, 2] what faces are turned to
    mean: FloatArray  #: [158] of the aligned faces
    components: FloatArray  #: [R, 158] orthonormal
    deviation: FloatArray  #: [R] of real people along each

    def of(self, points: FloatArray) -> FloatArray:
        """Proportions [N, R] of faces [N, 468, 2], in deviations from real people's mean."""
        flat = align_faces(points, self.reference) - self.mean
        return np.asarray(flat @ self.components.T / self.deviation)


def align_faces(points: FloatArray, reference: FloatArray | None = None) -> FloatArray:
    """Faces [N, 468, 2] in pixels, y down → [N, 158]: no place, size, turn or asymmetry, the outline at half.

    Args:
        reference: [79, 2] what they are turned to; None leaves them upright as they are.
    """
    chosen = np.asarray(points, np.float64)[:, _POINTS]
    chosen = chosen - chosen[:, _INNER].mean(1, keepdims=True)
    chosen = chosen / np.sqrt((chosen[:, _INNER] ** 2).sum((1, 2), keepdims=True) / 41)
    plane = chosen[..., 0] + 1j * chosen[..., 1]
    if reference is not None:
        turn = plane[:, _INNER].conj() @ (reference[_INNER, 0] + 1j * reference[_INNER, 1])
        plane = plane * (turn / np.abs(turn))[:, None]
    chosen = np.stack([plane.real, plane.imag], -1)
    even = (chosen + chosen[:, _MIRROR] * [-1, 1]) / 2
    return np.asarray((even * _TRUST).reshape(len(even), -1))


def real_proportions(points: FloatArray) -> Proportions:
    """Mean, components and deviations of real people's frontal faces [N, 468, 2].

    Raises:
        ValueError: fewer than 40 people, too few for components that are nobody's own.
    """
    if len(points) < 40:
        raise ValueError(f"{len(points)} people are too few to learn proportions from: 40 are needed")
    reference = align_faces(points).mean(0).reshape(-1, 2) / _TRUST
    flat = align_faces(points, reference)
    mean = flat.mean(0)
    _, values, components = np.linalg.svd(flat - mean, full_matrices=False)
    deviation = values / np.sqrt(len(flat) - 1)
    return Proportions(reference, mean, components[:COMPONENTS], deviation[:COMPONENTS])


def explain(seen: FloatArray, factors: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Proportions [N, R] as linear functions of factors [N, F]: [R, F], their values at 0 [R], and the
    deviation [R] of what is left when a part is held out."""
    mean, scale = factors.mean(0), factors.std(0)
    table = (factors - mean) / scale  # so that the ridge holds all back alike

    def solve(x: FloatArray, y: FloatArray) -> FloatArray:
        return np.asarray(np.linalg.solve(x.T @ x + _RIDGE * np.eye(x.shape[1]), x.T @ (y - y.mean(0))))

    left = np.zeros_like(seen)
    for fold in range(_FOLDS):
        out = np.arange(len(seen)) % _FOLDS == fold
        left[out] = seen[out] - seen[~out].mean(0) - table[out] @ solve(table[~out], seen[~out])
    slope = solve(table, seen) / scale[:, None]
    return slope.T, seen.mean(0) - mean @ slope, left.std(0)
