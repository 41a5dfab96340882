"""How open a face is to light from everywhere: eye sockets, sides of the nose, ears and neck lie in shade.

What screen-space occlusion cannot see, because it looks at a few pixels around: how much of the sky the head
itself hides from a point. Each person's own neutral head is seen from many directions; a vertex is open to
those that see it.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from fstriplets.synth.jit import compiled
from fstriplets.synth.mesh import BACK, Mesh
from fstriplets.synth.raster import depth_only

__all__ = ["sky_openness"]

_DIRECTIONS, _SIZE, _SPAN, _FAR = 36, 144, 46.0, 60.0
#: How far before what is seen a vertex may lie and still count as hidden, units.
_BIAS = 0.35


def sky_openness(vertices: np.ndarray, normals: np.ndarray, mesh: Mesh) -> np.ndarray:
    """Share of the light from everywhere that reaches each vertex, cosine weighted, float32 [V] in [0, 1].

    Only skin hides and is hidden: eyes, teeth and gums, which move against it, are open.

    Args:
        vertices, normals: [V, 3] of a neutral head, model axes.
    """
    faces = mesh.faces[mesh.material <= BACK]
    open_, total = np.zeros(len(vertices), np.float32), np.zeros(len(vertices), np.float32)
    for turn in _turns():
        seen = np.ascontiguousarray(vertices @ turn.T, dtype=np.float32)
        seen[:, :2] = seen[:, :2] * (_SIZE / _SPAN) + _SIZE / 2
        seen[:, 2] += _FAR
        depth = depth_only(seen, faces, _SIZE, _SIZE)
        _gather(seen, depth, (-normals @ turn[2]).astype(np.float32), np.float32(_BIAS), open_, total)
    share = np.where(total > 0, open_ / np.maximum(total, np.float32(1e-6)), 1)
    around, means = np.zeros(len(vertices), np.float32), share[faces].mean(1)
    for corner in faces.T:  # the mean of the triangles around: views are few and their edges show
        np.add.at(around, corner, means)
    count = np.bincount(faces.ravel(), minlength=len(vertices))
    return np.where(count > 0, around / np.maximum(count, 1), 1).astype(np.float32)


@lru_cache(maxsize=1)
def _turns() -> np.ndarray:
    """[D, 3, 3] rows right, down and away of views from directions spread evenly over the sphere."""
    k = np.arange(_DIRECTIONS) + 0.5
    height, angle = 1 - 2 * k / _DIRECTIONS, np.pi * (1 + 5**0.5) * k
    ring = np.sqrt(1 - height**2)
    away = -np.stack([ring * np.cos(angle), height, ring * np.sin(angle)], 1)
    right = np.cross(away, [0.0, 1.0, 0.0])
    right /= np.linalg.norm(right, axis=1, keepdims=True)
    return np.stack([right, np.cross(away, right), away], 1).astype(np.float32)


@compiled
def _gather(seen, depth, facing, bias, open_, total):  # type: ignore[no-untyped-def]
    """Adds one view's cosines to those of all and of the open directions."""
    height, width = depth.shape
    for v in range(len(seen)):
        if facing[v] <= 0:
            continue
        total[v] += facing[v]
        x, y = int(seen[v, 0]), int(seen[v, 1])
        near = bias + bias * (np.float32(1.0) - facing[v])
        if x < 0 or y < 0 or x >= width or y >= height or seen[v, 2] <= depth[y, x] + near:
            open_[v] += facing[v]
